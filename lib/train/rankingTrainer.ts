/** Trains and evaluates a ranking model on rows of features: several binary tasks over one set of inputs. */
import type { BatchSource } from '../core/batchSource.js'
import type { Dataset } from '../data/dataset.js'
import { datasetBatches } from '../data/datasetBatches.js'
import { type Feature, type Features, vocabularyOf } from '../data/features.js'
import { all, type Compiled, compile } from '../graph/compile.js'
import type { Tensor } from '../graph/node.js'
import { createState, initializeParameters } from '../graph/stores.js'
import { binaryCrossEntropy } from '../losses/index.js'
import { BinaryMetrics, type BinaryResult } from '../metrics/index.js'
import { add, merge, sigmoid, slice } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { Executor, ParameterSet, State } from '../runtime/index.js'
import type { FeatureBatch, FeatureInput, RankingModel } from '../systems/system.js'
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

/** The sum over tasks of the mean logistic loss; everything moved by Adam, tables lazily. */
export function compileRankingTraining(
  model: RankingModel & object,
  tasks: readonly string[],
  schema: BatchSource['schema'],
  { clipNorm, averageDecay, ...options }: Omit<RankingTrainerOptions, 'batchSize' | 'learningRate'>,
): Program<Outputs> {
  return compile(
    model,
    (m, batch) => {
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

/** The probability of each task for each row. */
export function compilePrediction(
  model: RankingModel & object,
  schema: BatchSource['schema'],
  executor: Executor,
): Program<Predictions> {
  return compile(model, (m, batch) => ({ probabilities: sigmoid(m.logits(batch as FeatureBatch)) }), {
    schema,
    executor,
  }) as Program<Predictions>
}

/** Probabilities per task, in the order of the rows. */
export async function predict(
  program: Program<Predictions>,
  data: Dataset,
  tasks: readonly string[],
  handles: { readonly parameters: ParameterSet; readonly state?: State },
): Promise<Record<string, Float32Array>> {
  const source = await datasetBatches(data, { batchSize: PREDICTION_BATCH })
  const columns = tasks.map(() => new Float32Array(data.rowCount))
  const pending: Promise<void>[] = []
  let first = 0
  for await (const batch of source.batches(1)) {
    const leased = await program.lease(source.capacities)
    batch.fill(leased.views as never)
    const start = first
    first += batch.counts.batch as number
    const step = program.step(leased, {}, { ...handles, counts: batch.counts })
    pending.push(step.then(({ probabilities }) => spread(probabilities as Float32Array, columns, start)))
  }
  await Promise.all(pending)
  return Object.fromEntries(tasks.map((task, index) => [task, columns[index] as Float32Array]))
}

function spread(rows: Float32Array, columns: readonly Float32Array[], start: number): void {
  const tasks = columns.length
  columns.forEach((column, task) => {
    for (let row = 0; row * tasks < rows.length; row++) column[start + row] = rows[row * tasks + task] as number
  })
}

/** What the predictions are worth, task by task; GAUC where the schema has a group. */
export async function judge(
  data: Dataset,
  predictions: Readonly<Record<string, Float32Array>>,
): Promise<Record<string, BinaryResult>> {
  const group = Object.entries(data.schema.features).find(([, { kind }]) => kind === 'groupId')?.[0]
  const groups = group === undefined ? {} : { groups: data.values(group) as Int32Array }
  const results: Record<string, BinaryResult> = {}
  for (const [task, scores] of Object.entries(predictions)) {
    const metrics = new BinaryMetrics()
    metrics.update({ scores, labels: data.values(task), ...groups })
    results[task] = await metrics.value()
  }
  return results
}

export interface RankingFit extends LoopResult {
  readonly state: State
}

/** Trains until the mean validation AUC gets no better for `patience` epochs, and keeps the best. */
export async function fitRanking(
  model: RankingModel & object,
  tasks: readonly string[],
  { train, validation }: { readonly train: Dataset; readonly validation: Dataset },
  options: RankingTrainerOptions,
  loop: Pick<LoopOptions, 'epochs' | 'observers' | 'signal' | 'checkpoints' | 'detectAnomaly'> & {
    readonly patience: number
  },
): Promise<RankingFit> {
  const { batchSize, learningRate, seed, executor } = options
  const { patience, ...rest } = loop
  const source = (await datasetBatches(train, { batchSize, seed })) as unknown as BatchSource
  const program = compileRankingTraining(model, tasks, source.schema, options)
  const prediction = compilePrediction(model, source.schema, executor)
  const parameters = await initializeParameters(model, seed, executor)
  const state = createState(model)
  const result = await fitLoop({
    ...rest,
    program,
    source,
    parameters,
    state,
    schedule: { lr: learningRate },
    watch: { metric: 'AUC', patience },
    evaluate: async (at) => {
      const handles = { parameters: at.parameters, state }
      const judged = await judge(validation, await predict(prediction, validation, tasks, handles))
      const mean = tasks.reduce((sum, task) => sum + (judged[task] as BinaryResult).auc / tasks.length, 0)
      const each = tasks.length > 1 ? tasks.map((task) => [`AUC ${task}`, (judged[task] as BinaryResult).auc]) : []
      return { AUC: mean, ...Object.fromEntries(each) }
    },
    ...averagingOf(options),
  })
  return { ...result, state }
}
