/** What optimisers share. */
import { KairosError } from '../core/errors.js'
import type { Variable } from '../graph/node.js'
import type { FloatTensor } from '../graph/update.js'
import { add, multiply } from '../ops/index.js'

/** State that starts from one value throughout. */
export const slotOf = (shape: readonly number[], value = 0): Variable => ({
  dtype: 'float32',
  shape,
  trainable: false,
  initialize: () => new Float32Array(shape.reduce((product, dim) => product * dim, 1)).fill(value),
})

/** A count of updates. */
export const counter = (): Variable => ({
  dtype: 'int32',
  shape: [],
  trainable: false,
  initialize: () => new Int32Array(1),
})

/** The gradient of the loss plus weightDecay / 2 |w|^2: decay as the L2 penalty of the first optimisers. */
export const withDecay = (gradient: FloatTensor, parameter: FloatTensor, weightDecay: number): FloatTensor =>
  weightDecay === 0 ? gradient : add(gradient, multiply(parameter, weightDecay))

export function requireSetting(op: string, argument: string, holds: boolean, expected: string, got: number): void {
  if (!holds) throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got: `${got}` })
}
