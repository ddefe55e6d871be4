/**
 * Next item from a history: self-attention and a low/high frequency filter side by side in each block, mixed by alpha.
 *
 * Shin, Choi, Wi, Park: An Attentive Inductive Bias for Sequential Recommendation beyond the Self-Attention
 * (BSARec), AAAI 2024. With `alpha` 0 the frequency branch is left out and plain self-attention remains (SASRec's
 * encoder with GELU).
 */
import type { Dim } from '../../core/dim.js'
import { normal, parameter } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import {
  Dropout,
  Embedding,
  FeedForward,
  FrequencyLayer,
  historyRange,
  LayerNorm,
  SelfAttention,
} from '../../nn/index.js'
import { add, broadcast, linear, merge, multiply, slice } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import type { FrequencyConfig } from './config.js'

type Sequence<B extends Dim> = Tensor<readonly [B, number, number], 'float32'>
type Range<B extends Dim> = Tensor<readonly [B, 2], 'int32'>

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

class Block {
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

  forward<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B> {
    const attended = this.attention.forward(x, { range, causal: true })
    return this.finish(x, attended, this.frequency?.forward(x))
  }

  /** The last position of `forward` alone, [batch, 1, channels]. */
  last<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B> {
    const queries = slice(x as Loose, 1, x.shape[1] - 1, 1) as Sequence<B>
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

export class FrequencyModel {
  readonly items: Embedding<number, number>
  readonly positions: Tensor<readonly [number, number], 'float32'>
  readonly norm: LayerNorm<number>
  readonly blocks: readonly Block[]
  private readonly drop: Dropout

  /** `itemCount` items with ids from 1; id 0 is padding. */
  constructor(
    readonly itemCount: number,
    config: FrequencyConfig,
  ) {
    this.items = new Embedding(itemCount + 1, config.dimensions, 0)
    this.positions = parameter([config.maxLength, config.dimensions], normal(0.02))
    this.norm = new LayerNorm(config.dimensions)
    this.drop = new Dropout(config.dropout)
    this.blocks = Array.from({ length: config.layers }, () => new Block(config))
  }

  /** history[batch, time], left-padded with 0 -> a score per item id, padding included: [batch, items + 1]. */
  scores<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Tensor<readonly [B, number], 'float32'> {
    const range = historyRange(history)
    const block = this.blocks.at(-1)
    // Only the last position is scored, so the last block computes no other.
    const before = this.encode(history, range, this.blocks.slice(0, -1))
    const last = block ? block.last(before, range) : slice(before as Loose, 1, history.shape[1] - 1, 1)
    return linear(merge(last as Loose, 1, 2) as Loose, this.items.weight as Loose) as Loose
  }

  /** Every position through all blocks: [batch, time, dimensions]. */
  hidden<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Sequence<B> {
    return this.encode(history, historyRange(history), this.blocks)
  }

  private encode<B extends Dim>(
    history: Tensor<readonly [B, number], 'int32'>,
    range: Range<B>,
    blocks: readonly Block[],
  ): Sequence<B> {
    const positions = broadcast(this.positions as Loose, 0, [history.shape[0]])
    const embedded = add(this.items.forward(history) as Loose, positions as Loose)
    const start = this.drop.forward(this.norm.forward(embedded as Loose) as Loose) as Sequence<B>
    return blocks.reduce((x, block) => block.forward(x, range), start)
  }
}
