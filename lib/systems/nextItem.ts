/** What models of the next item share: embedded histories in, a score per item out. */
import type { Dim } from '../core/dim.js'
import { normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { linearCrossEntropyLoss } from '../losses/index.js'
import { Dropout, Embedding, historyRange, LayerNorm } from '../nn/index.js'
import {
  add,
  broadcast,
  cast,
  linear,
  mean,
  merge,
  multiply,
  negate,
  notEqual,
  reshape,
  sampleNegatives,
  slice,
  softplus,
  sum,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { SequenceModel } from './system.js'

/** [batch, time, channels] */
export type Sequence<B extends Dim> = Tensor<readonly [B, number, number], 'float32'>
/** Positions [start, end) of each row that hold an item: [batch, 2]. */
export type Range<B extends Dim> = Tensor<readonly [B, 2], 'int32'>

/** 'softmax': over all items. 'binary': the next item against `negatives` sampled ones, as the SASRec paper trains. */
export type NextItemLoss = 'softmax' | 'binary'

export interface NextItemConfig {
  readonly dimensions: number
  readonly maxLength: number
  readonly dropout: number
  readonly loss?: NextItemLoss
  readonly negatives?: number
}

/** A block over positions: all of them, or the last alone, which is what a next item needs of the last block. */
export interface SequenceBlock {
  everyPosition<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B>
  /** [batch, 1, channels] */
  lastPosition<B extends Dim>(x: Sequence<B>, range: Range<B>): Sequence<B>
}

/** The last row of every history: [batch, 1, channels]. */
export const lastOf = <B extends Dim>(x: Sequence<B>): Sequence<B> =>
  slice(x as Loose, 1, x.shape[1] - 1, 1) as Sequence<B>

/**
 * Items and positions embedded, normalised, passed through blocks; the last position's state scores every item by inner
 * product with its embedding. Items have ids from 1; id 0 is padding.
 */
export class NextItemModel<Block extends SequenceBlock> implements SequenceModel {
  readonly items: Embedding<number, number>
  readonly positions: Tensor<readonly [number, number], 'float32'>
  readonly norm: LayerNorm<number>
  private readonly drop: Dropout

  constructor(
    readonly itemCount: number,
    private readonly config: NextItemConfig,
    readonly blocks: readonly Block[],
  ) {
    this.items = new Embedding(itemCount + 1, config.dimensions, 0)
    this.positions = parameter([config.maxLength, config.dimensions], normal(0.02))
    this.norm = new LayerNorm(config.dimensions)
    this.drop = new Dropout(config.dropout)
  }

  scores<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Tensor<readonly [B, number], 'float32'> {
    return linear(this.state(history) as Loose, this.items.weight as Loose) as Loose
  }

  loss(history: Tensor<readonly ['batch', number], 'int32'>, target: Tensor<readonly ['batch'], 'int32'>) {
    const state = this.state(history) as Loose
    if (this.config.loss === 'binary') return this.binaryLoss(state, target)
    return linearCrossEntropyLoss(state, this.items.weight as Loose, target as Loose) as Tensor<readonly [], 'float32'>
  }

  /** Every position through all blocks: [batch, time, dimensions]. */
  hidden<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Sequence<B> {
    return this.encode(history, historyRange(history), this.blocks)
  }

  /** The last position's state: [batch, dimensions]. */
  state<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Tensor<readonly [B, number], 'float32'> {
    const range = historyRange(history)
    const block = this.blocks.at(-1)
    const before = this.encode(history, range, this.blocks.slice(0, -1))
    const last = block ? block.lastPosition(before, range) : lastOf(before)
    return merge(last as Loose, 1, 2) as Loose
  }

  /**
   * Kang and McAuley 2018, equation 6, for the last position: -log sigmoid(r) - sum over negatives of
   * log(1 - sigmoid(r')). A negative that happens to be the target does not count.
   */
  private binaryLoss(state: Loose, target: Tensor<readonly ['batch'], 'int32'>): Tensor<readonly [], 'float32'> {
    const [batch] = state.shape
    const count = this.config.negatives ?? 1
    const drawn = sampleNegatives([batch, count], { classes: this.itemCount, distribution: 'uniform' }) as Loose
    const negatives = add(drawn, 1) as Loose
    const scoreOf = (ids: Loose, width: number): Loose =>
      sum(multiply(this.items.forward(ids) as Loose, broadcast(state, 1, [width]) as Loose) as Loose, 2) as Loose
    const wins = softplus(negate(scoreOf(reshape(target as Loose, [batch, 1]) as Loose, 1)) as Loose) as Loose
    const counts = cast(
      notEqual(negatives, broadcast(target as Loose, 1, [count]) as Loose) as Loose,
      'float32',
    ) as Loose
    const losses = multiply(softplus(scoreOf(negatives, count)) as Loose, counts) as Loose
    return mean(add(merge(wins, 0, 2), sum(losses, 1)) as Loose) as Tensor<readonly [], 'float32'>
  }

  private encode<B extends Dim>(
    history: Tensor<readonly [B, number], 'int32'>,
    range: Range<B>,
    blocks: readonly Block[],
  ): Sequence<B> {
    const positions = broadcast(this.positions as Loose, 0, [history.shape[0]])
    const embedded = add(this.items.forward(history) as Loose, positions as Loose)
    const start = this.drop.forward(this.norm.forward(embedded as Loose) as Loose) as Sequence<B>
    return blocks.reduce((x, block) => block.everyPosition(x, range), start)
  }
}
