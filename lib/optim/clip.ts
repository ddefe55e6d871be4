import type { Optimizer } from '../graph/update.js'
import { maximum, minimum } from '../ops/index.js'
import { requireSetting } from './slots.js'

/**
 * The same optimiser with every element of the gradient cut to [-limit, limit] first: PyTorch's `clip_grad_value_`. It
 * turns the gradient; clipping by the norm does not.
 */
export function clipByValue(optimizer: Optimizer, limit: number): Optimizer {
  requireSetting('clipByValue', 'limit', limit > 0, 'above 0', limit)
  return {
    ...optimizer,
    update: (parameter, gradient, slots, scalars) =>
      optimizer.update(parameter, minimum(maximum(gradient, -limit), limit), slots, scalars),
  }
}
