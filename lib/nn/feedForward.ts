import type { Dim } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { gelu, relu } from '../ops/index.js'
import { Linear } from './linear.js'

export type FeedForwardActivation = 'gelu' | 'relu'

/** Two linear layers with GELU or ReLU between them, at every position alone (Vaswani et al. 2017, equation 2). */
export class FeedForward<Channels extends number> {
  readonly inner: Linear<Channels, number>
  readonly outer: Linear<number, Channels>

  constructor(
    channels: Channels,
    hidden: number = 4 * channels,
    private readonly activation: FeedForwardActivation = 'gelu',
  ) {
    this.inner = new Linear(channels, hidden)
    this.outer = new Linear(hidden, channels)
  }

  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Channels], 'float32'>,
  ): Tensor<readonly [...Lead, Channels], 'float32'> {
    const activate = this.activation === 'gelu' ? gelu : relu
    return this.outer.forward(activate(this.inner.forward(x)))
  }
}
