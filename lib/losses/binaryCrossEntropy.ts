/** The loss of clicks and conversions. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { divide, maximum, multiply } from '../ops/arithmetic.js'
import { sigmoidCrossEntropy } from '../ops/crossEntropy.js'
import { size } from '../ops/movement.js'
import { sum } from '../ops/reduction.js'
import type { Loose } from '../ops/support.js'

/**
 * Mean cross entropy of sigmoid(logits) with targets in [0, 1]; 0 for no elements. With `weights`, each element counts
 * so much: the weighted sum over the sum of weights.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32.
 */
export function binaryCrossEntropy<S extends Shape>(
  logits: Tensor<S, 'float32'>,
  targets: Tensor<NoInfer<S>, 'float32'>,
  { weights }: { readonly weights?: Tensor<NoInfer<S>, 'float32'> } = {},
): Tensor<readonly [], 'float32'> {
  const losses: Loose = sigmoidCrossEntropy(logits as Loose, targets as Loose)
  // Where nothing counts the sum is 0 too, and so is the loss.
  if (!weights) return divide(sum(losses), maximum(size(logits), 1)) as Loose
  return divide(sum(multiply(losses, weights as Loose)), maximum(sum(weights as Loose), SMALLEST)) as Loose
}

/** Keeps 0 / 0 from becoming NaN; far below any sum of weights that means something. */
const SMALLEST = 1e-30
