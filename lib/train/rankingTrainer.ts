/** Trains and evaluates a ranking model on rows of features: several binary tasks over one set of inputs. */
import type { BatchSource, RequestRows } from '../core/batchSource.js'
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import type { Dataset } from '../data/dataset.js'
import { type Feature, type Features, vocabularyOf } from '../data/features.js'
import { requestBatches, requestFields } from '../data/requestBatches.js'
import { type Compiled, compile } from '../graph/compile.js'
import type { Tensor } from '../graph/node.js'
import { createState, initializeParameters } from '../graph/stores.js'
import { BinaryMetrics, type BinaryResult } from '../metrics/index.js'
import { add, sigmoid } from '../ops/index.js'
import type { Executor, ParameterSet, State } from '../runtime/index.js'
import {
  binaryLosses,
  type FeatureBatch,
  type FeatureInput,
  type Ramps,
  type RankingModel,
  type RankingOutput,
  type RankingSystem,
  taskOutputs,
} from '../systems/system.js'
import { averagingOf, optimizerOf } from './averaging.js'
import { type CombinationOptions, combined, dynamicWeights, lossNames, updatesOf } from './combination.js'
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

export interface RankingTrainerOptions extends CombinationOptions {
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

/**
 * The model's own loss, or the sum over tasks of the mean logistic loss; everything moved by Adam, tables lazily. With
 * `combine` the losses that it is made of are weighed step by step.
 */
export function compileRankingTraining(
  model: RankingModel & object,
  tasks: readonly string[],
  schema: BatchSource['schema'],
  {
    clipNorm,
    averageDecay,
    combine,
    combineAt,
    lossWeights,
    ...options
  }: Omit<RankingTrainerOptions, 'batchSize' | 'learningRate'>,
): Program<Outputs> {
  const combination = { combine, combineAt, lossWeights }
  const rule = { optimizer: optimizerOf(averageDecay), ...(clipNorm ? { clipNorm } : {}) }
  const traced = (m: RankingModel, batch: FeatureBatch): Record<string, Tensor> => {
    const losses = m.losses?.(batch) ?? { loss: sumOf(binaryLosses(m.logits(batch), tasks, batch)) }
    return { ...losses, ...combined(m, tasks, batch, combination) }
  }
  const names = (part: string) => model.objectiveNames?.(part) ?? tasks
  const updates = updatesOf(model, names, rule, combination)
  return compile(model, (m, batch) => traced(m, batch as FeatureBatch) as Outputs, {
    ...options,
    schema,
    updates: updates as never,
  }) as Program<Outputs>
}

const sumOf = (losses: Readonly<Record<string, Outputs['loss']>>): Outputs['loss'] =>
  Object.values(losses).reduce((sum, loss) => add(sum, loss))

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

/** An output with the name of the prediction that is judged. */
export type Judgement = RankingOutput & { readonly prediction: string }

/** What is judged: an output comes once for each label that it is judged on. */
export const judgements = (outputs: readonly RankingOutput[]): Judgement[] =>
  outputs.flatMap(({ judgedOn, ...output }): Judgement[] =>
    judgedOn
      ? judgedOn.map((label) => ({ name: `${output.name} on ${label}`, labels: [label], prediction: output.name }))
      : [{ ...output, prediction: output.name }],
  )

/** What the predictions are worth, output by output; GAUC where the schema has a group. */
export async function judge(
  data: Dataset,
  predictions: Readonly<Record<string, Float32Array>>,
  outputs: readonly RankingOutput[],
): Promise<Record<string, BinaryResult>> {
  const group = Object.entries(data.schema.features).find(([, { kind }]) => kind === 'groupId')?.[0]
  const groups = group === undefined ? {} : { groups: data.values(group) as Int32Array }
  const results: Record<string, BinaryResult> = {}
  for (const output of judgements(outputs)) {
    const rows = await judgedRows(data, output, { scores: predictions[output.prediction] as Float32Array, ...groups })
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
  const scalars = { lr: learningRate, ...scheduled(ramps, loop.epochs * source.batchCount) }
  const weights = options.combine === 'dwa' ? dynamicWeights(scalars, lossNames(model, tasks)) : null
  const result = await fitLoop({
    ...rest,
    ...(weights ? { observers: [weights, ...(rest.observers ?? [])] } : {}),
    program,
    source,
    parameters,
    state,
    schedule: weights ?? scalars,
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
