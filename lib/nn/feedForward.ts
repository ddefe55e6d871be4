import type { Dim } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { gelu } from '../ops/index.js'
import { Linear } from './linear.js'

/** Two linear layers with GELU between them, at every position alone. */
export class FeedForward<Channels extends number> {
  readonly inner: Linear<Channels, number>
  readonly outer: Linear<number, Channels>

  constructor(channels: Channels, hidden: number = 4 * channels) {
    this.inner = new Linear(channels, hidden)
    this.outer = new Linear(hidden, channels)
  }

  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Channels], 'float32'>,
  ): Tensor<readonly [...Lead, Channels], 'float32'> {
    return this.outer.forward(gelu(this.inner.forward(x)))
  }
}
