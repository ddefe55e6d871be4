import { type Dim, subtractDims } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Tensor } from '../graph/node.js'
import {
  add,
  attention,
  batchMatmul,
  broadcast,
  concat,
  full,
  maximum,
  multiply,
  reshape,
  sigmoid,
  softplus,
  split,
  subtract,
  targetAttentionSums,
  transpose,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Projection } from './projection.js'
import { requireHeads } from './selfAttention.js'

export interface TargetAttentionOptions<Target extends number, History extends number, Out extends number> {
  /** Channels of the target. */
  readonly target: Target
  /** Channels of the history's items; by default those of the target. */
  readonly history?: History
  /** Channels of the result, all heads together; by default those of the target. */
  readonly channels?: Out
  readonly heads?: number
}

/**
 * What a user's history says about one target: attention of the target over the items of the history, with projections
 * that have no bias. An empty history gives 0.
 *
 * With one target per user no item is projected: for a head with weights W_q, W_k, W_v and items s_i
 *
 *     (W_q t) . (W_k s_i) = (W_k^T W_q t) . s_i        sum_i a_i (W_v s_i) = W_v (sum_i a_i s_i)
 *
 * Throws KAIROS_ARGUMENT when `heads` does not divide `channels`.
 * Source: Zhou et al., "Deep interest network for click-through rate prediction", 2018, equation 3, with the scaled dot
 * product of Vaswani et al., 2017, as its activation unit.
 */
export class TargetAttention<Target extends number, History extends number = Target, Out extends number = Target> {
  readonly query: Projection<Target, Out>
  readonly key: Projection<History, Out>
  readonly value: Projection<History, Out>
  private readonly heads: number
  private readonly width: number
  private readonly scale: number

  constructor({ target, history, channels, heads = 1 }: TargetAttentionOptions<Target, History, Out>) {
    const [items, out] = [(history ?? target) as History, (channels ?? target) as Out]
    requireHeads('TargetAttention', out, heads)
    this.query = new Projection(target, out)
    this.key = new Projection(items, out)
    this.value = new Projection(items, out)
    this.heads = heads
    this.width = out / heads
    this.scale = 1 / Math.sqrt(this.width)
  }

  /**
   * Over a padded history: target[batch, target], history[batch, time, history], of which the first `lengths[batch]`
   * items count -> [batch, channels].
   *
   * Throws KAIROS_SHAPE when shapes do not fit. A run fails with KAIROS_ID_RANGE on a length outside [0, time].
   */
  padded<B extends Dim>(
    target: Tensor<readonly [B, Target], 'float32'>,
    history: Tensor<readonly [NoInfer<B>, Dim, History], 'float32'>,
    lengths: Tensor<readonly [NoInfer<B>], 'int32'>,
  ): Tensor<readonly [B, Out], 'float32'> {
    const [batch] = target.shape
    const end = reshape(lengths as Loose, [batch, 1]) as Loose
    const range = concat([full([batch, 1], 0, 'int32') as Loose, end], 1 as never) as Loose
    const rows = split(history as Loose, -1, [1, history.shape[2]]) as Loose
    return this.said(attention(this.asked(target as Loose), rows, rows, { scale: this.scale, range }) as Loose)
  }

  /**
   * Over a ragged history: user b has items [offsets[b], offsets[b + 1]) of items[count, history] -> [batch, channels].
   * With `perUser` each user has so many targets, one after another.
   *
   * Throws KAIROS_SHAPE when shapes do not fit. A run fails with KAIROS_ID_RANGE unless offsets rise from at least 0 to
   * at most `count`.
   */
  ragged<B extends Dim>(
    target: Tensor<readonly [B, Target], 'float32'>,
    items: Tensor<readonly [Dim, History], 'float32'>,
    offsets: Tensor<readonly [Dim], 'int32'>,
    options: { readonly perUser?: number } = {},
  ): Tensor<readonly [B, Out], 'float32'> {
    return this.joined(target, [{ items, offsets }], options)
  }

  /**
   * Over several ragged histories of each user as if they stood in one: [batch, channels]. Each is attended to where it
   * lies, and weighs as much as its share of the softmax's sum.
   */
  joined<B extends Dim>(
    target: Tensor<readonly [B, Target], 'float32'>,
    histories: readonly RaggedHistory<History>[],
    { perUser = 1 }: { readonly perUser?: number } = {},
  ): Tensor<readonly [B, Out], 'float32'> {
    const asked = this.asked(target as Loose)
    const [batch, heads, , width] = asked.shape
    const [first, ...others] = histories.map(({ items, offsets }) => {
      const rows = split(items as Loose, -1, [1, items.shape[1]]) as Loose
      // What one user's heads and targets look for are queries side by side.
      const queries = reshape(asked, [subtractDims(offsets.shape[0], 1), perUser * heads, 1, width]) as Loose
      const { y, logSumExp } = targetAttentionSums(queries, rows, rows, offsets, { scale: this.scale })
      // Where a history is empty, the difference of two sums must not be one of infinities.
      const sum = maximum(reshape(logSumExp, [batch, heads]) as Loose, LEAST) as Loose
      return { y: reshape(y, asked.shape) as Loose, sum }
    })
    if (!first) refuseNothing()
    return this.said(others.reduce(join, first).y)
  }

  /** What each head looks for, in the channels of the history: [batch, heads, 1, history]. */
  private asked(target: Loose): Loose {
    const { heads, width } = this
    const [batch] = target.shape
    const query = split(this.query.forward(target), -1, [heads, width]) as Loose
    const asked = eachHead(query, (one) => batchMatmul(one, this.key.perHead(heads)) as Loose)
    return reshape(asked, [batch, heads, 1, asked.shape[2]]) as Loose
  }

  /** mixed[batch, heads, 1, history] -> [batch, channels]. */
  private said(mixed: Loose): Loose {
    const [batch, heads, , items] = mixed.shape
    const rows = reshape(mixed, [batch, heads, items]) as Loose
    const weight = this.value.perHead(this.heads)
    const values = eachHead(rows, (one) => batchMatmul(one, weight, { transposeB: true }) as Loose)
    return reshape(values, [batch, this.heads * this.width]) as Loose
  }
}

/** Items of users one after another: user b has [offsets[b], offsets[b + 1]). */
export interface RaggedHistory<History extends number> {
  readonly items: Tensor<readonly [Dim, History], 'float32'>
  readonly offsets: Tensor<readonly [Dim], 'int32'>
}

/** Logarithm of the sum of no scores: its exponential is 0, and differences stay finite. */
const LEAST = -1e30

/** An answer y[batch, heads, 1, width], and the logarithm of its softmax's sum, [batch, heads]. */
interface Answer {
  readonly y: Loose
  readonly sum: Loose
}

function join(a: Answer, b: Answer): Answer {
  const more = subtract(a.sum, b.sum) as Loose
  const ofA = sigmoid(more) as Loose
  const spread = (share: Loose) => broadcast(share, 2, a.y.shape.slice(2)) as Loose
  const y = add(b.y, multiply(spread(ofA), subtract(a.y, b.y) as Loose) as Loose) as Loose
  return { y, sum: add(b.sum, softplus(more) as Loose) as Loose }
}

function refuseNothing(): never {
  const details = { op: 'TargetAttention', argument: 'histories', expected: 'one or more', got: 'none' }
  throw new KairosError('KAIROS_ARGUMENT', details)
}

/** x[batch, heads, ...] through a function of [heads, batch, ...]. */
function eachHead(x: Loose, apply: (x: Loose) => Loose): Loose {
  const [batch, heads, width] = x.shape
  if (heads !== 1) return transpose(apply(transpose(x, [1, 0, 2]) as Loose), [1, 0, 2]) as Loose
  const y = apply(reshape(x, [1, batch, width]) as Loose)
  return reshape(y, [batch, 1, y.shape[2]]) as Loose
}
