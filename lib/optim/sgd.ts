/** Plain stochastic gradient descent. */
import { scalarInput } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import type { Optimizer } from '../graph/update.js'
import { multiply, subtract } from '../ops/index.js'

/** w <- w - lr * g. `lr` is fed by `rateName` in each step; the option is the default of a step without it. */
export function sgd({ lr, rateName = 'lr' }: { readonly lr?: number; readonly rateName?: string } = {}): Optimizer {
  return {
    name: 'sgd',
    slots: () => ({}),
    shared: () => ({}),
    advance: () => ({ next: {}, scalars: { rate: scalarInput(rateName, lr) } }),
    update: (parameter, gradient, _, { rate }: { readonly rate: Tensor<readonly [], 'float32'> }) => ({
      parameter: subtract(parameter, multiply(gradient, rate)),
      slots: {},
    }),
  }
}
