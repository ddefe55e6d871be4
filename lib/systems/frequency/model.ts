/**
 * Next item from a history: self-attention and a low/high frequency filter side by side in each block, mixed by alpha.
 *
 * Shin, Choi, Wi, Park: An Attentive Inductive Bias for Sequential Recommendation beyond the Self-Attention
 * (BSARec), AAAI 2024. With `alpha` 0 the frequency branch is left out and plain self-attention remains.
 */
import type { Dim } from '../../core/dim.js'
import { Dropout, FeedForward, FrequencyLayer, LayerNorm, SelfAttention } from '../../nn/index.js'
import { add, merge, multiply, pack } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import {
  lastOf,
  NextItemModel,
  type Places,
  paddedOf,
  type Rows,
  type Sequence,
  type SequenceBlock,
} from '../nextItem.js'
import type { FrequencyConfig } from './config.js'

/** A branch with its residual: LayerNorm(x + dropout(branch(x))). */
class Residual {
  readonly norm: LayerNorm<number>
  private readonly drop: Dropout

  constructor(channels: number, rate: number) {
    this.norm = new LayerNorm(channels)
    this.drop = new Dropout(rate)
  }

  join<X extends Rows | Sequence<Dim>>(x: X, branch: X): X {
    return this.norm.forward(add(this.drop.forward(branch as Loose) as Loose, x as Loose) as Loose) as unknown as X
  }
}

class Block implements SequenceBlock {
  readonly attention: SelfAttention<number>
  readonly attentionResidual: Residual
  readonly frequency: FrequencyLayer<number, number> | null
  readonly frequencyResidual: Residual | null
  readonly feedForward: FeedForward<number>
  readonly feedForwardResidual: Residual
  private readonly alpha: number

  constructor({ dimensions, heads, dropout, alpha, cutoff, maxLength }: FrequencyConfig) {
    this.attention = new SelfAttention({ channels: dimensions, heads, dropout })
    this.attentionResidual = new Residual(dimensions, dropout)
    this.frequency = alpha === 0 ? null : new FrequencyLayer({ time: maxLength, channels: dimensions, cutoff })
    this.frequencyResidual = alpha === 0 ? null : new Residual(dimensions, dropout)
    this.feedForward = new FeedForward(dimensions)
    this.feedForwardResidual = new Residual(dimensions, dropout)
    this.alpha = alpha
  }

  everyPosition(x: Rows, places: Places): Rows {
    const { range, packing } = places
    const attended = this.attention.packed(x, packing, { range, causal: true }) as Rows
    const filtered = this.frequency?.forward(paddedOf(x, places))
    return this.finish(x, attended, filtered && (pack(merge(filtered as Loose, 0, 2) as Loose, packing) as Rows))
  }

  lastPosition(x: Rows, places: Places): Sequence<Dim> {
    const queries = lastOf(x, places)
    const { range, packing } = places
    const attended = this.attention.packed(x, packing, { range, causal: true, queries }) as Sequence<Dim>
    return this.finish(queries, attended, this.frequency?.last(paddedOf(x, places)))
  }

  /** alpha * frequency branch + (1 - alpha) * attention branch, then the feed-forward part. */
  private finish<X extends Rows | Sequence<Dim>>(x: X, attended: X, filtered?: X): X {
    const { alpha, frequencyResidual } = this
    let mixed: Loose = this.attentionResidual.join(x, attended) as Loose
    if (filtered && frequencyResidual) {
      mixed = add(multiply(frequencyResidual.join(x, filtered) as Loose, alpha), multiply(mixed, 1 - alpha)) as Loose
    }
    return this.feedForwardResidual.join(mixed as unknown as X, this.feedForward.forward(mixed) as unknown as X)
  }
}

export class FrequencyModel extends NextItemModel<Block> {
  /** `itemCount` items with ids from 1; id 0 is padding. */
  constructor(itemCount: number, config: FrequencyConfig) {
    super(
      itemCount,
      config,
      Array.from({ length: config.layers }, () => new Block(config)),
    )
  }
}
