import type { Shape } from '../core/dim.js'
import { input } from '../graph/leaf.js'
import { isTraining } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { dropout } from '../ops/index.js'

/** Dropout while training, nothing otherwise (Srivastava et al. 2014); `compile` feeds the seed and the step. */
export class Dropout {
  constructor(readonly rate: number) {}

  forward<S extends Shape>(x: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
    if (!isTraining() || this.rate === 0) return x
    return dropout(x, { rate: this.rate, random: input('random', [2], 'int32') }) as never
  }
}
