import { type Initializer, parameter, uniform } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { linear, reshape } from '../ops/index.js'
import type { Loose } from '../ops/support.js'

/** `y = x W^T`: weights [out, in] uniform within 1 / sqrt(in), as `torch.nn.Linear` starts. */
export class Projection<In extends number, Out extends number> {
  readonly weight: Tensor<readonly [Out, In], 'float32'>

  constructor(inputs: In, outputs: Out, bound = 1 / Math.sqrt(inputs)) {
    const initializer: Initializer = uniform(-bound, bound)
    this.weight = parameter([outputs, inputs], initializer)
  }

  /** x[..., in] -> [..., out]. */
  forward(x: Loose): Loose {
    return linear(x, this.weight as Loose) as Loose
  }

  /** The weights of each head: [heads, out / heads, in]. */
  perHead(heads: number): Loose {
    const [outputs, inputs] = this.weight.shape
    return reshape(this.weight as Loose, [heads, outputs / heads, inputs]) as Loose
  }
}
