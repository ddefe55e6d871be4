import type { Dim } from '../core/dim.js'
import { ones, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { rmsNorm } from '../ops/index.js'

/** Root mean square normalisation over the last axis, with a gain per channel (Zhang and Sennrich 2019). */
export class RMSNorm<Channels extends number> {
  readonly weight: Tensor<readonly [Channels], 'float32'>

  constructor(
    channels: Channels,
    readonly epsilon = 1e-6,
  ) {
    this.weight = parameter([channels], ones)
  }

  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Channels], 'float32'>,
  ): Tensor<readonly [...Lead, Channels], 'float32'> {
    return rmsNorm(x, this.weight, { epsilon: this.epsilon }) as never
  }
}
