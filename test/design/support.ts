/** A small model that goes through every part that must respect live counts. */
import { createParameters } from '../../lib/graph/stores.js'
import { field, LayerNorm, Linear, normal, parameter, type Tensor } from '../../lib/index.js'
import {
  add,
  embedding,
  gelu,
  matmul,
  max,
  mean,
  merge,
  multiply,
  softmax,
  square,
  subtract,
  sum,
} from '../../lib/ops/index.js'
import type { ParameterSet } from '../../lib/runtime/index.js'

export const schema = {
  ids: field('int32', 'batch', 3),
  x: field('float32', 'batch', 8),
  target: field('float32', 'batch'),
}

export class SmallModel {
  readonly table = parameter([11, 8], normal(0.5))
  readonly hidden = new Linear(8, 8, normal(0.3))
  readonly norm = new LayerNorm(8, 1e-5)
  readonly head = parameter([8, 1], normal(0.3))

  /** ids[batch, 3], x[batch, 8] -> [batch] */
  score(
    ids: Tensor<readonly ['batch', 3], 'int32'>,
    x: Tensor<readonly ['batch', 8], 'float32'>,
  ): Tensor<readonly ['batch'], 'float32'> {
    const looked = embedding(this.table, ids)
    const pooled = add(sum(looked, 1), max(looked, 1))
    const hidden = gelu(this.hidden.forward(add(pooled, x)))
    const normed = this.norm.forward(multiply(softmax(hidden), hidden))
    return merge(matmul(normed, this.head), 0, 2, 'batch')
  }
}

export const squaredError = (
  score: Tensor<readonly ['batch'], 'float32'>,
  target: Tensor<readonly ['batch'], 'float32'>,
) => mean(square(subtract(score, target)))

export function batchOf(count: number, seed = 1) {
  let state = seed * 2654435761
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  return {
    ids: Int32Array.from({ length: count * 3 }, () => Math.floor(random() * 11)),
    x: Float32Array.from({ length: count * 8 }, () => random() * 2 - 1),
    target: Float32Array.from({ length: count }, () => random()),
  }
}

export const freshParameters = (model: object, seed = 3): ParameterSet => createParameters(model, seed)
