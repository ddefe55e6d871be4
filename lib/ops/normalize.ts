/** Rows of length one. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { maximum, multiply, rsqrt, square } from './arithmetic.js'
import { broadcast } from './movement.js'
import { sum } from './reduction.js'
import { at, type Loose, refuseArgument } from './support.js'

/**
 * x over max(|x|, epsilon), with the Euclidean length of each row along the last axis: PyTorch's
 * `functional.normalize`. A row of zeros stays so, and its gradient is finite.
 *
 * Throws KAIROS_SHAPE for rank 0, KAIROS_DTYPE unless float32, KAIROS_ARGUMENT unless epsilon is above 1e-18.
 */
export function normalize<S extends Shape>(
  x: Tensor<S, 'float32'>,
  { epsilon = 1e-12 }: { readonly epsilon?: number } = {},
): Tensor<S, 'float32'> {
  // Its square must be a float32.
  if (!(epsilon > 1e-18)) refuseArgument('normalize', 'epsilon', 'above 1e-18', epsilon)
  const squares: Loose = sum(square(x as Loose) as Loose, -1)
  const scale: Loose = rsqrt(maximum(squares, epsilon * epsilon) as Loose)
  return multiply(x as Loose, broadcast(scale, scale.shape.length, [at(x.shape, -1)]) as Loose) as Loose
}
