import type { Dim } from '../core/dim.js'
import { type Initializer, normal, parameter, zeros } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { linear } from '../ops/index.js'

/** `y = x W^T + b`, weights stored `[out, in]` as in PyTorch, so that its state dicts fit. */
export class Linear<In extends number, Out extends number> {
  readonly weight: Tensor<readonly [Out, In], 'float32'>
  readonly bias: Tensor<readonly [Out], 'float32'>

  constructor(inputs: In, outputs: Out, initializer: Initializer = normal(0.02), biasInitializer: Initializer = zeros) {
    this.weight = parameter([outputs, inputs], initializer)
    this.bias = parameter([outputs], biasInitializer)
  }

  /** x[..., in] -> [..., out]. Throws KAIROS_SHAPE when the last axis of `x` is not `in`. */
  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, In], 'float32'>,
  ): Tensor<readonly [...Lead, Out], 'float32'> {
    return linear(x, this.weight, { bias: this.bias })
  }
}
