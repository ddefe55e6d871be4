/** Trains and evaluates a ranking model on rows of features: several binary tasks over one set of inputs. */
import type { BatchSource } from '../core/batchSource.js'
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import type { Dataset } from '../data/dataset.js'
import { type Feature, type Features, vocabularyOf } from '../data/features.js'
import { type RequestRows, requestBatches, requestFields } from '../data/requestBatches.js'
import { all, type Compiled, compile } from '../graph/compile.js'
import type { Tensor } from '../graph/node.js'
import { createState, initializeParameters } from '../graph/stores.js'
import { binaryCrossEntropy } from '../losses/index.js'
import { BinaryMetrics, type BinaryResult } from '../metrics/index.js'
import { add, merge, sigmoid, slice } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { Executor, ParameterSet, State } from '../runtime/index.js'
import {
  type FeatureBatch,
  type FeatureInput,
  type Ramps,
  type RankingModel,
  type RankingOutput,
  type RankingSystem,
  taskOutputs,
} from '../systems/system.js'
import { averagingOf, optimizerOf } from './averaging.js'
import { fitLoop, type LoopOptions, type LoopResult } from './loop.js'

/** Rows that are predicted at a time. */
const PREDICTION_BATCH = 1024

/** Features as models see them: ids with the rows of their tables, numbers, sequences; labels, times and users are none. */
export const featureInputs = (data: Dataset): FeatureInput[] =>
  Object.entries(data.schema.features).flatMap(([name, feature]) => inputsOf(name, feature, data))

function inputsOf(name: string, feature: Feature, data: Dataset): FeatureInput[] {
  switch (feature.kind) {
    case 'categorical':
    case 'domain':
      return [{ kind: 'id', name, table: vocabularyOf(name, feature) ?? name, rows: data.size(name) }]
    case 'sequence': {
      const table = vocabularyOf(name, feature) ?? name
      const padded = feature.padded === undefined ? {} : { padded: feature.padded }
      return [{ kind: 'sequence', name, table, rows: data.size(name), ...padded }]
    }
    case 'numeric': {
      const indicator: FeatureInput[] =
        feature.nulls === 'indicator' ? [{ kind: 'number', name: `${name}.missing` }] : []
      return [{ kind: 'number', name }, ...indicator]
    }
    case 'dense':
      return [{ kind: 'number', name, width: feature.width }]
    case 'label':
    case 'groupId':
    case 'time':
      return []
    default:
      return feature satisfies never
  }
}

/** Names of the labels of a schema, in its order. */
export const labelsOf = (features: Features): string[] =>
  Object.entries(features).flatMap(([name, { kind }]) => (kind === 'label' ? [name] : []))

/** What a model learns and is judged by. */
export interface RankingTargets {
  /** Labels that it learns. */
  readonly tasks: readonly string[]
  /** What it predicts, in the order of its probabilities. */
  readonly outputs: readonly RankingOutput[]
  /** Scalars that its losses are fed. */
  readonly ramps: Ramps
  /** Rows that are fed together. */
  readonly requests?: RequestRows
}

/** `config` as the system's schema gives it. */
export const targetsOf = (system: RankingSystem, config: unknown, tasks: readonly string[]): RankingTargets => ({
  tasks,
  outputs: system.outputs?.(tasks, config) ?? taskOutputs(tasks),
  ramps: system.scalars?.(config) ?? {},
  ...(system.requests ? { requests: system.requests(config) } : {}),
})

export interface RankingTrainerOptions {
  readonly batchSize: number
  readonly learningRate: number
  readonly seed: number
  readonly executor: Executor
  readonly clipNorm?: number | undefined
  readonly averageDecay?: number
  readonly profile?: boolean
}

type Outputs = { loss: Tensor<readonly [], 'float32'> }
// biome-ignore lint/suspicious/noExplicitAny: the schema is the data's, which types do not know.
type Program<O extends Record<string, Tensor>> = Compiled<any, O>

/** The model's own loss, or the sum over tasks of the mean logistic loss; everything moved by Adam, tables lazily. */
export function compileRankingTraining(
  model: RankingModel & object,
  tasks: readonly string[],
  schema: BatchSource['schema'],
  { clipNorm, averageDecay, ...options }: Omit<RankingTrainerOptions, 'batchSize' | 'learningRate'>,
): Program<Outputs> {
  return compile(
    model,
    (m, batch) => {
      if (m.losses) return m.losses(batch as FeatureBatch) as Outputs
      const logits = m.logits(batch as FeatureBatch) as Loose
      const losses = tasks.map((task, index) =>
        binaryCrossEntropy(column(logits, index), (batch as FeatureBatch)[task] as Loose),
      )
      return { loss: losses.reduce((sum, loss) => add(sum as Loose, loss as Loose)) as Outputs['loss'] }
    },
    {
      ...options,
      schema,
      updates: [
        { loss: 'loss', parameters: all, optimizer: optimizerOf(averageDecay), ...(clipNorm ? { clipNorm } : {}) },
      ],
    },
  ) as Program<Outputs>
}

const column = (logits: Loose, index: number): Loose => merge(slice(logits, 1, index, 1) as Loose, 0, 2) as Loose

type Predictions = { probabilities: Tensor<readonly ['batch', number], 'float32'> }

/** The probability of each output for each row. */
export function compilePrediction(
  model: RankingModel & object,
  data: Dataset,
  { requests }: Pick<RankingTargets, 'requests'>,
  executor: Executor,
): Program<Predictions> {
  const probabilities = (m: RankingModel, batch: FeatureBatch) => m.probabilities?.(batch) ?? sigmoid(m.logits(batch))
  return compile(model, (m, batch) => ({ probabilities: probabilities(m, batch as FeatureBatch) }), {
    schema: requestFields(data, requests),
    executor,
  }) as Program<Predictions>
}

/** Probabilities by output, in the order of the rows. */
export async function predict(
  program: Program<Predictions>,
  data: Dataset,
  { outputs, requests }: Pick<RankingTargets, 'outputs' | 'requests'>,
  handles: { readonly parameters: ParameterSet; readonly state?: State },
): Promise<Record<string, Float32Array>> {
  const source = await requestBatches(data, { batchSize: PREDICTION_BATCH }, requests)
  const columns = outputs.map(() => new Float32Array(data.rowCount))
  const pending: Promise<void>[] = []
  let first = 0
  for await (const batch of source.batches(1)) {
    const leased = await program.lease(source.capacities)
    batch.fill(leased.views as never)
    const start = first
    first += batch.examples ?? (batch.counts.batch as number)
    const step = program.step(leased, {}, { ...handles, counts: batch.counts })
    pending.push(step.then(({ probabilities }) => spread(probabilities as Float32Array, columns, start)))
  }
  await Promise.all(pending)
  return Object.fromEntries(outputs.map(({ name }, index) => [name, columns[index] as Float32Array]))
}

function spread(rows: Float32Array, columns: readonly Float32Array[], start: number): void {
  const tasks = columns.length
  columns.forEach((column, task) => {
    for (let row = 0; row * tasks < rows.length; row++) column[start + row] = rows[row * tasks + task] as number
  })
}

/** The rows on which an output is judged, null where it is not: what happened, and any columns beside it. */
export async function judgedRows<C extends Readonly<Record<string, Float32Array | Int32Array>>>(
  data: Dataset,
  { labels, among = [] }: RankingOutput,
  columns: C,
): Promise<(C & { readonly labels: Uint8Array }) | null> {
  if (!labels) return null
  const [needed, asked] = [among, labels].map((names) => names.map((name) => data.values(name)))
  const rows: number[] = []
  const came: number[] = []
  const pause = createTimeSlice()
  const allOnes = (values: typeof needed, row: number) => values?.every((column) => column[row] === 1) ?? true
  await inSlices(data.rowCount, pause, (begin, end) => {
    for (let row = begin; row < end; row++) {
      if (!allOnes(needed, row)) continue
      rows.push(row)
      came.push(allOnes(asked, row) ? 1 : 0)
    }
  })
  const picked: Record<string, Float32Array | Int32Array> = {}
  for (const [name, values] of Object.entries(columns)) {
    const column = new (values.constructor as Float32ArrayConstructor)(rows.length)
    await inSlices(rows.length, pause, (begin, end) => {
      for (let i = begin; i < end; i++) column[i] = values[rows[i] as number] as number
    })
    picked[name] = column
  }
  return { ...(picked as C), labels: Uint8Array.from(came) }
}

/** How often each judged output came true, by name. */
export async function ratesOf(
  data: Dataset,
  outputs: readonly RankingOutput[],
): Promise<Readonly<Record<string, number>>> {
  const rates: Record<string, number> = {}
  for (const output of outputs) {
    const rows = await judgedRows(data, output, {})
    if (rows && rows.labels.length > 0)
      rates[output.name] = rows.labels.reduce((sum, label) => sum + label, 0) / rows.labels.length
  }
  return rates
}

/** What the predictions are worth, output by output; GAUC where the schema has a group. */
export async function judge(
  data: Dataset,
  predictions: Readonly<Record<string, Float32Array>>,
  outputs: readonly RankingOutput[],
): Promise<Record<string, BinaryResult>> {
  const group = Object.entries(data.schema.features).find(([, { kind }]) => kind === 'groupId')?.[0]
  const groups = group === undefined ? {} : { groups: data.values(group) as Int32Array }
  const results: Record<string, BinaryResult> = {}
  for (const output of outputs) {
    const rows = await judgedRows(data, output, { scores: predictions[output.name] as Float32Array, ...groups })
    if (!rows) continue
    const metrics = new BinaryMetrics()
    metrics.update(rows)
    results[output.name] = await metrics.value()
  }
  return results
}

export interface RankingFit extends LoopResult {
  readonly state: State
}

/** Trains until the mean validation AUC gets no better for `patience` epochs, and keeps the best. */
export async function fitRanking(
  model: RankingModel & object,
  targets: RankingTargets,
  { train, validation }: { readonly train: Dataset; readonly validation: Dataset },
  options: RankingTrainerOptions,
  loop: Pick<LoopOptions, 'epochs' | 'observers' | 'signal' | 'checkpoints' | 'detectAnomaly'> & {
    readonly patience: number
  },
): Promise<RankingFit> {
  const { batchSize, learningRate, seed, executor } = options
  const { patience, ...rest } = loop
  const { tasks, outputs, ramps, requests } = targets
  const source = await requestBatches(train, { batchSize, seed }, requests)
  const program = compileRankingTraining(model, tasks, source.schema, options)
  const prediction = compilePrediction(model, train, targets, executor)
  const parameters = await initializeParameters(model, seed, executor)
  const state = createState(model)
  const result = await fitLoop({
    ...rest,
    program,
    source,
    parameters,
    state,
    schedule: { lr: learningRate, ...scheduled(ramps, loop.epochs * source.batchCount) },
    watch: { metric: 'AUC', patience },
    evaluate: async (at) => {
      const handles = { parameters: at.parameters, state }
      const judged = await judge(validation, await predict(prediction, validation, targets, handles), outputs)
      const areas = Object.entries(judged).map(([name, { auc }]) => [name, auc] as const)
      const mean = areas.reduce((sum, [, auc]) => sum + auc / areas.length, 0)
      const each = areas.length > 1 ? areas.map(([name, auc]) => [`AUC ${name}`, auc]) : []
      return { AUC: mean, ...Object.fromEntries(each) }
    },
    ...averagingOf(options),
  })
  return { ...result, state }
}

/** Ramps over a run of so many steps. */
export const scheduled = (ramps: Ramps, steps: number): Record<string, (step: number) => number> =>
  Object.fromEntries(Object.entries(ramps).map(([name, ramp]) => [name, (step) => ramp(Math.min(1, step / steps))]))
