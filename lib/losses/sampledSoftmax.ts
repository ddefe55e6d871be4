/** Softmax over a label and a sample of the classes, where all of them are too many. */
import { type Dim, formatShape, multiplyDims, type Shape } from '../core/dim.js'
import { refuse } from '../graph/defineOp.js'
import type { Tensor } from '../graph/node.js'
import { softplus } from '../ops/activation.js'
import { add, multiply, subtract } from '../ops/arithmetic.js'
import { equal, select } from '../ops/comparison.js'
import { logSumExp } from '../ops/crossEntropy.js'
import { embedding } from '../ops/embedding.js'
import { batchMatmul, linear } from '../ops/matmul.js'
import { broadcast, reshape, unsqueeze } from '../ops/movement.js'
import { sum } from '../ops/reduction.js'
import { at, type Loose } from '../ops/support.js'
import { reduceRows } from './crossEntropy.js'
import type { ReducedLoss, Reduction } from './reduction.js'

const IGNORED = -100

/** What a negative that is the row's own label scores: its exponential is 0, and nothing becomes infinite. */
const MASKED = -1e30

export interface SampledSoftmaxOptions<C extends Dim, R extends Reduction> {
  /** One per class, added to its score. */
  readonly bias?: Tensor<readonly [C], 'float32'>
  /**
   * The logarithm of how often the sampler is expected to draw an id, or of its probability: a table of all classes, or
   * a function of ids such as `(ids) => logUniformLogProbability(ids, classes)`. Needless for a uniform sampler, since a
   * constant changes nothing.
   */
  readonly logQ?: Tensor<readonly [C], 'float32'> | ((ids: Tensor<Shape, 'int32'>) => Tensor<Shape, 'float32'>)
  /** Rows with this label do not count; default -100. */
  readonly ignoreIndex?: number
  readonly reduction?: R
}

/**
 * Cross entropy of each label against `negatives`, ids that were sampled: [M] for all rows, or [..., M] with some of
 * each row's own. Scores are x weight^T + bias - logQ, the correction that makes the sample's gradient approach that of
 * the full softmax; negatives that hit the row's own label are masked. Its mean over the rows that count, 0 when there
 * is none.
 *
 * Throws KAIROS_SHAPE when the operands do not fit, KAIROS_DTYPE unless ids are int32. A run fails with KAIROS_ID_RANGE
 * when a label or a negative lies outside [0, C).
 * Source: Jean et al., "On using very large target vocabulary for neural machine translation", 2015, section 3, and
 * TensorFlow's sampled_softmax_loss.
 */
export function sampledSoftmax<Lead extends Shape, D extends Dim, C extends Dim, R extends Reduction = 'mean'>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  weight: Tensor<readonly [C, NoInfer<D>], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  negatives: Tensor<readonly [Dim], 'int32'> | Tensor<readonly [...Lead, Dim], 'int32'>,
  { bias, logQ, ignoreIndex = IGNORED, reduction }: SampledSoftmaxOptions<NoInfer<C>, R> = {},
): ReducedLoss<readonly [...Lead], R> {
  const [queries, targets, sampled] = flatten(x as Loose, labels as Loose, negatives as Loose)
  const rows = at(targets.shape, 0)
  const count = at(sampled.shape, -1)
  const correction = (ids: Loose): Loose | null =>
    (!logQ ? null : typeof logQ === 'function' ? logQ(ids) : embedding(logQ as Loose, ids)) as Loose
  /** Scores so far, of these ids, as they should be. */
  const corrected = (scores: Loose, ids: Loose): Loose => {
    const alike = (perId: Loose): Loose =>
      perId.shape.length < scores.shape.length ? broadcast(perId, 0, [rows]) : perId
    const q = correction(ids)
    const biased: Loose = bias ? add(scores, alike(embedding(bias as Loose, ids) as Loose) as Loose) : scores
    return q ? subtract(biased, alike(q) as Loose) : biased
  }

  // A row that does not count asks for class 0, and its loss is taken away below.
  const ignored: Loose = equal(targets, ignoreIndex)
  const asked: Loose = select(ignored, 0, targets)
  const positive = corrected(
    sum(multiply(queries, embedding(weight as Loose, asked) as Loose) as Loose, -1) as Loose,
    asked,
  )

  const table: Loose = embedding(weight as Loose, sampled)
  const products: Loose =
    sampled.shape.length === 1
      ? linear(queries, table)
      : reshape(batchMatmul(unsqueeze(queries, 1) as Loose, table, { transposeB: true }), [rows, count])
  const ids: Loose = sampled.shape.length === 1 ? broadcast(sampled, 0, [rows]) : sampled
  const hits: Loose = equal(ids, broadcast(asked, 1, [count]) as Loose)
  const others: Loose = select(hits, MASKED, corrected(products, sampled))

  // -log softmax of the label, first among them all: log(1 + sum(exp(others)) / exp(positive)).
  const losses: Loose = softplus(subtract(logSumExp(others) as Loose, positive) as Loose)
  const counted: Loose = select(ignored, 0, losses)
  return reduceRows('sampledSoftmax', reshape(counted, labels.shape) as Loose, labels as Loose, {
    ignoreIndex,
    reduction,
  }) as Loose
}

/** One row per query: x[rows, D], labels[rows], negatives[M] or [rows, M]. */
function flatten(x: Loose, labels: Loose, negatives: Loose): readonly [Loose, Loose, Loose] {
  const lead = (x.shape as Shape).slice(0, -1)
  const rows = multiplyDims(...lead)
  const shared = negatives.shape.length === 1
  const fits = shared || formatShape(negatives.shape.slice(0, -1)) === formatShape(lead)
  if (!fits) {
    refuse(
      'sampledSoftmax',
      'negatives',
      `of rank 1 or with the leading axes ${formatShape(lead)}`,
      formatShape(negatives.shape),
    )
  }
  if (formatShape(labels.shape) !== formatShape(lead)) {
    refuse('sampledSoftmax', 'labels', `of shape ${formatShape(lead)}`, formatShape(labels.shape))
  }
  return [
    reshape(x, [rows, at(x.shape, -1)]),
    reshape(labels, [rows]),
    shared ? negatives : reshape(negatives, [rows, at(negatives.shape, -1)]),
  ]
}
