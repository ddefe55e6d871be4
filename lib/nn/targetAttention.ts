import type { Dim } from '../core/dim.js'
import { type Initializer, parameter, uniform } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { attention, concat, full, linear, reshape, split, targetAttention } from '../ops/index.js'
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
}

/**
 * What a user's history says about one target: attention of the target over the items of the history, with projections
 * that have no bias. An empty history gives 0.
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

  constructor({ target, history, channels, heads = 1 }: TargetAttentionOptions<Target, History, Out>) {
    const [items, out] = [(history ?? target) as History, (channels ?? target) as Out]
    requireHeads('TargetAttention', out, heads)
    this.query = new Projection(target, out)
    this.key = new Projection(items, out)
    this.value = new Projection(items, out)
    this.heads = heads
    this.width = out / heads
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
    const mixed = attention(
      this.queryOf(target as Loose),
      this.rowsOf(this.key, history),
      this.rowsOf(this.value, history),
      {
        range,
      },
    )
    return reshape(mixed, [batch, this.heads * this.width]) as Loose
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
    const query = this.queryOf(target as Loose)
    const mixed = targetAttention(query, this.rowsOf(this.key, items), this.rowsOf(this.value, items), offsets)
    return reshape(mixed, [target.shape[0], this.heads * this.width]) as Loose
  }

  private queryOf(target: Loose): Loose {
    return reshape(this.query.forward(target), [target.shape[0], 1, this.heads, this.width]) as Loose
  }

  private rowsOf(projection: { forward(x: Loose): Loose }, x: Tensor): Loose {
    return split(projection.forward(x as Loose), -1, [this.heads, this.width]) as Loose
  }
}
