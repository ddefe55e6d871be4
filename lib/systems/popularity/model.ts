/** Ranks items by how often they occur, for everybody alike: the line that a model has to beat. */
import type { Dim } from '../../core/dim.js'
import { state } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { broadcast } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'

export class PopularityModel {
  /** Occurrences per item id; filled from data, not trained. */
  readonly counts: Tensor<readonly [number], 'float32'>

  constructor(readonly itemCount: number) {
    this.counts = state([itemCount + 1])
  }

  scores<B extends Dim>(history: Tensor<readonly [B, number], 'int32'>): Tensor<readonly [B, number], 'float32'> {
    const [batch] = history.shape
    return broadcast(this.counts as Loose, 0, [batch]) as Loose
  }
}
