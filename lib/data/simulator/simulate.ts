/** The simulator in memory: a preset and its knobs in, columns and the truth beside them out. */
import { availableParallelism } from 'node:os'
import { KairosError } from '../../core/errors.js'
import { nearest } from '../../core/nearest.js'
import type { Column } from '../columns.js'
import { Dataset } from '../dataset.js'
import type { DataSchema, Features } from '../features.js'
import { Pool } from './pool.js'
import { type FeaturesOf, type KnobsInput, type KnobsOf, type Preset, parseKnobs } from './preset.js'
import type { Prepared, Tables } from './process.js'
import { type PresetName, processes } from './processes.js'
import type { Work } from './protocol.js'
import type { Table } from './tables.js'

export interface SimulateOptions {
  /** Worker threads; the columns are the same at any number. By default as many as there are cores. */
  readonly threads?: number
  /**
   * Name of an independent draw of events on the same platform: users, items, scores and intercepts depend on the knobs
   * and the seed alone, events on this name as well. So `part: 'test'` has new exposures of the same users and items.
   */
  readonly part?: string
  /**
   * Overrides knobs of this draw of events without touching the platform and its intercepts: `{ perRequest: 300,
   * selection: 0, events: 300_000 }` gives 1,000 requests of 300 candidates each. 'farm' has `candidates`; the others
   * `events`, `perRequest`, `selection` and `positionBias`.
   */
  readonly exposure?: Readonly<Record<string, number | boolean>>
  /** Events done so far, of all. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * What happened and why. Ids count from 1, 0 is padding. All tables are deterministic functions of preset, knobs (the
 * seed among them), part and exposure; the number of threads changes nothing. Arrays lie in shared memory: they can be
 * posted to threads without a copy.
 */
export interface Simulation<F extends Features = Features, K = Readonly<Record<string, unknown>>> {
  readonly preset: PresetName
  readonly knobs: K
  readonly schema: DataSchema<F>
  /** What models learn from, in time order: the columns of the schema and others of the log (see the preset). */
  readonly rows: Table
  /** Row by row beside `rows`: probabilities, scores, utilities, what was drawn but not shown. Never a feature. */
  readonly truth: Table
  /**
   * All events in time order: acts of histories and exposures. For 'chorus-cvr' and 'pantheon' this is `rows` itself.
   */
  readonly events: Table
  /** Row by row beside `events`; for 'chorus-cvr' and 'pantheon' `truth` itself. */
  readonly eventTruth: Table
  /** Latent factors: row i is the entity with id i + 1. For 'pantheon' items are topics. */
  readonly users: Table
  readonly items: Table
  readonly authors: Table
  /** `rows` as a data set of the schema, without a copy: split it with `splitByTime`, `splitByGroup` or `slice`. */
  dataset(): Promise<Dataset<F>>
}

/**
 * Runs a preset: `const { truth, dataset } = await simulate(farm, { omega: 1, seed: 3 })`. Touches no disk; all work is
 * done in worker threads.
 *
 * Throws KAIROS_UNKNOWN_NAME for a knob that the preset lacks and KAIROS_ARGUMENT for a value out of its bounds.
 */
export async function simulate<P extends Preset>(
  preset: P,
  knobs: KnobsInput<P> = {} as KnobsInput<P>,
  options: SimulateOptions = {},
): Promise<Simulation<FeaturesOf<P>, KnobsOf<P>>> {
  const work = workOf(preset, knobs as Record<string, unknown>, options)
  const pool = new Pool(threadsOf(options))
  try {
    const { tables } = await fillTables(pool, work, options.onProgress)
    return simulationOf<P>(preset, work, tables)
  } finally {
    await pool.close()
  }
}

/** Checked knobs, and what this draw of events overrides. */
export function workOf(preset: Preset, input: Readonly<Record<string, unknown>>, options: SimulateOptions): Work {
  const { part = '', exposure = {} } = options
  const knobs = parseKnobs(preset, input)
  const name = preset.name as PresetName
  const { overridable } = processes[name]
  const foreign = Object.keys(exposure).find((knob) => !overridable.includes(knob))
  if (foreign !== undefined) {
    const near = nearest(foreign, overridable)
    throw new KairosError('KAIROS_ARGUMENT', {
      op: `simulate '${name}'`,
      argument: `exposure.${foreign}`,
      expected: `one of ${overridable.join(', ')}`,
      got: `'${foreign}'`,
      ...(near ? { hint: `Did you mean '${near}'?` } : {}),
    })
  }
  return { preset: name, knobs, exposure: parseKnobs(preset, { ...knobs, ...exposure }), part }
}

export function threadsOf({ threads = availableParallelism() }: SimulateOptions): number {
  if (Number.isInteger(threads) && threads >= 1 && threads <= 256) return threads
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'simulate',
    argument: 'threads',
    expected: 'an integer from 1 to 256',
    got: String(threads),
  })
}

/** Events of a piece of work: some 50 ms. */
const PIECE = 8192

/** Makes the platform on one thread, then the events on all. */
export async function fillTables(
  pool: Pool,
  work: Work,
  onProgress: SimulateOptions['onProgress'] = () => {},
): Promise<Prepared> {
  const { prepared } = await pool.ask(0, { task: 'prepare', work }, 'prepared')
  const { units, events } = prepared
  const piece = Math.max(1, Math.round((PIECE * units) / Math.max(1, events)))
  const next = new Int32Array(new SharedArrayBuffer(4))
  let done = 0
  onProgress(0, events)
  await pool.askAll({ task: 'fill', work, prepared, next, piece }, 'filled', (count) => {
    done += count
    onProgress(Math.round((done / units) * events), events)
  })
  return prepared
}

function simulationOf<P extends Preset>(
  preset: P,
  { preset: name, knobs }: Work,
  tables: Tables,
): Simulation<FeaturesOf<P>, KnobsOf<P>> {
  const schema = preset.schema(knobs) as unknown as DataSchema<FeaturesOf<P>>
  return {
    preset: name,
    knobs: knobs as KnobsOf<P>,
    schema,
    ...tables,
    dataset: () => datasetOf(schema, tables.rows),
  }
}

function datasetOf<F extends Features>(schema: DataSchema<F>, { columns }: Table): Promise<Dataset<F>> {
  const features: Features = schema.features
  const chosen = Object.fromEntries(
    Object.entries(features).map(([name, { column }]) => [name, columns[column ?? name] as Column]),
  )
  return Dataset.fromColumns(schema, chosen as { [K in keyof F]: Column })
}
