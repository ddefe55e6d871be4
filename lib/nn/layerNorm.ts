import type { Dim } from '../core/dim.js'
import { ones, parameter, zeros } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { layerNorm } from '../ops/index.js'

/** Layer normalisation over the last axis, with a gain and a bias per channel (Ba et al. 2016). */
export class LayerNorm<Channels extends number> {
  readonly weight: Tensor<readonly [Channels], 'float32'>
  readonly bias: Tensor<readonly [Channels], 'float32'>

  constructor(
    channels: Channels,
    readonly epsilon = 1e-12,
  ) {
    this.weight = parameter([channels], ones)
    this.bias = parameter([channels], zeros)
  }

  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Channels], 'float32'>,
  ): Tensor<readonly [...Lead, Channels], 'float32'> {
    return layerNorm(x, this.weight, this.bias, { epsilon: this.epsilon }) as never
  }
}
