/** Losses of events that happen in steps: a click and then a conversion. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { add, minimum, multiply, negate, oneMinus } from '../ops/arithmetic.js'
import { log1mExp, logSigmoid } from '../ops/logSpace.js'
import type { Loose } from '../ops/support.js'
import { type LossOptions, type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/** Log probabilities stay below it, so that a product that rounds to 1 has a finite loss. */
const LARGEST = -(2 ** -126)

/**
 * Cross entropy of the product p = sigmoid(a) sigmoid(b) with targets in [0, 1], in log space: log p is the sum of two
 * logarithms, log(1 - p) has a series where p is near 1. Exact for logits far beyond where the product rounds.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32. Source: Ma et al., "Entire space multi-task
 * model" (ESMM), 2018, equation 3, whose second term it is.
 */
export function productCrossEntropy<S extends Shape, R extends Reduction = 'mean'>(
  a: Tensor<S, 'float32'>,
  b: Tensor<NoInfer<S>, 'float32'>,
  targets: Tensor<NoInfer<S>, 'float32'>,
  options: LossOptions<NoInfer<S>, R> = {},
): ReducedLoss<S, R> {
  const logP: Loose = minimum(add(logSigmoid(a) as Loose, logSigmoid(b as Loose) as Loose) as Loose, LARGEST)
  const losses: Loose = negate(
    add(
      multiply(targets as Loose, logP) as Loose,
      multiply(oneMinus(targets as Loose) as Loose, log1mExp(logP) as Loose) as Loose,
    ) as Loose,
  )
  return reduceLosses('productCrossEntropy', losses, options) as Loose
}
