/** Probabilities kept as their logarithms, which neither underflow nor round to 1. */
import type { Shape } from '../core/dim.js'
import { defineOp, type ReferenceArray, requireDtype } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { softplus } from './activation.js'
import { add, minimum, multiply, negate, subtract } from './arithmetic.js'
import { less, select } from './comparison.js'
import type { Unary } from './elementwise.js'
import { full } from './movement.js'
import { array, float32, floats, gradient, LIVE, type Loose, read } from './support.js'
import { exp, log, log1p } from './transcendental.js'

/** log(sigmoid(x)), without overflow: `torch.nn.functional.logsigmoid`. */
export const logSigmoid: Unary = (x) => negate(softplus(negate(x)))

/** ((1 - e^-t) / t - 1) / t: its series, which at t <= log 2 has an error of 1e-8. */
const SERIES = [-1 / 2, 1 / 6, -1 / 24, 1 / 120, -1 / 720, 1 / 5040, -1 / 40320, 1 / 362880]

const log1mExpOp = defineOp<Record<never, never>>({
  name: 'log1mExp',
  infer([x]: readonly [TensorSpec]) {
    requireDtype('log1mExp', 'x', x, 'float32')
    return [float32(x.shape)]
  },
  // -e^x / (1 - e^x), from the result: 1 - e^x itself would round.
  vjp: gradient(({ inputs: [x], outputs: [y], cotangents: [dy] }) => [
    multiply(dy, negate(exp(subtract(x, y) as Loose) as Loose)),
  ]),
  reference: ([x]: readonly [ReferenceArray]) => [
    array(x.shape, (i) =>
      read(x.data, i) > -Math.LN2 ? Math.log(-Math.expm1(read(x.data, i))) : Math.log1p(-Math.exp(read(x.data, i))),
    ),
  ],
  cases: (random) => ({
    valid: [
      ...[
        [-3, -0.01],
        [-30, -0.8],
        // Finite differences need steps far below x itself.
        [-0.6, -0.02],
      ].map(([low, high]) => ({ inputs: [floats(random, [LIVE, 7], low, high)], attributes: {}, live: LIVE })),
      { inputs: [floats(random, [64], -1e-6, -1e-12)], attributes: {}, differentiable: [] },
      { inputs: [floats(random, [], -2, -1)], attributes: {} },
    ],
    invalid: [
      {
        inputs: [{ dtype: 'int32', shape: [2] }],
        attributes: {},
        message: /^log1mExp: x should be dtype .* but got int32/,
      },
    ],
  }),
  // Near 0, log(1 - e^-t) = log t + log(1 + t (-1/2 + t/6 - ...)); what is not chosen stays finite.
  expand: ([x]) => {
    const t: Loose = negate(x as Loose)
    const near: Loose = minimum(t, Math.LN2)
    const [last, ...before] = SERIES.toReversed() as [number, ...number[]]
    const inside = before.reduce<Loose>(
      (sum, coefficient) => add(multiply(sum, near) as Loose, coefficient),
      full(near.shape, last),
    )
    const small = add(log(near) as Loose, log1p(multiply(near, inside) as Loose) as Loose)
    return [select(less(t, Math.LN2) as Loose, small as Loose, log1p(negate(exp(x as Loose)) as Loose) as Loose)]
  },
})

/**
 * log(1 - e^x) of x < 0: the logarithm of what is left of a probability whose logarithm is x. Precise at both ends: a
 * series near 0, log1p elsewhere; -infinity at 0, NaN above.
 *
 * Throws KAIROS_DTYPE unless float32. Source: Maechler, "Accurately computing log(1 - exp(-|a|))", 2012, equation 7.
 */
export function log1mExp<S extends Shape>(x: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
  return log1mExpOp([x], {})[0] as Loose
}
