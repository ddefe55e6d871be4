/** The tables of a simulation as Parquet files, with what it takes to train on them. */
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import type { Features } from '../features.js'
import { writeWhole } from '../wholeFile.js'
import type { Statistics } from './measures.js'
import { Pool } from './pool.js'
import type { KnobsInput, Preset } from './preset.js'
import type { Tables } from './process.js'
import type { PresetName } from './processes.js'
import type { Work } from './protocol.js'
import { fillTables, type SimulateOptions, threadsOf, workOf } from './simulate.js'
import type { Table } from './tables.js'

export interface WriteOptions extends SimulateOptions {
  /** Folder of the files; it is made where it is not. */
  readonly output: string
  /** Also what the report shows. */
  readonly statistics?: boolean
  /** Called before each file, with its name. */
  readonly onFile?: (name: string) => void
}

export interface Written {
  readonly preset: PresetName
  readonly description: string
  /** The system that the rows are made for. */
  readonly system: string
  readonly knobs: Readonly<Record<string, unknown>>
  readonly events: number
  readonly rows: number
  /** Names of the files in the folder. */
  readonly files: readonly string[]
  readonly statistics?: Statistics
}

/**
 * Runs a preset and writes
 *
 *     events.parquet   all events in time order
 *     rows.parquet     what models learn from, where that is not the events themselves
 *     truth.parquet    row by row beside the rows: probabilities, scores; no feature stands here
 *     users.parquet, items.parquet, authors.parquet   latent factors; row i is id i + 1
 *     train.yaml       data, schema and split for `kairos train --config`
 *     simulation.json  preset and knobs
 *
 * The files are the same at any number of threads, each whole or not there.
 */
export async function writeSimulation<P extends Preset>(
  preset: P,
  knobs: KnobsInput<P>,
  options: WriteOptions,
): Promise<Written> {
  const work = workOf(preset, knobs as Record<string, unknown>, options)
  const { output, onFile = () => {} } = options
  const pool = new Pool(threadsOf(options))
  try {
    await mkdir(output, { recursive: true })
    const prepared = await fillTables(pool, work, options.onProgress)
    const { tables } = prepared
    const files = filesOf(tables)
    const waiting = files.map(({ name, table }) => ({ name, path: join(output, name), table, threads: 1 }))
    // The largest come first, one for each thread.
    await Promise.all(
      Array.from({ length: pool.size }, async (_, thread) => {
        for (let file = waiting.shift(); file; file = waiting.shift()) {
          onFile(file.name)
          await pool.ask(thread, { task: 'write', file }, 'written')
        }
      }),
    )
    const rows = tables.rows === tables.events ? 'events.parquet' : 'rows.parquet'
    await writeWhole(join(output, 'train.yaml'), trainConfig(preset, work, join(output, rows)))
    await writeWhole(join(output, 'simulation.json'), `${JSON.stringify(describe(work), null, 2)}\n`)
    const names = [...files.map(({ name }) => name), 'train.yaml', 'simulation.json']
    const written = {
      preset: work.preset,
      description: preset.description,
      system: preset.system,
      knobs: work.knobs,
      events: prepared.events,
      rows: tables.rows.rowCount,
      files: names,
    }
    if (!options.statistics) return written
    const { statistics } = await pool.ask(0, { task: 'statistics', work, prepared }, 'statistics')
    return { ...written, statistics }
  } finally {
    await pool.close()
  }
}

function filesOf({ rows, truth, events, eventTruth, users, items, authors }: Tables) {
  const files: { name: string; table: Table }[] = [{ name: 'events.parquet', table: events }]
  if (rows !== events) files.push({ name: 'rows.parquet', table: rows })
  files.push({ name: 'truth.parquet', table: truth })
  if (eventTruth !== truth) files.push({ name: 'event-truth.parquet', table: eventTruth })
  for (const [name, table] of Object.entries({ users, items, authors }))
    if (table.rowCount > 0) files.push({ name: `${name}.parquet`, table })
  return files
}

const describe = ({ preset, knobs, exposure, part }: Work) => ({
  preset,
  knobs,
  ...(part === '' ? {} : { part }),
  ...(JSON.stringify(exposure) === JSON.stringify(knobs) ? {} : { exposure }),
})

function trainConfig(preset: Preset, { knobs }: Work, data: string): string {
  const { features }: { features: Features } = preset.schema(knobs)
  // Whole, so that training may run from any folder.
  const text = stringify({ data: resolve(data), split: preset.split, schema: features }, { lineWidth: 120 })
  return `# kairos train --system ${preset.system} --config ${data.replace(/[^/\\]*$/, 'train.yaml')}\n${text}`
}
