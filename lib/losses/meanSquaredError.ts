/** The loss of numbers: watch time, ratings. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { square, subtract } from '../ops/arithmetic.js'
import type { Loose } from '../ops/support.js'
import { type LossOptions, type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/**
 * (prediction - target)^2: its mean, 0 for no elements.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32.
 */
export function meanSquaredError<S extends Shape, R extends Reduction = 'mean'>(
  predictions: Tensor<S, 'float32'>,
  targets: Tensor<NoInfer<S>, 'float32'>,
  options: LossOptions<NoInfer<S>, R> = {},
): ReducedLoss<S, R> {
  const losses: Loose = square(subtract(predictions as Loose, targets as Loose) as Loose)
  return reduceLosses('meanSquaredError', losses, options) as Loose
}
