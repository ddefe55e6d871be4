/** Rows of a proof: drawn by the simulator with their truth, or read from a file. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import { Dataset } from '../data/dataset.js'
import { encode, fitEncoding } from '../data/encoding.js'
import { defineSchema, numeric, parseSchema, readDataset } from '../data/index.js'
import {
  type Preset,
  parseKnobs,
  presets,
  type Simulation,
  simulate,
  type Table,
  type TableColumn,
} from '../data/simulator/index.js'
import { splitInOrder } from '../data/splits.js'
import type { ProofData, ProofSizes, Settings } from '../systems/proof.js'

export interface ProofRows {
  readonly train: Dataset
  readonly test: Dataset
  /** The user of each test row. */
  readonly users: ArrayLike<number>
  /** What is known of ids, by feature. */
  readonly content?: Readonly<Record<string, { readonly values: Float32Array; readonly width: number }>>
  /** What no model sees of the test rows, by name. */
  readonly truth: Readonly<Record<string, ArrayLike<number>>>
}

/** Makes the rows of a point for a seed; null where the data is absent. */
export type RowSource = (data: ProofData, sizes: ProofSizes, seed: number, threads: number) => Promise<ProofRows | null>

export const sharedData = (): string => process.env.KAIROS_SHARED_DATA ?? join(process.cwd(), '..', 'shared', 'data')

export const isAbsent = (data: ProofData): boolean => data.kind === 'file' && !existsSync(join(sharedData(), data.path))

export const proofRows: RowSource = async (data, sizes, seed, threads) => {
  if (data.kind === 'simulator') return simulated(data, sizes, seed, threads)
  return isAbsent(data) ? null : fromFile(data, sizes, threads)
}

/** Test rows are new exposures of the same users and items. */
async function simulated(
  { preset: name, knobs = {}, content, known = [] }: Extract<ProofData, { kind: 'simulator' }>,
  { train, test }: ProofSizes,
  seed: number,
  threads: number,
): Promise<ProofRows> {
  const preset = presets[name as keyof typeof presets]
  if (!preset) {
    const near = nearest(name, Object.keys(presets))
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op: 'prove',
      argument: 'preset',
      expected: `one of ${Object.keys(presets).join(', ')}`,
      got: `'${name}'`,
      ...(near ? { hint: `Did you mean '${near}'?` } : {}),
    })
  }
  const { settings, exposureOf } = sized(preset as Preset, { ...knobs, seed }, train)
  const draw = (part: string, rows: number): Promise<Simulation> =>
    simulate(preset, settings as never, {
      part,
      threads,
      exposure: exposureOf(rows),
    }) as unknown as Promise<Simulation>
  const [learnt, held] = [await draw('train', train), await draw('test', test)]
  const kept = ({ values }: TableColumn): ArrayLike<number> =>
    (values as Float32Array).subarray(0, (values.length / held.rows.rowCount) * test)
  const truth = Object.entries(held.truth.columns).map(([name, column]) => [name, kept(column)] as const)
  return {
    train: (await datasetOf(learnt, known)).slice(0, train),
    test: (await datasetOf(held, known)).slice(0, test),
    users: kept(held.rows.columns.user as TableColumn),
    truth: Object.fromEntries(truth),
    ...(content ? { content: { [content]: vectorsOf(learnt.items) } } : {}),
  }
}

async function datasetOf({ schema, rows, truth, dataset }: Simulation, known: readonly string[]): Promise<Dataset> {
  if (known.length === 0) return (await dataset()) as Dataset
  const features = { ...schema.features, ...Object.fromEntries(known.map((name) => [name, numeric()])) }
  const all: Table['columns'] = { ...rows.columns, ...truth.columns }
  const columns = Object.entries(features).map(([name, { column = name }]) => [
    name,
    all[known.includes(name) ? name : column],
  ])
  return (await Dataset.fromColumns(defineSchema(features), Object.fromEntries(columns))) as unknown as Dataset
}

/** Vectors of items by id, in numbers of deviation 1; id 0 is padding. */
function vectorsOf({ rowCount, columns }: Table) {
  const { values, width = 1 } = columns.vector as TableColumn
  const padded = new Float32Array((rowCount + 1) * width)
  for (let i = 0; i < rowCount * width; i++) padded[width + i] = Math.sqrt(width) * (values[i] as number)
  return { values: padded, width }
}

/** Presets count their rows by `events`, or by `users` with so many `candidates` each: then the test has the first users. */
function sized(preset: Preset, knobs: Settings, rows: number) {
  if ('events' in preset.knobs.shape)
    return { settings: { ...knobs, events: rows }, exposureOf: (events: number) => ({ events }) }
  const { candidates } = parseKnobs(preset, knobs) as { readonly candidates: number }
  return { settings: { ...knobs, users: Math.ceil(rows / candidates) }, exposureOf: () => ({}) }
}

async function fromFile(
  { path, schema }: Extract<ProofData, { kind: 'file' }>,
  sizes: ProofSizes,
  threads: number,
): Promise<ProofRows> {
  const whole = await readDataset({ path: join(sharedData(), path) }, parseSchema(schema), { threads })
  const used = whole.slice(0, Math.min(whole.rowCount, sizes.train + sizes.test))
  const share = sizes.test / (sizes.train + sizes.test)
  const parts = splitInOrder(used, { train: 1 - share, validation: 0, test: share })
  const encoding = await fitEncoding(parts.train)
  const test = (await encode(parts.test, encoding)) as Dataset
  const group = Object.entries(test.schema.features).find(([, { kind }]) => kind === 'groupId')?.[0]
  return {
    train: (await encode(parts.train, encoding)) as Dataset,
    test,
    users: group === undefined ? Int32Array.from({ length: test.rowCount }, (_, row) => row) : test.values(group),
    truth: {},
  }
}
