/** Rows of a proof: drawn by the simulator with their truth, or read from a file. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import type { Dataset } from '../data/dataset.js'
import { encode, fitEncoding } from '../data/encoding.js'
import { parseSchema, readDataset } from '../data/index.js'
import { presets, type Simulation, simulate } from '../data/simulator/index.js'
import { splitInOrder } from '../data/splits.js'
import type { ProofData, ProofSizes } from '../systems/proof.js'

export interface ProofRows {
  readonly train: Dataset
  readonly test: Dataset
  /** The user of each test row. */
  readonly users: ArrayLike<number>
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
  { preset: name, knobs = {}, test: when = 'apart', requests }: Extract<ProofData, { kind: 'simulator' }>,
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
  const settings = { ...knobs, seed, events: later ? train + test : train } as never
  const draw = (part: string, exposure: Record<string, number>): Promise<Simulation> =>
    simulate(preset, settings, { part, threads, exposure }) as unknown as Promise<Simulation>
  const learnt = await draw('train', { events: later ? train + test : train })
  const whole = (await learnt.dataset()) as Dataset
  const held = later ? await partOf(learnt, train) : await partOf(await draw('test', { events: test }))
  const { candidates = 1, count = 0 } = requests ?? {}
  const asked = { events: count * candidates, perRequest: candidates, selection: 0 }
  return {
    train: later ? whole.slice(0, train) : whole,
    test: held.data,
    users: held.users,
    truth: held.truth,
    ...(requests ? { others: { requests: await partOf(await draw('requests', asked)) } } : {}),
  }
}

/** Rows from `begin` on, with their truth. */
async function partOf(simulation: Simulation, begin = 0): Promise<ProofPart> {
  const { rows, truth } = simulation
  const from = ({ values }: { readonly values: ArrayLike<number> }) =>
    begin === 0 ? values : (values as Float32Array).subarray(begin)
  return {
    data: ((await simulation.dataset()) as Dataset).slice(begin),
    users: from(rows.columns.user as { values: ArrayLike<number> }),
    truth: Object.fromEntries(
      Object.entries(truth.columns)
        .filter(([, { width }]) => width === undefined)
        .concat(rows.columns.position ? [['place', rows.columns.position]] : [])
        .map(([column, values]) => [column, from(values)]),
    ),
  }
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
