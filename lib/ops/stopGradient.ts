/** Where backpropagation ends. */
import type { Shape } from '../core/dim.js'
import { defineOp, requireDtype } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { floats, LIVE, type Loose, noGradient } from './support.js'

const stopGradientOp = defineOp<Record<never, never>>({
  name: 'stopGradient',
  infer([x]: readonly [TensorSpec]) {
    requireDtype('stopGradient', 'x', x, 'float32')
    return [x]
  },
  vjp: noGradient,
  reference: (inputs) => inputs,
  cases: (random) => ({
    valid: [
      // Nothing to compare with finite differences: the gradient is 0 by decree.
      { inputs: [floats(random, [LIVE, 3])], attributes: {}, live: LIVE, differentiable: [] },
      { inputs: [floats(random, [])], attributes: {}, differentiable: [] },
    ],
    invalid: [
      {
        inputs: [{ dtype: 'int32', shape: [2] }],
        attributes: {},
        message: /^stopGradient: x should be dtype .* but got int32/,
      },
    ],
  }),
  expand: ([x]) => [x as Tensor],
})

/**
 * `x`, taken as a constant by gradients (`detach` of PyTorch): targets that a model makes for itself.
 *
 * Throws KAIROS_DTYPE unless float32: nothing else has gradients.
 */
export function stopGradient<S extends Shape>(x: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
  return stopGradientOp([x], {})[0] as Loose
}
