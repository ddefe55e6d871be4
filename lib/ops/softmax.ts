/** Softmax over the last axis. */
import type { Shape } from '../core/dim.js'
import { defineOp, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { float32, floats, gradient, int32, LIVE, type Loose, read, requireShape, someShapes, typed } from './support.js'

/** Applies a function to each row along the last axis; `start` is the row's first element. */
function byRow(x: ReferenceArray, row: (values: Float64Array, start: number) => Float64Array): ReferenceArray {
  const width = x.shape.at(-1) as number
  const data = new Float64Array(x.data.length)
  for (let start = 0; start < data.length; start += width)
    data.set(row(x.data.subarray(start, start + width), start), start)
  return { ...x, data }
}

const softmaxOp = defineOp({
  name: 'softmax',
  infer([x]: readonly [TensorSpec]) {
    requireDtype('softmax', 'x', x, 'float32')
    requireRank('softmax', 'x', x, 1)
    return [x]
  },
  vjp: gradient(({ outputs: [y], cotangents: [dy] }) => [backwardOp([y, dy], {})[0] as Loose]),
  reference([x]: readonly [ReferenceArray]) {
    return [
      byRow(x, (row) => {
        const greatest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
        const total = row.reduce((sum, value) => sum + Math.exp(value - greatest), 0)
        return row.map((value) => Math.exp(value - greatest) / total)
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      ...someShapes(random, 2).map((shape) => ({ inputs: [floats(random, shape)], attributes: {} })),
      { inputs: [floats(random, [LIVE, 37])], attributes: {}, live: LIVE },
      { inputs: [floats(random, [3, 5, LIVE])], attributes: {}, live: LIVE },
      // Large values must not overflow.
      { inputs: [typed('float32', [2, 3], (index) => 1000 * (index % 3))], attributes: {} },
    ],
    invalid: [
      { inputs: [int32([2, 3])], attributes: {}, message: /^softmax: x should be dtype float32 but got int32/ },
      { inputs: [float32([])], attributes: {}, message: /^softmax: x should be rank 1 or more but got shape \[\]/ },
    ],
  }),
  flops: ([x]) => 5 * (x as readonly number[]).reduce((a, b) => a * b, 1),
})

const backwardOp = defineOp({
  name: 'softmaxBackward',
  infer([y, dy]: readonly [TensorSpec, TensorSpec]) {
    requireDtype('softmaxBackward', 'y', y, 'float32')
    requireDtype('softmaxBackward', 'dy', dy, 'float32')
    requireRank('softmaxBackward', 'y', y, 1)
    requireShape('softmaxBackward', 'dy', dy, y.shape)
    return [y]
  },
  vjp: 'softmax has no second derivative here',
  reference([y, dy]: readonly [ReferenceArray, ReferenceArray]) {
    return [
      byRow(y, (row, start) => {
        const inner = row.reduce((sum, value, i) => sum + value * read(dy.data, start + i), 0)
        return row.map((value, i) => value * (read(dy.data, start + i) - inner))
      }),
    ]
  },
  cases: (random) => ({
    valid: [...someShapes(random, 2), [LIVE, 37]].map((shape) => ({
      inputs: [floats(random, shape, 0, 1), floats(random, shape)],
      attributes: {},
      ...(shape[0] === LIVE ? { live: LIVE } : {}),
    })),
    invalid: [
      {
        inputs: [float32([2, 3]), float32([2, 4])],
        attributes: {},
        message: /^softmaxBackward: dy should be of shape \[2, 3\] but got \[2, 4\]/,
      },
    ],
  }),
})

/**
 * exp(x) over its sum along the last axis; an axis without elements stays so.
 *
 * Throws KAIROS_SHAPE for rank 0, KAIROS_DTYPE unless float32.
 */
export function softmax<S extends Shape>(x: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
  return softmaxOp([x], {})[0] as Loose
}
