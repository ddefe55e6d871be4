/** One score for several objectives. */
import { KairosError } from '../core/errors.js'
import type { Tensor } from '../graph/node.js'
import { softplus } from '../ops/activation.js'
import { add, multiply, negate, oneMinus } from '../ops/arithmetic.js'
import { broadcast } from '../ops/movement.js'
import { mean, sum } from '../ops/reduction.js'
import type { Loose } from '../ops/support.js'

type Rows = Tensor<readonly ['batch'], 'float32'>
type Table = Tensor<readonly ['batch', number], 'float32'>

/**
 * The sum over objectives of w_i BCE(sigmoid(logit), y_i) as one cross entropy with the soft label
 * ybar = sum_i w_i y_i / W, W = sum_i w_i: its mean over rows of W BCE(sigmoid(logit), ybar), and gradient
 * (W sigmoid(logit) - sum_i w_i y_i) / rows by the logit. labels[batch, K] in [0, 1], weights[K] above 0; an objective
 * whose `mask` is 0 is left out of a row's ybar and W.
 *
 * Throws KAIROS_SHAPE when labels and weights do not fit. Source: Pantheon, arXiv 2505.13894, section 3.3.
 */
export function softLabelCrossEntropy(
  logits: Rows,
  labels: Table,
  weights: Tensor<readonly [number], 'float32'>,
  { mask }: { readonly mask?: Table } = {},
): Tensor<readonly [], 'float32'> {
  const [batch, count] = labels.shape
  if (weights.shape[0] !== count) {
    throw new KairosError('KAIROS_SHAPE', {
      op: 'softLabelCrossEntropy',
      argument: 'weights',
      expected: `of shape [${count}], one for each objective,`,
      got: `[${weights.shape.join(', ')}]`,
    })
  }
  const each = broadcast(weights as Loose, 0, [batch]) as Loose
  const weighed: Loose = mask ? multiply(each, mask as Loose) : each
  const forIt = sum(multiply(weighed, labels as Loose) as Loose, 1) as Loose
  const against = sum(multiply(weighed, oneMinus(labels as Loose) as Loose) as Loose, 1) as Loose
  // In two terms, each of one sign: large logits lose nothing.
  const losses = add(
    multiply(forIt, softplus(negate(logits as Loose) as Loose) as Loose) as Loose,
    multiply(against, softplus(logits as Loose) as Loose) as Loose,
  )
  return mean(losses as Loose) as Loose
}
