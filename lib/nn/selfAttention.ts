import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { constant } from '../graph/leaf.js'
import { isTraining } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import {
  attention,
  broadcast,
  cast,
  concat,
  full,
  max,
  merge,
  notEqual,
  type Packing,
  pack,
  select,
  split,
  subtract,
  unpack,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Linear } from './linear.js'

export interface SelfAttentionOptions<Channels extends number> {
  readonly channels: Channels
  readonly heads: number
  /** Dropout of attention weights. */
  readonly dropout?: number
}

/** Sequences one after another, without padding: [packed, channels]. */
export type PackedRows<Channels extends number> = Tensor<readonly [Dim, Channels], 'float32'>

/** Who sees whom, and who asks. */
export interface AttentionView<B extends Dim, Channels extends number, Q extends Dim = Dim> {
  /** Positions [start, end) of each row that hold something; the others are never seen. */
  readonly range?: Tensor<readonly [B, 2], 'int32'>
  /** A position sees itself and earlier ones. Fewer queries than positions are the last ones. */
  readonly causal?: boolean
  /** Added to the scores: [heads, queries, time], or [batch, heads, queries, time]. */
  readonly bias?: Tensor<readonly [Dim, Dim, Dim] | readonly [B, Dim, Dim, Dim], 'float32'>
  /** What asks, if not `x` itself: the last position alone, say, where only its answer is wanted. */
  readonly queries?: Tensor<readonly [B, Q, Channels], 'float32'>
}

/** Refuses a number of heads that does not divide the channels. */
export function requireHeads(op: string, channels: number, heads: number): void {
  if (Number.isInteger(heads) && heads > 0 && channels % heads === 0) return
  throw new KairosError('KAIROS_ARGUMENT', {
    op,
    argument: 'heads',
    expected: `a divisor of ${channels} channels`,
    got: `${heads}`,
  })
}

/**
 * Multi-head scaled dot-product self-attention, each head over its share of the channels.
 *
 * Throws KAIROS_ARGUMENT when `heads` does not divide `channels`.
 * Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.2.
 */
export class SelfAttention<Channels extends number> {
  readonly query: Linear<Channels, Channels>
  readonly key: Linear<Channels, Channels>
  readonly value: Linear<Channels, Channels>
  readonly output: Linear<Channels, Channels>
  private readonly heads: number
  private readonly width: number
  private readonly rate: number

  constructor({ channels, heads, dropout = 0 }: SelfAttentionOptions<Channels>) {
    requireHeads('SelfAttention', channels, heads)
    this.query = new Linear(channels, channels)
    this.key = new Linear(channels, channels)
    this.value = new Linear(channels, channels)
    this.output = new Linear(channels, channels)
    this.heads = heads
    this.width = channels / heads
    this.rate = dropout
  }

  /**
   * The same over sequences without their padding, x[packed, channels]: -> [packed, channels], or with `queries`
   * [batch, queries, channels]. Only the scores see the padded positions, which `range` must leave out.
   */
  packed(
    x: PackedRows<Channels>,
    packing: Packing,
    { queries, ...view }: AttentionView<Dim, Channels> & { readonly range: Tensor<readonly [Dim, 2], 'int32'> },
  ): Tensor<readonly [...Dim[], Channels], 'float32'> {
    const padded = (rows: Tensor): Loose =>
      split(unpack(rows, packing), 0, [view.range.shape[0], packing.time] as never) as Loose
    const asked = queries ? this.query.forward(queries as Loose) : padded(this.query.forward(x as Loose))
    const mixed = this.attend(
      asked as Loose,
      padded(this.key.forward(x as Loose)),
      padded(this.value.forward(x as Loose)),
      view,
    )
    const rows = queries ? mixed : pack(merge(mixed as Loose, 0, 2) as Loose, packing)
    return this.output.forward(rows as Loose) as Loose
  }

  /**
   * x[batch, time, channels] -> [batch, queries, channels], where queries are those of `x` unless others are given. A
   * position that sees nothing gets the output's bias.
   *
   * Throws KAIROS_SHAPE when shapes do not fit. A run fails with KAIROS_ID_RANGE on a range outside [0, time].
   */
  forward<B extends Dim, T extends Dim, Q extends Dim = T>(
    x: Tensor<readonly [B, T, Channels], 'float32'>,
    { queries, ...view }: AttentionView<NoInfer<B>, NoInfer<Channels>, Q> = {},
  ): Tensor<readonly [B, Q, Channels], 'float32'> {
    const asked = this.query.forward((queries ?? x) as Loose)
    return this.output.forward(this.attend(asked as Loose, this.key.forward(x), this.value.forward(x), view)) as Loose
  }

  /** Projected rows [batch, positions, channels] -> what the queries see: [batch, queries, channels]. */
  private attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    { range, causal = false, bias }: Pick<AttentionView<Dim, Channels>, 'range' | 'causal' | 'bias'>,
  ): Loose {
    const headsOf = (projected: Tensor): Loose => split(projected as Loose, -1, [this.heads, this.width]) as Loose
    const mixed = attention(headsOf(query), headsOf(key), headsOf(value), {
      causal,
      ...(range ? { range: range as Loose } : {}),
      ...(bias ? { bias: bias as Loose } : {}),
      ...(isTraining() ? { dropout: { rate: this.rate } } : {}),
    })
    return merge(mixed as Loose, 2, 2) as Loose
  }
}

/**
 * Where left-padded histories begin and end: [start, time) per row, start being the number of leading `padding` ids.
 * A row of padding alone is empty. history[batch, time] -> [batch, 2], what `range` of attention takes.
 */
export function historyRange<B extends Dim, T extends number>(
  history: Tensor<readonly [B, T], 'int32'>,
  padding = 0,
): Tensor<readonly [B, 2], 'int32'> {
  const [batch, time] = history.shape
  // The first id that is no padding is the one with most ids from it on.
  const left = Float32Array.from({ length: time }, (_, position) => time - position)
  const ranks = broadcast(constant(left, [time]) as Loose, 0, [batch]) as Loose
  const longest = max(select(notEqual(history, padding) as Loose, ranks, 0) as Loose, 1)
  const end = full([batch, 1], time, 'int32')
  const start = subtract(end as Loose, split(cast(longest, 'int32') as Loose, 0, [batch, 1]) as Loose)
  return concat([start as Loose, end as Loose], 1 as never) as Loose
}
