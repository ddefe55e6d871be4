/** Trains and evaluates a sequence model on a leave-one-out split. */

import { countItems, type EvaluationPart, type LeaveOneOut } from '../data/leaveOneOut.js'
import { createEvaluationBatches, createPrefixBatches } from '../data/prefixBatches.js'
import { all, type Compiled, compile } from '../graph/compile.js'
import type { Tensor } from '../graph/node.js'
import { createParameters, createState } from '../graph/stores.js'
import { crossEntropy } from '../losses/index.js'
import { gains, mean as meanOf } from '../metrics/ranking.js'
import { targetRank } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { adam } from '../optim/index.js'
import type { Executor, ParameterSet, State } from '../runtime/index.js'
import { rankingSchema, type SequenceModel, trainingSchema } from '../systems/system.js'

export interface TrainerOptions {
  readonly maxLength: number
  readonly batchSize: number
  readonly learningRate: number
  readonly seed: number
  readonly executor: Executor
}

export interface EpochReport {
  readonly epoch: number
  readonly loss: number
  readonly validation: number
  readonly samplesPerSecond: number
  readonly best: boolean
}

export interface FitOptions {
  readonly epochs: number
  /** Epochs without a better validation NDCG@10 before training ends. */
  readonly patience: number
  /** Called before the first epoch with the number of examples in each. */
  readonly onStart?: (exampleCount: number) => void
  readonly onStep?: (step: {
    readonly epoch: number
    readonly batch: number
    readonly samples: number
    readonly loss: number
  }) => void
  readonly onEpoch?: (report: EpochReport) => void
}

export interface FitResult {
  readonly parameters: ParameterSet
  readonly bestEpoch: number
  readonly validation: number
  readonly epochs: number
}

/** Users ranked at a time. */
const RANKING_BATCH = 256
/** Steps in flight: one runs while the next batch is filled. */
const IN_FLIGHT = 2

type RankingProgram = Compiled<ReturnType<typeof rankingSchema>, { ranks: Tensor<readonly ['batch'], 'int32'> }>

/** The program that ranks each target among all items that are not excluded; 0 is first. */
export function compileRanking(model: SequenceModel & object, maxLength: number, executor: Executor): RankingProgram {
  return compile(
    model,
    (m, batch) => ({
      ranks: targetRank(m.scores(batch.history) as Loose, batch.target as Loose, batch.exclude as Loose) as Loose,
    }),
    { schema: rankingSchema(maxLength), executor },
  ) as RankingProgram
}

type TrainingProgram = Compiled<ReturnType<typeof trainingSchema>, { loss: Tensor<readonly [], 'float32'> }>

/** One training step: full softmax over all items, every parameter moved by Adam. */
export function compileTraining(
  model: SequenceModel & object,
  {
    maxLength,
    ...options
  }: { readonly maxLength: number; readonly seed: number; readonly executor: Executor; readonly profile?: boolean },
): TrainingProgram {
  return compile(
    model,
    (m, batch) => ({ loss: crossEntropy(m.scores(batch.history) as Loose, batch.target as Loose) }),
    { ...options, schema: trainingSchema(maxLength), updates: [{ loss: 'loss', parameters: all, optimizer: adam() }] },
  ) as TrainingProgram
}

/** The target's rank for every evaluated user, in the split's order. */
export async function rankTargets(
  program: RankingProgram,
  split: LeaveOneOut,
  part: EvaluationPart,
  maxLength: number,
  handles: { readonly parameters?: ParameterSet; readonly state?: State },
): Promise<Int32Array> {
  const batches = createEvaluationBatches(split, { length: maxLength, batchSize: RANKING_BATCH, part })
  const ranks = new Int32Array(batches.userCount)
  const capacities = { batch: Math.min(RANKING_BATCH, batches.userCount), excluded: batches.excludeWidth }
  const pending: Promise<void>[] = []
  for (let batch = 0; batch < batches.batchCount; batch++) {
    const leased = await program.lease(capacities)
    const count = batches.fill(batch, leased.views)
    const first = batch * RANKING_BATCH
    const counts = { batch: count, excluded: batches.excludeWidth }
    pending.push(program.step(leased, {}, { ...handles, counts }).then((results) => ranks.set(results.ranks, first)))
  }
  await Promise.all(pending)
  return ranks
}

/** State of the popularity model: occurrences of every item. */
export async function fitCounts(
  model: object,
  split: LeaveOneOut,
  which: 'train' | 'all',
  executor: Executor,
): Promise<State> {
  const state = createState(model)
  await state.write({ counts: Float32Array.from(countItems(split, which)) }, executor)
  return state
}

/**
 * Trains with full softmax on every prefix of every user's training items, keeps the parameters of the epoch with the
 * best validation NDCG@10, and stops when that has not improved for `patience` epochs.
 */
export async function fit(
  model: SequenceModel & object,
  split: LeaveOneOut,
  options: TrainerOptions,
  { epochs, patience, onStart, onStep, onEpoch }: FitOptions,
): Promise<FitResult> {
  const { maxLength, batchSize, learningRate, seed, executor } = options
  const program = compileTraining(model, options)
  const ranking = compileRanking(model, maxLength, executor)
  const batches = createPrefixBatches(split, { length: maxLength, batchSize, seed })
  onStart?.(batches.exampleCount)
  const parameters = createParameters(model, seed)
  const capacities = { batch: Math.min(batchSize, batches.exampleCount) }
  let best: FitResult | null = null
  for (let epoch = 1; epoch <= epochs; epoch++) {
    await batches.shuffle(epoch)
    const started = performance.now()
    let lossSum = 0
    const inFlight: Promise<void>[] = []
    for (let batch = 0; batch < batches.batchCount; batch++) {
      if (inFlight.length >= IN_FLIGHT) await inFlight.shift()
      const leased = await program.lease(capacities)
      const count = batches.fill(batch, leased.views)
      const step = program.step(
        leased,
        { lr: learningRate },
        { parameters, counts: { batch: count }, requireFinite: ['loss'] },
      )
      inFlight.push(
        step.then(({ loss }) => {
          lossSum += (loss as number) * count
          onStep?.({ epoch, batch, samples: count, loss: loss as number })
        }),
      )
    }
    await Promise.all(inFlight)
    const seconds = (performance.now() - started) / 1000
    const validation = meanOf(gains(await rankTargets(ranking, split, 'validation', maxLength, { parameters }), 10))
    const better = !best || validation > best.validation
    if (better) best = { parameters: await parameters.clone(executor), bestEpoch: epoch, validation, epochs: epoch }
    onEpoch?.({
      epoch,
      loss: lossSum / batches.exampleCount,
      validation,
      samplesPerSecond: batches.exampleCount / seconds,
      best: better,
    })
    if (best && epoch - best.bestEpoch >= patience) return { ...best, epochs: epoch }
  }
  return { ...(best as FitResult), epochs }
}
