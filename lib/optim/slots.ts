/** What optimisers share. */
import { KairosError } from '../core/errors.js'
import { zeroVariable } from '../graph/module.js'
import type { Variable } from '../graph/node.js'
import type { FloatTensor } from '../graph/update.js'
import { add, multiply } from '../ops/index.js'

/** State that starts from one value throughout. */
export const slotOf = (shape: readonly number[], value = 0): Variable => {
  const zeros = zeroVariable(shape)
  if (value === 0) return zeros
  return { ...zeros, zeros: false, initialize: (...seed) => zeros.initialize(...seed).fill(value) }
}

/** The gradient of the loss plus weightDecay / 2 |w|^2: decay as the L2 penalty of the first optimisers. */
export const withDecay = (gradient: FloatTensor, parameter: FloatTensor, weightDecay: number): FloatTensor =>
  weightDecay === 0 ? gradient : add(gradient, multiply(parameter, weightDecay))

export function requireSetting(op: string, argument: string, holds: boolean, expected: string, got: number): void {
  if (!holds) throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got: `${got}` })
}
