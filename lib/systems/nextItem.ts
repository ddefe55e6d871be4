/** What models of the next item share: embedded histories in, a score per item out. */
import type { Dim } from '../core/dim.js'
import { constant } from '../graph/leaf.js'
import { normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { linearCrossEntropyLoss } from '../losses/index.js'
import { Dropout, Embedding, historyRange, LayerNorm, type PackedRows } from '../nn/index.js'
import {
  add,
  broadcast,
  cast,
  embedding,
  linear,
  mean,
  merge,
  minimum,
  multiply,
  negate,
  notEqual,
  type Packing,
  pack,
  packPadded,
  reshape,
  sampleNegatives,
  slice,
  softplus,
  split,
  sum,
  unpack,
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

/** Histories without their padding: [packed, channels]. */
export type Rows = PackedRows<number>

/** Where the rows of a batch lie. */
export interface Places {
  /** Positions that may be attended to. */
  readonly range: Range<Dim>
  readonly packing: Packing
}

/** A block over positions: all of them, or the last alone, which is what a next item needs of the last block. */
export interface SequenceBlock {
  everyPosition(x: Rows, places: Places): Rows
  /** [batch, 1, channels] */
  lastPosition(x: Rows, places: Places): Sequence<Dim>
}

/** Histories with their padding, zeros: [batch, time, channels]. */
export const paddedOf = (x: Rows, { range, packing }: Places): Sequence<Dim> =>
  split(unpack(x, packing), 0, [range.shape[0], packing.time] as never) as Loose

/** The last row of every history: [batch, 1, channels]. */
export function lastOf(x: Rows, { range, packing: { slots, time } }: Places): Sequence<Dim> {
  const rows = slice(split(slots as Loose, 0, [range.shape[0], time] as never) as Loose, 1, time - 1, 1)
  return embedding(x as Loose, rows as Loose) as Loose
}

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

  /** Every position through all blocks: [batch, time, dimensions]; zeros where there is padding. */
  hidden<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Sequence<B> {
    const places = placesOf(history)
    return paddedOf(this.encode(history, places, this.blocks), places) as Loose
  }

  /** The last position's state: [batch, dimensions]. */
  state<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Tensor<readonly [B, number], 'float32'> {
    const places = placesOf(history)
    const block = this.blocks.at(-1)
    const before = this.encode(history, places, this.blocks.slice(0, -1))
    const last = block ? block.lastPosition(before, places) : lastOf(before, places)
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

  private encode(history: Tensor<readonly [Dim, number], 'int32'>, places: Places, blocks: readonly Block[]): Rows {
    const { packing } = places
    const items = this.items.forward(pack(merge(history as Loose, 0, 2) as Loose, packing))
    const embedded = add(items as Loose, embedding(this.positions as Loose, packing.columns as Loose) as Loose)
    const start = this.drop.forward(this.norm.forward(embedded as Loose) as Loose) as Rows
    return blocks.reduce((x, block) => block.everyPosition(x, places), start)
  }
}

/**
 * Padding is left out of every computation but the scores of attention, which see none of it. The last position is
 * always there: an empty history is predicted from its padding.
 */
function placesOf(history: Tensor<readonly [Dim, number], 'int32'>): Places {
  const range = historyRange(history)
  const [batch, time] = history.shape
  const last = broadcast(constant(Int32Array.of(time - 1, time), [2]) as Loose, 0, [batch])
  const kept = minimum(range as Loose, last as Loose) as Loose
  return { range, packing: packPadded(kept, { time }) }
}
