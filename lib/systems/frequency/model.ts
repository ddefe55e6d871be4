/**
 * Next item from a history: self-attention and a low/high frequency filter side by side in each block, mixed by alpha.
 *
 * Shin, Choi, Wi, Park: An Attentive Inductive Bias for Sequential Recommendation beyond the Self-Attention
 * (BSARec), AAAI 2024. With `alpha` 0 the frequency branch is left out and plain self-attention remains.
 */
import type { Dim } from '../../core/dim.js'
import { Dropout, FeedForward, FrequencyLayer, LayerNorm, SelfAttention } from '../../nn/index.js'
import { add, multiply } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { lastOf, NextItemModel, type Range, type Sequence, type SequenceBlock } from '../nextItem.js'
import type { FrequencyConfig } from './config.js'

/** A branch with its residual: LayerNorm(x + dropout(branch(x))). */
class Residual {
  readonly norm: LayerNorm<number>
  private readonly drop: Dropout

  constructor(channels: number, rate: number) {
    this.norm = new LayerNorm(channels)
    this.drop = new Dropout(rate)
  }

  join<B extends Dim>(x: Sequence<B>, branch: Sequence<B>): Sequence<B> {
    return this.norm.forward(add(this.drop.forward(branch), x) as Loose) as Loose
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

  everyPosition<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B> {
    const attended = this.attention.forward(x, { range, causal: true })
    return this.finish(x, attended, this.frequency?.forward(x))
  }

  lastPosition<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B> {
    const queries = lastOf(x)
    const attended = this.attention.forward(x, { range, causal: true, queries })
    return this.finish(queries, attended, this.frequency?.last(x))
  }

  /** alpha * frequency branch + (1 - alpha) * attention branch, then the feed-forward part. */
  private finish<B extends Dim>(x: Sequence<B>, attended: Sequence<B>, filtered?: Sequence<B>): Sequence<B> {
    const { alpha, frequencyResidual } = this
    let mixed = this.attentionResidual.join(x, attended)
    if (filtered && frequencyResidual) {
      mixed = add(multiply(frequencyResidual.join(x, filtered), alpha), multiply(mixed, 1 - alpha))
    }
    return this.feedForwardResidual.join(mixed, this.feedForward.forward(mixed as Loose) as Loose)
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
