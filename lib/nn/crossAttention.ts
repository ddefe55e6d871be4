import type { Dim } from '../core/dim.js'
import { isTraining } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { attention, merge, split } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { type PackedSequences, packedRows, paddedRows } from './packedSequences.js'
import { Projection } from './projection.js'
import { requireHeads } from './selfAttention.js'

export interface CrossAttentionOptions<Channels extends number> {
  readonly channels: Channels
  readonly heads: number
  /** Dropout of attention weights. */
  readonly dropout?: number
}

/**
 * What each position of one sequence reads in another sequence of the same user:
 *
 *     softmax(x W_q (s W_k)^T / sqrt(channels / heads)) s W_v          per head, without biases
 *
 * Throws KAIROS_ARGUMENT when `heads` does not divide `channels`.
 * Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.2.
 */
export class CrossAttention<Channels extends number> {
  readonly query: Projection<Channels, Channels>
  readonly key: Projection<Channels, Channels>
  readonly value: Projection<Channels, Channels>
  private readonly heads: number
  private readonly rate: number

  constructor({ channels, heads, dropout = 0 }: CrossAttentionOptions<Channels>) {
    requireHeads('CrossAttention', channels, heads)
    this.query = new Projection(channels, channels)
    this.key = new Projection(channels, channels)
    this.value = new Projection(channels, channels)
    this.heads = heads
    this.rate = dropout
  }

  /** Rows of `x`, each with what it reads in `other`: [packed, channels]. 0 where the user's other sequence is empty. */
  forward(x: PackedSequences<Channels>, other: PackedSequences<Channels>): Tensor<readonly [Dim, Channels], 'float32'> {
    const { heads } = this
    const headsOf = (rows: Loose, places: PackedSequences<Channels>): Loose =>
      split(paddedRows(rows, places), -1, [heads, this.query.weight.shape[0] / heads] as never) as Loose
    const mixed = attention(
      headsOf(this.query.forward(x.rows), x),
      headsOf(this.key.forward(other.rows), other),
      headsOf(this.value.forward(other.rows), other),
      { range: other.range as Loose, ...(isTraining() && this.rate > 0 ? { dropout: { rate: this.rate } } : {}) },
    )
    return packedRows(merge(mixed as Loose, 2, 2) as Loose, x)
  }
}
