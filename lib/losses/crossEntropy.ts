/** The loss of choosing one among many: the next item, a class. */
import type { Dim, Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { divide, maximum } from '../ops/arithmetic.js'
import { cast, notEqual } from '../ops/comparison.js'
import { softmaxCrossEntropy } from '../ops/crossEntropy.js'
import { type LinearCrossEntropyOptions, linearCrossEntropy } from '../ops/linearCrossEntropy.js'
import { sum } from '../ops/reduction.js'
import type { Loose } from '../ops/support.js'
import { type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/** No vocabulary has it. */
const IGNORED = -100

/** The mean over the rows that count, or what else was asked for. */
export function reduceRows(
  op: string,
  losses: Loose,
  labels: Loose,
  { ignoreIndex, reduction = 'mean' }: { readonly ignoreIndex: number; readonly reduction?: Reduction | undefined },
): Loose {
  if (reduction !== 'mean') return reduceLosses(op, losses, { reduction })
  // The others' losses are 0 already.
  const counted: Loose = sum(cast(notEqual(labels, ignoreIndex), 'float32') as Loose)
  return divide(sum(losses) as Loose, maximum(counted, 1)) as Loose
}

/**
 * -log softmax(logits)[label] over the rows whose label is not `ignoreIndex`: its mean, 0 when there is none.
 *
 * Throws KAIROS_SHAPE when labels do not match the rows of logits, KAIROS_DTYPE unless labels are int32. A run fails
 * with KAIROS_ID_RANGE when a label is neither a class nor `ignoreIndex`.
 */
export function crossEntropy<Lead extends Shape, R extends Reduction = 'mean'>(
  logits: Tensor<readonly [...Lead, Dim], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  { ignoreIndex = IGNORED, reduction }: { readonly ignoreIndex?: number; readonly reduction?: R } = {},
): ReducedLoss<readonly [...Lead], R> {
  const losses: Loose = softmaxCrossEntropy(logits as Loose, labels as Loose, { ignoreIndex })
  return reduceRows('crossEntropy', losses, labels as Loose, { ignoreIndex, reduction }) as Loose
}

/**
 * `crossEntropy` of the logits x weight^T + bias, which are never kept: the loss of a large vocabulary in memory that
 * does not grow with it.
 *
 * Throws as `linearCrossEntropy` does.
 */
export function linearCrossEntropyLoss<Lead extends Shape, D extends Dim, C extends Dim, R extends Reduction = 'mean'>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  weight: Tensor<readonly [C, NoInfer<D>], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  { reduction, ...options }: LinearCrossEntropyOptions<NoInfer<C>> & { readonly reduction?: R } = {},
): ReducedLoss<readonly [...Lead], R> {
  const { loss } = linearCrossEntropy(x as Loose, weight as Loose, labels as Loose, options as object)
  const ignoreIndex = options.ignoreIndex ?? IGNORED
  return reduceRows('linearCrossEntropyLoss', loss, labels as Loose, { ignoreIndex, reduction }) as Loose
}
