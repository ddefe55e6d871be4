/** Cuts a part out of an axis, and its mirror: zeros around a part. */

import { addDims, type Dim, normalizeDim, type Shape, subtractDims } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import type { Check, OrOpen, Replaced } from '../core/shapes.js'
import { defineOp, type ReferenceArray, refuse } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import {
  at,
  axisOf,
  bool,
  float32,
  floats,
  gradient,
  ints,
  LIVE,
  type Loose,
  read,
  refuseArgument,
  requireRange,
  threeLoops,
  typed,
} from './support.js'

const sliceOp = defineOp<{ axis: number; start: number; dims: readonly Dim[] }>({
  name: 'slice',
  infer([x]: readonly [TensorSpec], { axis, start, dims: [length] }) {
    requireRange('slice', x.shape, axis, 1)
    if (!Number.isInteger(start) || start < 0) refuseArgument('slice', 'start', 'a whole number of at least 0', start)
    const left = subtractDims(at(x.shape, axis), addDims(start, length as Dim))
    // A difference with symbols is decided by live counts, where the kernel checks it again.
    if (typeof left === 'number' && left < 0) {
      refuse(
        'slice',
        'start and length',
        `within the ${at(x.shape, axis)} of axis ${axis}`,
        `[${start}, ${addDims(start, length as Dim)})`,
      )
    }
    return [{ dtype: x.dtype, shape: x.shape.with(axis, length as Dim) }]
  },
  vjp: gradient(({ inputs: [x], cotangents: [dy], attributes: { axis, start } }) => [
    padOp([dy], { axis, before: start, dims: [at(x.shape, axis)] })[0] as Loose,
  ]),
  reference([x]: readonly [ReferenceArray], { axis, start, dims: [length] }) {
    const shape = x.shape.with(axis, length as number)
    const [, width, inner] = threeLoops(shape, axis)
    const row = read(x.shape, axis) * inner
    const kept = width * inner
    return [typed(x.dtype, shape, (i) => read(x.data, Math.floor(i / kept) * row + start * inner + (i % kept)))]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 5])], attributes: { axis: 1, start: 1, dims: [3] }, live: LIVE },
      { inputs: [floats(random, [5, LIVE, 3])], attributes: { axis: 0, start: 2, dims: [2] }, live: LIVE },
      { inputs: [ints(random, [7], -9, 9)], attributes: { axis: 0, start: 6, dims: [1] } },
      { inputs: [floats(random, [3, 4])], attributes: { axis: 1, start: 4, dims: [0] } },
    ],
    invalid: [
      {
        inputs: [float32([2, 3])],
        attributes: { axis: 1, start: 2, dims: [2] },
        message: /^slice: start and length should be within the 3 of axis 1 but got \[2, 4\)/,
      },
      {
        inputs: [float32([2])],
        attributes: { axis: 0, start: -1, dims: [1] },
        message: /^slice: start should be a whole number/,
      },
    ],
  }),
})

/** Any axis of any tensor; the whole of it is the tensor itself. */
export const sliceLoose = (x: Loose, axis: number, start: number, length: Dim): Loose =>
  start === 0 && length === at(x.shape, axis) ? x : (sliceOp([x], { axis, start, dims: [length] })[0] as Loose)

/**
 * `length` elements from `start` on, along an axis.
 *
 * Throws KAIROS_SHAPE when they reach beyond the axis, KAIROS_ARGUMENT when `start` is no whole number.
 */
export function slice<S extends Shape, D extends DType, A extends number, const L extends Dim>(
  x: Tensor<S, D>,
  axis: A & Check<Replaced<'slice', S, A, readonly [L]>>,
  start: number,
  length: L,
): Tensor<OrOpen<Replaced<'slice', S, A, readonly [L]>>, D> {
  return sliceLoose(x as Loose, axisOf('slice', axis, x.shape.length), start, normalizeDim(length))
}

const padOp = defineOp<{ axis: number; before: number; dims: readonly Dim[] }>({
  name: 'pad',
  infer([x]: readonly [TensorSpec], { axis, before, dims: [size] }) {
    requireRange('pad', x.shape, axis, 1)
    if (!Number.isInteger(before) || before < 0) refuseArgument('pad', 'before', 'a whole number of at least 0', before)
    const needed = addDims(before, at(x.shape, axis))
    const left = subtractDims(size as Dim, needed)
    if (typeof left === 'number' && left < 0) refuse('pad', 'size', `at least ${needed}`, `${size}`)
    return [{ dtype: x.dtype, shape: x.shape.with(axis, size as Dim) }]
  },
  vjp: gradient(({ inputs: [x], cotangents: [dy], attributes: { axis, before } }) => [
    sliceLoose(dy, axis, before, at(x.shape, axis)),
  ]),
  reference([x]: readonly [ReferenceArray], { axis, before, dims: [size] }) {
    const shape = x.shape.with(axis, size as number)
    const [, width, inner] = threeLoops(shape, axis)
    const row = read(x.shape, axis) * inner
    return [
      typed(x.dtype, shape, (i) => {
        const within = (i % (width * inner)) - before * inner
        return within >= 0 && within < row ? read(x.data, Math.floor(i / (width * inner)) * row + within) : 0
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 3])], attributes: { axis: 1, before: 2, dims: [7] }, live: LIVE },
      { inputs: [ints(random, [2, 3], -9, 9)], attributes: { axis: 0, before: 0, dims: [5] } },
      { inputs: [floats(random, [2, 0])], attributes: { axis: 1, before: 1, dims: [3] } },
      { inputs: [floats(random, [4])], attributes: { axis: 0, before: 0, dims: [4] } },
    ],
    invalid: [
      {
        inputs: [float32([4])],
        attributes: { axis: 0, before: 2, dims: [5] },
        message: /^pad: size should be at least 6 but got 5/,
      },
      {
        inputs: [bool([4])],
        attributes: { axis: 2, before: 0, dims: [5] },
        message: /^pad: axes should be within shape \[4\]/,
      },
    ],
  }),
})

/**
 * Zeros before and after `x` along an axis, until it has `size`; `before` of them come first.
 *
 * Throws KAIROS_SHAPE when `size` is too small, KAIROS_ARGUMENT when `before` is no whole number.
 */
export function pad<S extends Shape, D extends DType, A extends number, const N extends Dim>(
  x: Tensor<S, D>,
  axis: A & Check<Replaced<'pad', S, A, readonly [N]>>,
  before: number,
  size: N,
): Tensor<OrOpen<Replaced<'pad', S, A, readonly [N]>>, D> {
  return padOp([x], { axis: axisOf('pad', axis, x.shape.length), before, dims: [normalizeDim(size)] })[0] as Loose
}
