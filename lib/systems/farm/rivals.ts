/** Published encoders in the place of FARM's: causal self-attention, alone or mixed with a low and high frequency filter. */
import {
  Dropout,
  FeedForward,
  FrequencyLayer,
  LayerNorm,
  packedRows,
  paddedRows,
  SelfAttention,
  TransformerBlock,
} from '../../nn/index.js'
import { add, multiply } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { cutoffFor, type FarmConfig } from './config.js'
import type { Encoded, Encoder } from './encoder.js'
import type { Acts } from './inputs.js'

interface Block {
  forward(acts: Acts): Acts['rows']
}

/** Kang and McAuley 2018 (SASRec), with normalisation after each sum and GELU. */
class SasrecBlock implements Block {
  readonly block: TransformerBlock<number>

  constructor({ dimensions, heads, dropout }: FarmConfig) {
    this.block = new TransformerBlock({ channels: dimensions, heads, dropout, hidden: 2 * dimensions, norm: 'post' })
  }

  forward({ rows, packing, range }: Acts): Acts['rows'] {
    return this.block.packed(rows, packing, { range: range as never, causal: true }) as Acts['rows']
  }
}

/** How much of a block is the frequency branch, as published. */
const FREQUENCY_SHARE = 0.7

/**
 * Shin et al. 2024 (BSARec): FFN(a (V + low + b^2 high) + (1 - a) (V + attention)), each sum normalised, b per channel.
 */
class BsarecBlock implements Block {
  readonly attention: SelfAttention<number>
  readonly attentionNorm: LayerNorm<number>
  readonly frequency: FrequencyLayer<number, number>
  readonly frequencyNorm: LayerNorm<number>
  readonly feedForward: FeedForward<number>
  readonly feedForwardNorm: LayerNorm<number>
  private readonly drop: Dropout

  constructor(time: number, { dimensions, heads, dropout, cutoffShare }: FarmConfig) {
    this.attention = new SelfAttention({ channels: dimensions, heads, dropout })
    this.attentionNorm = new LayerNorm(dimensions, 1e-5)
    this.frequency = new FrequencyLayer({ time, channels: dimensions, cutoff: cutoffFor(time, cutoffShare) })
    this.frequencyNorm = new LayerNorm(dimensions, 1e-5)
    this.feedForward = new FeedForward(dimensions, 2 * dimensions)
    this.feedForwardNorm = new LayerNorm(dimensions, 1e-5)
    this.drop = new Dropout(dropout)
  }

  forward(acts: Acts): Acts['rows'] {
    const { rows, packing, range } = acts
    const after = (norm: LayerNorm<number>, x: Loose, branch: Loose): Loose =>
      norm.forward(add(x, this.drop.forward(branch) as Loose) as never) as Loose
    const attended = this.attention.packed(rows, packing, { range: range as never, causal: true }) as Loose
    const filtered = packedRows(this.frequency.forward(paddedRows(rows, acts) as never), acts)
    const mixed = add(
      multiply(after(this.frequencyNorm, rows as Loose, filtered), FREQUENCY_SHARE) as Loose,
      multiply(after(this.attentionNorm, rows as Loose, attended), 1 - FREQUENCY_SHARE) as Loose,
    ) as Loose
    return after(this.feedForwardNorm, mixed, this.feedForward.forward(mixed as never) as Loose) as Acts['rows']
  }
}

export class AttentiveEncoder implements Encoder {
  readonly blocks: readonly Block[]

  constructor(time: number, config: FarmConfig) {
    const block = () => (config.encoder === 'sasrec' ? new SasrecBlock(config) : new BsarecBlock(time, config))
    this.blocks = Array.from({ length: config.layers }, block)
  }

  forward(acts: Acts): Encoded {
    const rows = this.blocks.reduce((x, block) => block.forward({ ...acts, rows: x }), acts.rows)
    return { acts: { ...acts, rows } }
  }
}
