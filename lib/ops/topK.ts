/** The greatest elements along the last axis, with their places. */
import type { Dim, Shape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import { defineOp, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { squeeze } from './movement.js'
import {
  at,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  product,
  read,
  requireShape,
  typed,
} from './support.js'

const topKOp = defineOp<{ k: number }>({
  name: 'topK',
  infer([x]: readonly [TensorSpec], { k }) {
    requireDtype('topK', 'x', x, 'float32')
    requireRank('topK', 'x', x, 1)
    const count = at(x.shape, -1)
    // Against a size with symbols k is checked by live counts.
    if (!Number.isInteger(k) || k < 1 || (typeof count === 'number' && k > count)) {
      refuse('topK', 'k', `a whole number in [1, ${count}], the size of the last axis`, `${k}`)
    }
    const shape = x.shape.with(-1, k)
    return [float32(shape), int32(shape)]
  },
  vjp: gradient(({ inputs: [x], outputs: [, indices], cotangents: [dvalues] }) => [
    dvalues && (backwardOp([indices, dvalues], { dims: [at(x.shape, -1)] })[0] as Loose),
  ]),
  reference([x]: readonly [ReferenceArray], { k }) {
    const count = x.shape.at(-1) as number
    const shape = x.shape.with(-1, k)
    const rows = Array.from({ length: product(x.shape.slice(0, -1)) }, (_, row) => {
      const value = (index: number) => read(x.data, row * count + index)
      const order = Array.from({ length: count }, (_, index) => index)
      // A stable sort keeps equals in order of their index; NaN ranks behind every number.
      return order.sort((a, b) => {
        const [left, right] = [value(a), value(b)]
        if (Number.isNaN(left) || Number.isNaN(right)) return Number(Number.isNaN(left)) - Number(Number.isNaN(right))
        return left === right ? 0 : right > left ? 1 : -1
      })
    })
    const placeOf = (index: number) => read(rows[Math.floor(index / k)] as number[], index % k)
    return [
      typed('float32', shape, (index) => read(x.data, Math.floor(index / k) * count + placeOf(index))),
      typed('int32', shape, placeOf),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [distinct(random, [LIVE, 37])], attributes: { k: 5 }, live: LIVE },
      { inputs: [distinct(random, [2, LIVE, 7])], attributes: { k: 7 }, live: LIVE },
      { inputs: [distinct(random, [3, 300])], attributes: { k: 1 } },
      { inputs: [distinct(random, [500])], attributes: { k: 70 } },
      { inputs: [distinct(random, [0, 9])], attributes: { k: 3 } },
      // Few distinct values: ties everywhere, where differences do not exist.
      {
        inputs: [typed('float32', [4, 301], () => random.int(3))],
        attributes: { k: 150 },
        differentiable: [],
      },
      {
        inputs: [
          typed(
            'float32',
            [2, 6],
            (index) => [Number.NaN, 1, Number.NEGATIVE_INFINITY, -0, 0, Number.NaN][index % 6] as number,
          ),
        ],
        attributes: { k: 6 },
        differentiable: [],
      },
      // More rows of NaN than fit the first gathering.
      {
        inputs: [typed('float32', [1, 400], (index) => (index < 390 ? Number.NaN : index))],
        attributes: { k: 12 },
        differentiable: [],
      },
    ],
    invalid: [
      {
        inputs: [float32(['batch', 9])],
        attributes: { k: 10 },
        message: /^topK: k should be a whole number in \[1, 9\], the size of the last axis but got 10/,
      },
      {
        inputs: [float32([4, 'items'])],
        attributes: { k: 1.5 },
        message: /^topK: k should be a whole number in \[1, items\], the size of the last axis but got 1.5/,
      },
      { inputs: [float32([])], attributes: { k: 1 }, message: /^topK: x should be rank 1 or more but got shape \[\]/ },
      { inputs: [int32([3])], attributes: { k: 1 }, message: /^topK: x should be dtype float32 but got int32/ },
    ],
  }),
  flops: ([x]) => product(x as readonly number[]),
})

const backwardOp = defineOp<{ dims: readonly Dim[] }>({
  name: 'topKBackward',
  infer([indices, dvalues]: readonly [TensorSpec, TensorSpec], { dims }) {
    requireDtype('topKBackward', 'indices', indices, 'int32')
    requireRank('topKBackward', 'indices', indices, 1)
    requireDtype('topKBackward', 'dvalues', dvalues, 'float32')
    requireShape('topKBackward', 'dvalues', dvalues, indices.shape)
    return [float32(indices.shape.with(-1, dims[0] as Dim))]
  },
  vjp: 'the gradient of topK has none of its own here',
  reference([indices, dvalues]: readonly [ReferenceArray, ReferenceArray], { dims: [count] }) {
    const [k, width] = [indices.shape.at(-1) as number, count as number]
    const dx = typed('float32', indices.shape.with(-1, width), () => 0)
    dvalues.data.forEach((value, position) => {
      const index = read(indices.data, position)
      if (index < 0 || index >= width) {
        throw new KairosError('KAIROS_ID_RANGE', {
          op: 'topKBackward',
          argument: `indices, element ${position}`,
          expected: `in [0, ${width})`,
          got: `${index}`,
        })
      }
      dx.data[Math.floor(position / k) * width + index] =
        read(dx.data, Math.floor(position / k) * width + index) + value
    })
    return [dx]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [typed('int32', [LIVE, 3], () => random.int(11)), floats(random, [LIVE, 3])],
        attributes: { dims: [11] },
        live: LIVE,
      },
      { inputs: [typed('int32', [2, 5], (i) => i % 5), floats(random, [2, 5])], attributes: { dims: [5] } },
      { inputs: [typed('int32', [0, 2], () => 0), floats(random, [0, 2])], attributes: { dims: [4] } },
    ],
    invalid: [
      {
        inputs: [int32([2, 3]), float32([2, 4])],
        attributes: { dims: [9] },
        message: /^topKBackward: dvalues should be of shape \[2, 3\] but got \[2, 4\]/,
      },
    ],
  }),
})

/** Values apart from each other, so that a small step changes no order. */
function distinct(random: Random, shape: readonly number[]): ReferenceArray {
  const ranks = random.shuffle(Array.from({ length: product(shape) }, (_, index) => index))
  return typed('float32', shape, (index) => Math.fround(0.25 * read(ranks, index) - 8))
}

/**
 * The `k` greatest elements of each row of `x[..., N]`, falling, and their indices. Equal elements rank by index, NaN
 * ranks last. Gradients flow back to the chosen elements only.
 *
 * Throws KAIROS_SHAPE unless 1 <= k <= N, KAIROS_DTYPE unless float32.
 */
export function topK<Lead extends Shape, K extends number>(
  x: Tensor<readonly [...Lead, Dim], 'float32'>,
  k: K,
): { values: Tensor<readonly [...Lead, K], 'float32'>; indices: Tensor<readonly [...Lead, K], 'int32'> } {
  const [values, indices] = topKOp([x as Loose], { k })
  return { values: values as Loose, indices: indices as Loose }
}

/**
 * The index of the greatest element of each row along the last axis: the smallest among equals, NaN only where there
 * is nothing else. No gradient flows.
 *
 * Throws KAIROS_SHAPE for rows without elements, KAIROS_DTYPE unless float32.
 */
export function argmax<Lead extends Shape>(
  x: Tensor<readonly [...Lead, Dim], 'float32'>,
): Tensor<readonly [...Lead], 'int32'> {
  return squeeze(topK(x as Loose, 1).indices as Loose, -1) as Loose
}
