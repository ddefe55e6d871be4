/** The loss of choosing one among many: the next item, a class. */
import type { Dim, Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { divide, maximum } from '../ops/arithmetic.js'
import { cast, notEqual } from '../ops/comparison.js'
import { softmaxCrossEntropy } from '../ops/crossEntropy.js'
import { sum } from '../ops/reduction.js'
import type { Loose } from '../ops/support.js'

/**
 * Mean of -log softmax(logits)[label] over the rows whose label is not `ignoreIndex`; 0 when there is none.
 *
 * Throws KAIROS_SHAPE when labels do not match the rows of logits, KAIROS_DTYPE unless labels are int32. A run fails
 * with KAIROS_ID_RANGE when a label is neither a class nor `ignoreIndex`.
 */
export function crossEntropy<Lead extends Shape>(
  logits: Tensor<readonly [...Lead, Dim], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  { ignoreIndex = -100 }: { readonly ignoreIndex?: number } = {},
): Tensor<readonly [], 'float32'> {
  const losses: Loose = softmaxCrossEntropy(logits as Loose, labels as Loose, { ignoreIndex })
  const counted: Loose = sum(cast(notEqual(labels as Loose, ignoreIndex), 'float32') as Loose)
  return divide(sum(losses), maximum(counted, 1)) as Loose
}
