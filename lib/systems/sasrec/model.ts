/**
 * Next item from a history by causal self-attention.
 *
 * Kang, McAuley: Self-Attentive Sequential Recommendation (SASRec), ICDM 2018, with normalisation after each sum and
 * GELU, the form in which later work compares with it. `loss` chooses between the paper's binary loss and the softmax
 * over all items (Klenitskiy, Vasilev: Turning Dross into Gold Loss, RecSys 2023, on how much that matters).
 */
import type { Dim } from '../../core/dim.js'
import { TransformerBlock } from '../../nn/index.js'
import { lastOf, NextItemModel, type Places, type Rows, type Sequence, type SequenceBlock } from '../nextItem.js'
import type { SasrecConfig } from './config.js'

class Block extends TransformerBlock<number> implements SequenceBlock {
  constructor({ dimensions, heads, dropout }: SasrecConfig) {
    super({ channels: dimensions, heads, dropout, norm: 'post', epsilon: 1e-12 })
  }

  everyPosition(x: Rows, { range, packing }: Places): Rows {
    return this.packed(x, packing, { range, causal: true }) as Rows
  }

  lastPosition(x: Rows, places: Places): Sequence<Dim> {
    const { range, packing } = places
    return this.packed(x, packing, { range, causal: true, queries: lastOf(x, places) }) as Sequence<Dim>
  }
}

export class SasrecModel extends NextItemModel<Block> {
  constructor(itemCount: number, config: SasrecConfig) {
    super(
      itemCount,
      config,
      Array.from({ length: config.layers }, () => new Block(config)),
    )
  }
}
