import type { Shape } from '../core/dim.js'
import { type Initializer, normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { embedding } from '../ops/index.js'

/** A table of vectors looked up by id. The row of `paddingIndex` receives no gradient. */
export class Embedding<Rows extends number, Channels extends number> {
  readonly weight: Tensor<readonly [Rows, Channels], 'float32'>

  constructor(
    rows: Rows,
    channels: Channels,
    readonly paddingIndex?: number,
    initializer: Initializer = normal(0.02),
  ) {
    this.weight = parameter([rows, channels], initializer)
  }

  /** ids[...] -> [..., channels]. A run fails with KAIROS_ID_RANGE on an id outside [0, rows). */
  forward<const S extends Shape>(ids: Tensor<S, 'int32'>): Tensor<readonly [...S, Channels], 'float32'> {
    const options = this.paddingIndex === undefined ? {} : { paddingIndex: this.paddingIndex }
    return embedding(this.weight, ids, options) as never
  }
}
