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
  /** Further parts, by name. */
  readonly others?: Readonly<Record<string, ProofPart>>
}

export interface ProofPart {
  readonly data: Dataset
  readonly users: ArrayLike<number>
  readonly truth: Readonly<Record<string, ArrayLike<number>>>
}

/** All parts by name; of the rows to learn from the truth is nobody's to see. */
export const partsOf = ({ train, test, users, truth, others = {} }: ProofRows): Record<string, ProofPart> => ({
  train: { data: train, users: usersOf(train), truth: {} },
  test: { data: test, users, truth },
  ...others,
})

/** Makes the rows of a point for a seed; null where the data is absent. */
export type RowSource = (data: ProofData, sizes: ProofSizes, seed: number, threads: number) => Promise<ProofRows | null>

export const sharedData = (): string => process.env.KAIROS_SHARED_DATA ?? join(process.cwd(), '..', 'shared', 'data')

export const isAbsent = (data: ProofData): boolean => data.kind === 'file' && !existsSync(join(sharedData(), data.path))

export const proofRows: RowSource = async (data, sizes, seed, threads) => {
  if (data.kind === 'simulator') return simulated(data, sizes, seed, threads)
  return isAbsent(data) ? null : fromFile(data, sizes, threads)
}

/** Test rows are new exposures of the same users and items, over the same days or after them. */
async function simulated(
  {
    preset: name,
    knobs = {},
    content,
    known = [],
    test: when = 'apart',
    requests,
  }: Extract<ProofData, { kind: 'simulator' }>,
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
  const later = when === 'later'
  const drawn = later ? train + test : train
  const { settings, exposureOf } = sized(preset as Preset, { ...knobs, seed }, drawn)
  const draw = (part: string, exposure: Readonly<Record<string, number>>): Promise<Simulation> =>
    simulate(preset, settings as never, { part, threads, exposure }) as unknown as Promise<Simulation>
  const learnt = await draw('train', exposureOf(drawn))
  const held = await partOf(later ? learnt : await draw('test', exposureOf(test)), known, later ? train : 0, test)
  const { candidates = 1, count = 0 } = requests ?? {}
  const asked = { events: count * candidates, perRequest: candidates, selection: 0 }
  return {
    train: (await datasetOf(learnt, known)).slice(0, train),
    test: held.data,
    users: held.users,
    truth: held.truth,
    ...(requests ? { others: { requests: await partOf(await draw('requests', asked), known) } } : {}),
    ...(content ? { content: { [content]: vectorsOf(learnt.items) } } : {}),
  }
}

/** `count` rows from `begin` on, with their truth. */
async function partOf(
  simulation: Simulation,
  known: readonly string[],
  begin = 0,
  count = simulation.rows.rowCount - begin,
): Promise<ProofPart> {
  const { rows, truth } = simulation
  const kept = ({ values }: TableColumn): ArrayLike<number> => {
    const width = values.length / rows.rowCount
    return (values as Float32Array).subarray(begin * width, (begin + count) * width)
  }
  return {
    data: (await datasetOf(simulation, known)).slice(begin, begin + count),
    users: kept(rows.columns.user as TableColumn),
    truth: Object.fromEntries(
      Object.entries(truth.columns)
        .concat(rows.columns.position ? [['place', rows.columns.position]] : [])
        .map(([column, values]) => [column, kept(values)]),
    ),
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
  return { train: (await encode(parts.train, encoding)) as Dataset, test, users: usersOf(test), truth: {} }
}

/** The group of each row; each row's own number where there are no groups. */
function usersOf(data: Dataset): ArrayLike<number> {
  const group = Object.entries(data.schema.features).find(([, { kind }]) => kind === 'groupId')?.[0]
  return group === undefined ? Int32Array.from({ length: data.rowCount }, (_, row) => row) : data.values(group)
}
