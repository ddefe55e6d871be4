/** Losses of an order: a better one should score above a worse one. */
import type { Dim, Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { softplus } from '../ops/activation.js'
import { multiply, subtract } from '../ops/arithmetic.js'
import { cast, equal, greater, logicalAnd } from '../ops/comparison.js'
import { broadcast } from '../ops/movement.js'
import { at, type Loose } from '../ops/support.js'
import { type LossOptions, type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/**
 * -log sigmoid(positive - negative), pair by pair: its mean, 0 for no pairs.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32.
 * Source: Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", 2009, section 4.1.
 */
export function bayesianPersonalizedRanking<S extends Shape, R extends Reduction = 'mean'>(
  positives: Tensor<S, 'float32'>,
  negatives: Tensor<NoInfer<S>, 'float32'>,
  options: LossOptions<NoInfer<S>, R> = {},
): ReducedLoss<S, R> {
  const losses: Loose = softplus(subtract(negatives as Loose, positives as Loose) as Loose)
  return reduceLosses('bayesianPersonalizedRanking', losses, options) as Loose
}

/**
 * log(1 + exp(s_j - s_i)) over the pairs of each list, along the last axis, whose target i is above target j: its mean,
 * 0 where no two targets differ. With `groups`, only pairs of one group count, so that a batch of rows from many
 * requests is one list. Keeps all pairs: memory grows with the square of the list.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless scores and targets are float32 and groups int32.
 * Source: Burges et al., "Learning to rank using gradient descent", 2005, section 3, with hard preferences.
 */
export function pairwiseLogistic<Lead extends Shape, N extends Dim>(
  scores: Tensor<readonly [...Lead, N], 'float32'>,
  targets: Tensor<readonly [...Lead, N], 'float32'>,
  {
    groups,
    reduction,
  }: { readonly groups?: Tensor<readonly [...Lead, N], 'int32'>; readonly reduction?: 'mean' | 'sum' } = {},
): Tensor<readonly [], 'float32'> {
  const list = at(scores.shape, -1)
  const rank = scores.shape.length
  // Element (i, j) of a pair's matrix.
  const first = (x: Loose): Loose => broadcast(x, rank, [list])
  const second = (x: Loose): Loose => broadcast(x, rank - 1, [list])
  const pairs = <T>(x: Loose, compare: (i: Loose, j: Loose) => T): T => compare(first(x), second(x))
  const losses: Loose = softplus(pairs(scores as Loose, (i, j) => subtract(j, i)) as Loose)
  const above: Loose = pairs(targets as Loose, greater)
  const counted: Loose = groups ? logicalAnd(above, pairs(groups as Loose, equal) as Loose) : above
  const weights: Loose = cast(counted, 'float32')
  if (reduction === 'sum') return reduceLosses('pairwiseLogistic', multiply(losses, weights), { reduction })
  return reduceLosses('pairwiseLogistic', losses, { weights, reduction })
}
