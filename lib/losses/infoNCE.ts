/** The contrastive loss of pairs: each query should find its own key among those of the batch. */
import { type Dim, formatShape } from '../core/dim.js'
import { refuse } from '../graph/defineOp.js'
import type { Tensor } from '../graph/node.js'
import { softplus } from '../ops/activation.js'
import { add, divide, multiply, subtract } from '../ops/arithmetic.js'
import { cast, equal, logicalNot, select } from '../ops/comparison.js'
import { logSumExp } from '../ops/crossEntropy.js'
import { batchMatmul, linear } from '../ops/matmul.js'
import { broadcast, reshape, transpose, unsqueeze } from '../ops/movement.js'
import { sum } from '../ops/reduction.js'
import { at, type Loose, refuseArgument, requireShape } from '../ops/support.js'
import { type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/** What a key that is no negative scores: its exponential is 0, and nothing becomes infinite. */
const MASKED = -1e30

export interface InfoNCEOptions<B extends Dim, D extends Dim, R extends Reduction> {
  /** Scores are divided by it: a number, or a tensor of rank 0 that may be learned. Default 1. */
  readonly temperature?: number | Tensor<readonly [], 'float32'>
  /** Adds the loss of keys finding their queries and halves the sum, as CLIP does. */
  readonly symmetric?: boolean
  /** More negatives: [M, D] for all queries, or hard ones of each query's own, [B, M, D]. */
  readonly negatives?: Tensor<readonly [Dim, D], 'float32'> | Tensor<readonly [B, Dim, D], 'float32'>
  /** What each key stands for: keys that share the query's own id are no negatives. */
  readonly ids?: Tensor<readonly [B], 'int32'>
  /** Pairs that take part: the others are neither asked nor negatives, and the mean is over those that are. */
  readonly present?: Tensor<readonly [B], 'bool'>
  readonly reduction?: R
}

/**
 * -log softmax(queries keys^T / temperature) of each query's own key, in row and column i: the other keys of the batch
 * are its negatives. Give rows of length one (`normalize`) for cosine similarity. Its mean, 0 for an empty batch.
 *
 * Throws KAIROS_SHAPE when the operands do not fit, KAIROS_DTYPE for other types, KAIROS_ARGUMENT for a temperature that
 * is a number and not above 0.
 * Sources: van den Oord et al., "Representation learning with contrastive predictive coding", 2018, equation 4; Radford
 * et al., "Learning transferable visual models from natural language supervision", 2021, figure 3.
 */
export function infoNCE<B extends Dim, D extends Dim, R extends Reduction = 'mean'>(
  queries: Tensor<readonly [B, D], 'float32'>,
  keys: Tensor<readonly [NoInfer<B>, NoInfer<D>], 'float32'>,
  {
    temperature = 1,
    symmetric = false,
    negatives,
    ids,
    present,
    reduction,
  }: InfoNCEOptions<NoInfer<B>, NoInfer<D>, R> = {},
): ReducedLoss<readonly [B], R> {
  requireShape('infoNCE', 'keys', keys, queries.shape)
  if (typeof temperature === 'number' && !(temperature > 0)) {
    refuseArgument('infoNCE', 'temperature', 'above 0', temperature)
  }
  const [batch] = queries.shape
  const scaled: Loose =
    typeof temperature === 'number'
      ? multiply(queries as Loose, 1 / temperature)
      : divide(queries as Loose, temperature as Loose)
  const scores: Loose = linear(scaled, keys as Loose)
  const positive: Loose = sum(multiply(scaled, keys as Loose) as Loose, -1)

  // Keys with the query's id, its own among them, and absent ones are masked; its own then comes back alone.
  const same: Loose | null = ids
    ? equal(broadcast(ids as Loose, 1, [batch]) as Loose, broadcast(ids as Loose, 0, [batch]) as Loose)
    : null
  const absent: Loose | null = present
    ? broadcast(multiply(cast(logicalNot(present as Loose) as Loose, 'float32') as Loose, MASKED) as Loose, 0, [batch])
    : null
  const among = (rows: Loose): Loose => {
    if (!same && !absent) return logSumExp(rows) as Loose
    const negative = absent ? add(rows, absent) : rows
    const others: Loose = logSumExp(same ? select(same, MASKED, negative as Loose) : (negative as Loose))
    return same ? logAddExp(others, positive) : others
  }
  const extra = negatives ? (logSumExp(extraScores(scaled, negatives as Loose) as Loose) as Loose) : null
  const all = among(scores)
  const forward: Loose = subtract(extra ? logAddExp(all, extra) : all, positive)
  const losses: Loose = !symmetric
    ? forward
    : multiply(add(forward, subtract(among(transpose(scores, [1, 0]) as Loose), positive) as Loose) as Loose, 0.5)
  const weights = present ? { weights: cast(present, 'float32') as Tensor } : {}
  return reduceLosses('infoNCE', losses, { reduction, ...weights }) as Loose
}

/** Scores of each query with more keys, [B, M]. */
function extraScores(queries: Loose, negatives: Loose): Loose {
  const [batch, channels] = queries.shape
  const isShared = negatives.shape.length === 2
  if (
    at(negatives.shape, -1) !== channels ||
    !(isShared || (negatives.shape.length === 3 && negatives.shape[0] === batch))
  ) {
    const expected = `of shape [M, ${channels}] or [${batch}, M, ${channels}]`
    refuse('infoNCE', 'negatives', expected, formatShape(negatives.shape))
  }
  if (isShared) return linear(queries, negatives) as Loose
  const products: Loose = batchMatmul(unsqueeze(queries, 1) as Loose, negatives, { transposeB: true })
  return reshape(products, [batch, at(negatives.shape, 1)]) as Loose
}

/** log(exp(a) + exp(b)), also where one of them is masked. */
const logAddExp = (a: Loose, b: Loose): Loose => add(b, softplus(subtract(a, b) as Loose) as Loose)
