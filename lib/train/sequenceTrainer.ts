/** Trains and evaluates a sequence model on a leave-one-out split. */

import type { BatchSource } from '../core/batchSource.js'
import { KairosError } from '../core/errors.js'
import { countItems, type EvaluationPart, type LeaveOneOut } from '../data/leaveOneOut.js'
import { createEvaluationBatches, createPrefixBatches, type TrainingViews } from '../data/prefixBatches.js'
import { all, type Compiled, compile } from '../graph/compile.js'
import type { Tensor } from '../graph/node.js'
import { createParameters, createState } from '../graph/stores.js'
import { gains, mean as meanOf } from '../metrics/ranking.js'
import { targetRank } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { Executor, ParameterSet, State } from '../runtime/index.js'
import { rankingSchema, type SequenceModel, trainingSchema } from '../systems/system.js'
import { averagingOf, optimizerOf } from './averaging.js'
import { fitLoop, type LoopOptions, type LoopResult } from './loop.js'

export interface TrainerOptions {
  readonly maxLength: number
  readonly batchSize: number
  readonly learningRate: number
  readonly averageDecay?: number
  readonly latestTargets?: number
  readonly seed: number
  readonly executor: Executor
}

/** Users ranked at a time. */
const RANKING_BATCH = 256
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

function requireLoss(model: SequenceModel): NonNullable<SequenceModel['loss']> {
  if (model.loss) return model.loss.bind(model)
  throw new KairosError('KAIROS_MISSING', { op: 'train', argument: 'model.loss', expected: 'a loss', got: 'none' })
}

type TrainingProgram = Compiled<ReturnType<typeof trainingSchema>, { loss: Tensor<readonly [], 'float32'> }>

/** One training step: the model's own loss, every parameter moved by Adam. */
export function compileTraining(
  model: SequenceModel & object,
  {
    maxLength,
    averageDecay,
    ...options
  }: {
    readonly maxLength: number
    readonly averageDecay?: number
    readonly seed: number
    readonly executor: Executor
    readonly profile?: boolean
  },
): TrainingProgram {
  return compile(model, (m, batch) => ({ loss: requireLoss(m)(batch.history as Loose, batch.target as Loose) }), {
    ...options,
    schema: trainingSchema(maxLength),
    updates: [{ loss: 'loss', parameters: all, optimizer: optimizerOf(averageDecay) }],
  }) as TrainingProgram
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

/** Prefixes of every user's training items, as the loop takes batches. */
export function prefixSource(
  split: LeaveOneOut,
  {
    maxLength,
    batchSize,
    seed,
    latestTargets = 0,
  }: Pick<TrainerOptions, 'maxLength' | 'batchSize' | 'seed' | 'latestTargets'>,
): BatchSource {
  const batches = createPrefixBatches(split, {
    length: maxLength,
    batchSize,
    seed,
    latestTargets,
  })
  const { exampleCount, batchCount } = batches
  return {
    schema: trainingSchema(maxLength),
    exampleCount,
    batchCount,
    capacities: { batch: Math.min(batchSize, exampleCount) },
    async *batches(epoch, { from = 0 } = {}) {
      await batches.shuffle(epoch)
      for (let batch = from; batch < batchCount; batch++) {
        const count = Math.min(batchSize, exampleCount - batch * batchSize)
        yield { counts: { batch: count }, fill: (views) => batches.fill(batch, views as unknown as TrainingViews) }
      }
    },
  }
}

/**
 * Trains on prefixes of every user's training items (`latestTargets`: which), keeps the parameters of the epoch with the
 * best validation NDCG@10, and stops when that has not improved for `patience` epochs.
 */
export function fit(
  model: SequenceModel & object,
  split: LeaveOneOut,
  options: TrainerOptions,
  loop: Pick<LoopOptions, 'epochs' | 'observers' | 'signal' | 'checkpoints' | 'detectAnomaly'> & {
    /** Epochs without a better validation NDCG@10 before training ends. */
    readonly patience: number
  },
): Promise<LoopResult> {
  const { maxLength, learningRate, seed, executor } = options
  const { patience, ...rest } = loop
  const program = compileTraining(model, options)
  const ranking = compileRanking(model, maxLength, executor)
  const parameters = createParameters(model, seed)
  const state = createState(model)
  return fitLoop({
    ...rest,
    program,
    source: prefixSource(split, options),
    parameters,
    state,
    schedule: { lr: learningRate },
    watch: { metric: 'NDCG@10', patience },
    evaluate: async (at) => {
      const ranks = await rankTargets(ranking, split, 'validation', maxLength, { parameters: at.parameters, state })
      return { 'NDCG@10': meanOf(gains(ranks, 10)) }
    },
    ...averagingOf(options),
  })
}
