import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { constant } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import {
  batchMatmul,
  broadcast,
  logicalAnd,
  merge,
  multiply,
  notEqual,
  select,
  softmax,
  split,
  transpose,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Dropout } from './dropout.js'
import { Linear } from './linear.js'

export interface SelfAttentionOptions<Channels extends number> {
  readonly channels: Channels
  readonly heads: number
  /** Dropout of attention weights. */
  readonly dropout?: number
}

/** What a masked score becomes; finite, so that a row that may see nothing is uniform rather than NaN. */
const MASKED = -10_000

/** Multi-head scaled dot-product self-attention (Vaswani et al. 2017, section 3.2). */
export class SelfAttention<Channels extends number> {
  readonly query: Linear<Channels, Channels>
  readonly key: Linear<Channels, Channels>
  readonly value: Linear<Channels, Channels>
  readonly output: Linear<Channels, Channels>
  private readonly channels: Channels
  private readonly heads: number
  private readonly drop: Dropout

  constructor({ channels, heads, dropout = 0 }: SelfAttentionOptions<Channels>) {
    if (channels % heads !== 0) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'SelfAttention',
        argument: 'heads',
        expected: `a divisor of ${channels} channels`,
        got: `${heads}`,
      })
    }
    this.query = new Linear(channels, channels)
    this.key = new Linear(channels, channels)
    this.value = new Linear(channels, channels)
    this.output = new Linear(channels, channels)
    this.channels = channels
    this.heads = heads
    this.drop = new Dropout(dropout)
  }

  /** x[batch, time, channels], visible[batch, time, time] -> [batch, time, channels]. */
  forward<B extends Dim, T extends Dim>(
    x: Tensor<readonly [B, T, Channels], 'float32'>,
    visible: Tensor<readonly [NoInfer<B>, NoInfer<T>, NoInfer<T>], 'bool'>,
  ): Tensor<readonly [B, T, Channels], 'float32'> {
    const width = this.channels / this.heads
    const headsOf = (projected: Loose): Loose =>
      transpose(split(projected, -1, [this.heads, width]) as Loose, [0, 2, 1, 3])
    const [q, k, v] = [this.query, this.key, this.value].map((projection) => headsOf(projection.forward(x) as Loose))
    const scores = multiply(
      batchMatmul(q as Loose, k as Loose, { transposeB: true }) as Loose,
      1 / Math.sqrt(width),
    ) as Loose
    const masked = select(broadcast(visible as Loose, 1, [this.heads]) as Loose, scores, MASKED) as Loose
    const weights = this.drop.forward(softmax(masked) as Loose) as Loose
    const mixed = transpose(batchMatmul(weights, v as Loose) as Loose, [0, 2, 1, 3])
    return this.output.forward(merge(mixed as Loose, 2, 2) as Loose) as Loose
  }
}

/** Who sees whom in a padded history: earlier positions and itself, padding (id 0) never. ids[batch, time]. */
export function causalVisibility<B extends Dim, T extends number>(
  ids: Tensor<readonly [B, T], 'int32'>,
): Tensor<readonly [B, T, T], 'bool'> {
  const [batch, time] = ids.shape
  const triangle = Uint8Array.from({ length: time * time }, (_, i) => (i % time <= Math.floor(i / time) ? 1 : 0))
  const earlier = broadcast(constant(triangle, [time, time]) as Loose, 0, [batch])
  const present = broadcast(notEqual(ids, 0) as Loose, 1, [time])
  return logicalAnd(earlier as Loose, present as Loose) as Loose
}
