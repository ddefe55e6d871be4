import type { Dim } from '../core/dim.js'
import { type Initializer, parameter, uniform } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import {
  attention,
  batchMatmul,
  concat,
  full,
  linear,
  reshape,
  split,
  targetAttention,
  transpose,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
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

/** `y = x W^T`: weights [out, in] uniform within 1 / sqrt(in), as `torch.nn.Linear` starts. */
class Projection<In extends number, Out extends number> {
  readonly weight: Tensor<readonly [Out, In], 'float32'>

  constructor(inputs: In, outputs: Out, bound = 1 / Math.sqrt(inputs)) {
    const initializer: Initializer = uniform(-bound, bound)
    this.weight = parameter([outputs, inputs], initializer)
  }

  forward(x: Loose): Loose {
    return linear(x, this.weight as Loose) as Loose
  }

  /** The weights of each head: [heads, out / heads, in]. */
  perHead(heads: number): Loose {
    const [outputs, inputs] = this.weight.shape
    return reshape(this.weight as Loose, [heads, outputs / heads, inputs]) as Loose
  }
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
   *
   * Throws KAIROS_SHAPE when shapes do not fit. A run fails with KAIROS_ID_RANGE unless offsets rise from at least 0 to
   * at most `count`.
   */
  ragged<B extends Dim>(
    target: Tensor<readonly [B, Target], 'float32'>,
    items: Tensor<readonly [Dim, History], 'float32'>,
    offsets: Tensor<readonly [Dim], 'int32'>,
  ): Tensor<readonly [B, Out], 'float32'> {
    const rows = split(items as Loose, -1, [1, items.shape[1]]) as Loose
    return this.said(targetAttention(this.asked(target as Loose), rows, rows, offsets, { scale: this.scale }) as Loose)
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

/** x[batch, heads, ...] through a function of [heads, batch, ...]. */
function eachHead(x: Loose, apply: (x: Loose) => Loose): Loose {
  const [batch, heads, width] = x.shape
  if (heads !== 1) return transpose(apply(transpose(x, [1, 0, 2]) as Loose), [1, 0, 2]) as Loose
  const y = apply(reshape(x, [1, batch, width]) as Loose)
  return reshape(y, [batch, 1, y.shape[2]]) as Loose
}
