/** Stochastic gradient descent. */
import { scalarInput } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import type { Optimizer } from '../graph/update.js'
import { add, multiply, subtract } from '../ops/index.js'
import { requireSetting, slotOf, withDecay } from './slots.js'

export interface SgdOptions {
  /** Fed by `rateName` in each step; this is what a step without it uses. */
  readonly lr?: number
  readonly momentum?: number
  /** Looks ahead along the momentum (Nesterov 1983, in the form of Sutskever et al. 2013). */
  readonly nesterov?: boolean
  /** L2 penalty, added to the gradient. */
  readonly weightDecay?: number
  readonly rateName?: string
}

/**
 * w <- w - lr g, in the form of PyTorch's `torch.optim.SGD`: with momentum m, b <- m b + g takes the place of g, with
 * `nesterov` g + m b.
 *
 * State per parameter, with momentum only: `momentum_buffer`.
 */
export function sgd({
  lr,
  momentum = 0,
  nesterov = false,
  weightDecay = 0,
  rateName = 'lr',
}: SgdOptions = {}): Optimizer {
  requireSetting('sgd', 'momentum', momentum >= 0 && momentum < 1, 'in [0, 1)', momentum)
  requireSetting('sgd', 'weightDecay', weightDecay >= 0, 'at least 0', weightDecay)
  if (nesterov) requireSetting('sgd', 'momentum', momentum > 0, 'above 0 with nesterov', momentum)
  return {
    name: 'sgd',
    slots: ({ shape }): Record<string, ReturnType<typeof slotOf>> =>
      momentum === 0 ? {} : { momentum_buffer: slotOf(shape) },
    shared: () => ({}),
    advance: () => ({ next: {}, scalars: { rate: scalarInput(rateName, lr) } }),
    update: (parameter, gradient, { momentum_buffer }, { rate }: { readonly rate: Tensor<readonly [], 'float32'> }) => {
      const decayed = withDecay(gradient, parameter, weightDecay)
      const buffer = momentum_buffer && add(multiply(momentum_buffer, momentum), decayed)
      const direction = !buffer ? decayed : nesterov ? add(decayed, multiply(buffer, momentum)) : buffer
      return {
        parameter: subtract(parameter, multiply(direction, rate)),
        slots: buffer ? { momentum_buffer: buffer } : {},
      }
    },
  }
}
