import type { Dim } from '../core/dim.js'
import { type Initializer, xavierUniform } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { broadcast, mean, multiply, relu, sigmoid } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Linear } from './linear.js'

export interface FeatureGateOptions<Context extends number, Channels extends number> {
  /** Width of what decides: features of the user, the scene, the domain. */
  readonly context: Context
  /** Width of what is gated. */
  readonly channels: Channels
  /** Default: `channels`. */
  readonly hidden?: number
  readonly initializer?: (fanIn: number, fanOut: number) => Initializer
}

/**
 * Rescales hidden units by a context: x times 2 sigmoid(W2 relu(W1 c + b1) + b2), so that a gate that knows nothing is 1
 * (LHUC, Swietojanski and Renals 2014, with the gate network of PEPNet, Chang et al. 2023).
 *
 * PEPNet keeps the gate from training what it looks at: give it a context that carries no gradient for that.
 */
export class FeatureGate<const Context extends number, const Channels extends number> {
  readonly inner: Linear<Context, number>
  readonly outer: Linear<number, Channels>

  constructor({
    context,
    channels,
    hidden = channels,
    initializer = xavierUniform,
  }: FeatureGateOptions<Context, Channels>) {
    this.inner = new Linear(context, hidden, initializer(context, hidden))
    this.outer = new Linear(hidden, channels, initializer(hidden, channels))
  }

  /** x[..., channels], context[..., context] -> [..., channels]. */
  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Channels], 'float32'>,
    context: Tensor<readonly [...Lead, Context], 'float32'>,
  ): Tensor<readonly [...Lead, Channels], 'float32'> {
    const gate = sigmoid(this.outer.forward(relu(this.inner.forward(context as Loose)))) as Loose
    return multiply(x, multiply(gate, 2) as Loose) as Loose
  }
}

/**
 * Weighs whole feature fields against each other by what all of them hold: squeeze to one number a field, excite by two
 * layers, rescale (Huang et al. 2019, "FiBiNET", equations 3 to 5; after the squeeze-and-excitation networks of Hu et
 * al. 2018).
 */
export class SqueezeExcitation<const Fields extends number> {
  readonly squeeze: Linear<Fields, number>
  readonly excite: Linear<number, Fields>

  /** `reduction` divides the fields into the width of the layer between. */
  constructor(
    readonly fields: Fields,
    { reduction = 3, initializer = xavierUniform }: SqueezeExcitationOptions = {},
  ) {
    const hidden = Math.max(1, Math.floor(fields / reduction))
    this.squeeze = new Linear(fields, hidden, initializer(fields, hidden))
    this.excite = new Linear(hidden, fields, initializer(hidden, fields))
  }

  /** x[batch, fields, channels] -> the same shape. */
  forward<B extends Dim, D extends Dim>(
    x: Tensor<readonly [B, Fields, D], 'float32'>,
  ): Tensor<readonly [B, Fields, D], 'float32'> {
    const weights = relu(this.excite.forward(relu(this.squeeze.forward(mean(x as Loose, 2) as Loose)))) as Loose
    return multiply(x, broadcast(weights, 2, [x.shape[2]]) as Loose) as Loose
  }
}

export interface SqueezeExcitationOptions {
  readonly reduction?: number
  readonly initializer?: (fanIn: number, fanOut: number) => Initializer
}
