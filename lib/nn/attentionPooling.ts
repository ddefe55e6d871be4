import { type Dim, subtractDims } from '../core/dim.js'
import { parameter, uniform } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { broadcast, reshape, split, targetAttention } from '../ops/index.js'
import type { Loose } from '../ops/support.js'

/**
 * A sequence as the mean of its items, weighed by a learned query q:
 *
 *     sum_t softmax(q . s_t / sqrt(channels))_t s_t
 *
 * Unlike the plain mean it sees what stands out. An empty sequence gives 0.
 * Source: Yang et al., "Hierarchical attention networks for document classification", 2016, equations 5 to 7, with the
 * scaled dot product in place of their one-layer perceptron.
 */
export class AttentionPooling<Channels extends number> {
  readonly query: Tensor<readonly [Channels], 'float32'>

  constructor(channels: Channels) {
    const bound = 1 / Math.sqrt(channels)
    this.query = parameter([channels], uniform(-bound, bound))
  }

  /**
   * Sequence b has items [offsets[b], offsets[b + 1]) of items[count, channels] -> [batch, channels].
   *
   * Throws KAIROS_SHAPE when shapes do not fit. A run fails with KAIROS_ID_RANGE unless offsets rise from at least 0 to
   * at most `count`.
   */
  ragged(
    items: Tensor<readonly [Dim, Channels], 'float32'>,
    offsets: Tensor<readonly [Dim], 'int32'>,
  ): Tensor<readonly [Dim, Channels], 'float32'> {
    const [channels] = this.query.shape
    const batch = subtractDims(offsets.shape[0], 1)
    const query = reshape(broadcast(this.query as Loose, 0, [batch]) as Loose, [batch, 1, 1, channels])
    const rows = split(items as Loose, -1, [1, channels]) as Loose
    return reshape(targetAttention(query as Loose, rows, rows, offsets) as Loose, [batch, channels]) as Loose
  }
}
