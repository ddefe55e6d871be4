import { KairosError } from '../core/errors.js'
import { reshape, transpose } from '../ops/index.js'
import type { Loose } from '../ops/support.js'

/** [tasks, batch, 1] -> [batch, tasks]. */
export function taskLogits(op: string, outputs: Loose): Loose {
  const [tasks, batch, width] = outputs.shape
  if (width !== 1) {
    throw new KairosError('KAIROS_SHAPE', {
      op,
      argument: 'towers',
      expected: 'ending in width 1, for logits',
      got: `${width}`,
    })
  }
  return transpose(reshape(outputs, [tasks, batch]) as Loose, [1, 0]) as Loose
}
