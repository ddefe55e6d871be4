/**
 * Finished runs of a proof as files: whole or not at all, so that a proof that was killed goes on with those it has.
 *
 *     <path>.json   settings, seconds, names and offsets of statistics
 *     <path>.f64    their sums by user, term by term: numerators, denominators
 *     <path>.audit.json   what it did step by step, where its trainer tells
 */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeWhole } from '../data/wholeFile.js'
import { USER_GROUPS, type UserStatistic } from '../metrics/index.js'
import type { ArmResult, Audit } from '../systems/proof.js'
import { firstDifference, type Json } from '../train/manifest.js'
import type { PlannedRun } from './plan.js'

/** Goes up when the same settings would give other figures. */
const VERSION = 1

export interface FinishedRun extends ArmResult {
  readonly run: PlannedRun
  /** When it ended, ISO 8601. */
  readonly time: string
}

interface Facts {
  readonly version: number
  readonly settings: Json
  readonly time: string
  readonly trainSeconds: number
  readonly predictSeconds: number
  readonly hasAudit?: boolean
  readonly statistics: readonly { readonly name: string; readonly offset: number | null; readonly terms: number }[]
}

/** What decides the result of a run. */
const settingsOf = ({ pointName, arm, seed, sizes, data, config }: PlannedRun): Json => {
  const { seeds: _, ...rest } = sizes
  return JSON.parse(JSON.stringify({ pointName, arm, seed, sizes: rest, data, config }))
}

export async function saveFinished(folder: string, run: PlannedRun, result: ArmResult): Promise<FinishedRun> {
  const path = join(folder, 'runs', run.path)
  const { statistics, trainSeconds, predictSeconds, audit } = result
  const listed = Object.entries(statistics)
  const time = new Date().toISOString()
  const facts: Facts = {
    version: VERSION,
    settings: settingsOf(run),
    time,
    trainSeconds,
    predictSeconds,
    ...(audit ? { hasAudit: true } : {}),
    statistics: listed.map(([name, { offset, terms }]) => ({ name, offset, terms: terms.length })),
  }
  const terms = listed.flatMap(([, statistic]) => statistic.terms)
  const sums = new Float64Array(terms.length * 2 * USER_GROUPS)
  terms.forEach(({ numerators, denominators }, i) => {
    sums.set(numerators, 2 * i * USER_GROUPS)
    sums.set(denominators, (2 * i + 1) * USER_GROUPS)
  })
  await mkdir(dirname(path), { recursive: true })
  // The facts last: without them there is no run.
  if (audit) await writeWhole(`${path}.audit.json`, `${JSON.stringify(audit, null, 1)}\n`)
  await writeWhole(`${path}.f64`, new Uint8Array(sums.buffer))
  await writeWhole(`${path}.json`, `${JSON.stringify(facts, null, 1)}\n`)
  return { run, time, ...result }
}

/** null where there is no such run, or one of other settings. */
export async function loadFinished(folder: string, run: PlannedRun): Promise<FinishedRun | null> {
  const path = join(folder, 'runs', run.path)
  try {
    const facts = JSON.parse(await readFile(`${path}.json`, 'utf8')) as Facts
    if (facts.version !== VERSION || firstDifference(facts.settings, settingsOf(run)) !== null) return null
    const bytes = await readFile(`${path}.f64`)
    const count = facts.statistics.reduce((sum, { terms }) => sum + terms, 0)
    if (bytes.length !== count * 2 * USER_GROUPS * 8) return null
    const sums = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
    const { time, trainSeconds, predictSeconds } = facts
    const audit = facts.hasAudit ? { audit: JSON.parse(await readFile(`${path}.audit.json`, 'utf8')) as Audit } : {}
    return { run, time, trainSeconds, predictSeconds, statistics: statisticsOf(facts, sums), ...audit }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return null
    throw error
  }
}

function statisticsOf(facts: Facts, sums: Float64Array): Record<string, UserStatistic> {
  let taken = 0
  const next = () => {
    taken++
    return sums.subarray((taken - 1) * USER_GROUPS, taken * USER_GROUPS)
  }
  // JSON has no NaN: it was saved as null.
  return Object.fromEntries(
    facts.statistics.map(({ name, offset, terms }) => [
      name,
      {
        offset: offset ?? Number.NaN,
        terms: Array.from({ length: terms }, () => ({ numerators: next(), denominators: next() })),
      },
    ]),
  )
}
