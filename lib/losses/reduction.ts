/** How losses of elements become one number. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { divide, maximum, multiply } from '../ops/arithmetic.js'
import { size } from '../ops/movement.js'
import { sum } from '../ops/reduction.js'
import { type Loose, refuseArgument } from '../ops/support.js'

/** `mean` over what counts, `sum`, or `none`: the losses themselves. */
export type Reduction = 'mean' | 'sum' | 'none'

export interface LossOptions<S extends Shape, R extends Reduction = Reduction> {
  /** How much each element counts; 0 and 1 make a mask. The mean is then the weighted sum over the sum of weights. */
  readonly weights?: Tensor<S, 'float32'>
  /** Default: 'mean'. */
  readonly reduction?: R
}

export type ReducedLoss<S extends Shape, R extends Reduction> = Tensor<R extends 'none' ? S : readonly [], 'float32'>

/** Keeps 0 / 0 from becoming NaN; far below any sum of weights that means something. */
const SMALLEST = 1e-30

/** Weighs and reduces; a mean over nothing is 0. */
export function reduceLosses(
  op: string,
  losses: Loose,
  {
    weights,
    reduction = 'mean',
  }: { readonly weights?: Tensor | undefined; readonly reduction?: Reduction | undefined },
): Loose {
  const weighted: Loose = weights ? multiply(losses, weights as Loose) : losses
  switch (reduction) {
    case 'none':
      return weighted
    case 'sum':
      return sum(weighted)
    case 'mean':
      return divide(
        sum(weighted) as Loose,
        weights ? maximum(sum(weights as Loose) as Loose, SMALLEST) : maximum(size(losses), 1),
      )
    default:
      return refuseArgument(op, 'reduction', "'mean', 'sum' or 'none'", reduction)
  }
}
