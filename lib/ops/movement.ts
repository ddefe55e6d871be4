/**
 * Ops that only move elements: they insert, reorder, join, cut and pad axes.
 *
 * Attributes named `shape` and `dims` hold sizes of the result, which may be symbols; kernels read them off their
 * buffers and never see them.
 */

import { type Dim, formatShape, multiplyDims, normalizeDim, type Shape, sameShape, sizeOf } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import type { Check, EndsWith, Inserted, OrOpen, Permuted, Replaced, Without } from '../core/shapes.js'
import { defineOp, type Op, type ReferenceArray, refuse } from '../graph/defineOp.js'
import { scalar } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { sum } from './reduction.js'
import {
  at,
  axisOf,
  float32,
  floats,
  gradient,
  ints,
  LIVE,
  type Loose,
  noGradient,
  product,
  read,
  requireRange,
  someShape,
  threeLoops,
  typed,
} from './support.js'

const literal = (dims: readonly Dim[]): number[] => dims as number[]

// Reshape ----------------------------------------------------------------------------------------------------------

const reshapeOp = defineOp<{ shape: readonly Dim[] }>({
  name: 'reshape',
  kernel: 'copy',
  alias: true,
  infer([x]: readonly [TensorSpec], { shape }) {
    if (sizeOf(x.shape) !== sizeOf(shape)) {
      refuse(
        'reshape',
        'shape',
        `of ${sizeOf(x.shape)} elements, as ${formatShape(x.shape)} has`,
        `${sizeOf(shape)} in ${formatShape(shape)}`,
      )
    }
    return [{ dtype: x.dtype, shape }]
  },
  vjp: gradient(({ inputs: [x], cotangents: [dy] }) => [reshape(dy, x.shape as Shape)]),
  reference: ([x]: readonly [ReferenceArray], { shape }) => [{ ...x, shape: literal(shape) }],
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 35])], attributes: { shape: [LIVE, 5, 7] }, live: LIVE },
      { inputs: [ints(random, [4, 3], -9, 9)], attributes: { shape: [2, 6] } },
      { inputs: [floats(random, [0, 3])], attributes: { shape: [5, 0] } },
      { inputs: [floats(random, [])], attributes: { shape: [1, 1] } },
    ],
    invalid: [
      {
        inputs: [float32([2, 3])],
        attributes: { shape: [5] },
        message: /^reshape: shape should be of 6 elements, as \[2, 3\] has but got 5 in \[5\]/,
      },
      {
        inputs: [float32(['batch', 6])],
        attributes: { shape: ['time', 6] },
        message: /^reshape: shape should be of 6\*batch elements/,
      },
    ],
  }),
})

/**
 * The same elements in another shape. `merge` and `split` say the common cases by axis, and keep types.
 *
 * Throws KAIROS_SHAPE when the number of elements differs.
 */
export function reshape<const S extends Shape, D extends DType>(x: Tensor<Shape, D>, shape: S): Tensor<S, D> {
  return reshapeOp([x], { shape: shape.map(normalizeDim) })[0] as Loose
}

/**
 * Makes one axis of `count` axes from `axis` on. Types know the size only if it is given: `merge(x, 0, 2, '50*batch')`.
 *
 * Throws KAIROS_SHAPE when the axes are not there, or the given size is not their product.
 */
export function merge<S extends Shape, D extends DType, A extends number, C extends number, const N extends Dim = Dim>(
  x: Tensor<S, D>,
  axis: A & Check<Replaced<'merge', S, A, readonly [N], C>>,
  count: C,
  size?: N,
): Tensor<OrOpen<Replaced<'merge', S, A, readonly [N], C>>, D> {
  const first = axisOf('merge', axis, x.shape.length)
  requireRange('merge', x.shape, first, count)
  const merged = givenSize('merge', multiplyDims(...x.shape.slice(first, first + count)), size)
  return reshape(x, x.shape.toSpliced(first, count, merged)) as Loose
}

/**
 * Makes several axes of one: `split(x, -1, [heads, 16])`.
 *
 * Throws KAIROS_SHAPE when the product of the sizes is not the axis' size.
 */
export function split<S extends Shape, D extends DType, A extends number, const Sizes extends Shape>(
  x: Tensor<S, D>,
  axis: A & Check<Replaced<'split', S, A, Sizes>>,
  sizes: Sizes,
): Tensor<OrOpen<Replaced<'split', S, A, Sizes>>, D> {
  const where = axisOf('split', axis, x.shape.length)
  const whole = at(x.shape, where)
  if (sizeOf(sizes) !== whole)
    refuse('split', 'sizes', `of product ${whole}`, `${formatShape(sizes)}, which is ${sizeOf(sizes)}`)
  return reshape(x, x.shape.toSpliced(where, 1, ...sizes)) as Loose
}

/**
 * Inserts an axis of size 1 before `axis`, which may be the rank.
 *
 * Throws KAIROS_SHAPE when the axis is beyond the rank.
 */
export function unsqueeze<S extends Shape, D extends DType, A extends number>(
  x: Tensor<S, D>,
  axis: A & Check<Inserted<'unsqueeze', S, A, readonly [1]>>,
): Tensor<OrOpen<Inserted<'unsqueeze', S, A, readonly [1]>>, D> {
  if (!Number.isInteger(axis) || axis < 0 || axis > x.shape.length) {
    refuse('unsqueeze', 'axis', `in [0, ${x.shape.length}] for shape ${formatShape(x.shape)}`, `${axis}`)
  }
  return reshape(x, x.shape.toSpliced(axis, 0, 1)) as Loose
}

/**
 * Takes away an axis of size 1.
 *
 * Throws KAIROS_SHAPE when the axis is not there or has another size.
 */
export function squeeze<S extends Shape, D extends DType, A extends number>(
  x: Tensor<S, D>,
  axis: A & Check<Without<'squeeze', S, A>>,
): Tensor<OrOpen<Without<'squeeze', S, A>>, D> {
  const first = axisOf('squeeze', axis, x.shape.length)
  if (at(x.shape, first) !== 1) refuse('squeeze', 'axis', 'one of size 1', `${first} of ${formatShape(x.shape)}`)
  return reshape(x, x.shape.toSpliced(first, 1)) as Loose
}

/** A size that the caller wrote for the types: the truth, or a refusal. */
export function givenSize(op: string, computed: Dim, given: Dim | undefined): Dim {
  if (given !== undefined && given !== computed) refuse(op, 'size', `${computed}`, `${given}`, 'Write it exactly so')
  return computed
}

/**
 * Asserts the shape of a tensor whose dims are open, so that types know it.
 *
 * Throws KAIROS_SHAPE when it is another one.
 */
export function assumeShape<const S extends Shape, D extends DType>(x: Tensor<Shape, D>, shape: S): Tensor<S, D> {
  if (!sameShape(x.shape, shape)) refuse('assumeShape', 'x', `of shape ${formatShape(shape)}`, formatShape(x.shape))
  return x as Tensor<S, D>
}

// Broadcast --------------------------------------------------------------------------------------------------------

const broadcastOp = defineOp<{ axis: number; count: number; dims: readonly Dim[] }>({
  name: 'broadcast',
  broadcasts: true,
  infer([x]: readonly [TensorSpec], { axis, count, dims }) {
    if (!Number.isInteger(axis) || axis < 0 || axis > x.shape.length) {
      refuse('broadcast', 'axis', `in [0, ${x.shape.length}] for shape ${formatShape(x.shape)}`, `${axis}`)
    }
    if (dims.length !== count) refuse('broadcast', 'dims', `${count} sizes`, formatShape(dims))
    return [{ dtype: x.dtype, shape: x.shape.toSpliced(axis, 0, ...dims) }]
  },
  vjp: gradient(({ cotangents: [dy], attributes: { axis, count } }) => [sum(dy, axis, count)]),
  reference([x]: readonly [ReferenceArray], { axis, count, dims }) {
    const shape = x.shape.toSpliced(axis, 0, ...literal(dims))
    const [, repeats, inner] = threeLoops(shape, axis, count)
    return [typed(x.dtype, shape, (i) => read(x.data, Math.floor(i / (repeats * inner)) * inner + (i % inner)))]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [])], attributes: { axis: 0, count: 2, dims: [LIVE, 5] }, live: LIVE },
      { inputs: [floats(random, [7])], attributes: { axis: 0, count: 2, dims: [LIVE, 3] }, live: LIVE },
      { inputs: [floats(random, [LIVE, 5])], attributes: { axis: 1, count: 1, dims: [3] }, live: LIVE },
      { inputs: [floats(random, [LIVE])], attributes: { axis: 1, count: 1, dims: [17] }, live: LIVE },
      { inputs: [ints(random, [5], -9, 9)], attributes: { axis: 1, count: 1, dims: [4] } },
      { inputs: [floats(random, [3])], attributes: { axis: 1, count: 1, dims: [0] } },
    ],
    invalid: [
      {
        inputs: [float32([2])],
        attributes: { axis: 3, count: 1, dims: [4] },
        message: /^broadcast: axis should be in \[0, 1\] for shape \[2\] but got 3/,
      },
      {
        inputs: [float32([2])],
        attributes: { axis: 0, count: 2, dims: [4] },
        message: /^broadcast: dims should be 2 sizes/,
      },
    ],
  }),
})

/**
 * Repeats `x` along new axes, inserted before `axis`: `broadcast(x[batch, 64], 1, [50])` is `[batch, 50, 64]`. The
 * mirror of `sum`.
 *
 * Throws KAIROS_SHAPE when the axis is beyond the rank.
 */
export function broadcast<S extends Shape, D extends DType, A extends number, const Dims extends Shape>(
  x: Tensor<S, D>,
  axis: A & Check<Inserted<'broadcast', S, A, Dims>>,
  dims: Dims,
): Tensor<OrOpen<Inserted<'broadcast', S, A, Dims>>, D> {
  if (dims.length === 0) return x as Loose
  return broadcastOp([x], { axis, count: dims.length, dims: dims.map(normalizeDim) })[0] as Loose
}

/**
 * Repeats `x` along new leading axes until it has the shape, which must end with the operand's.
 *
 * Throws KAIROS_SHAPE when it does not.
 */
export function broadcastTo<T extends Shape, D extends DType, const S extends Shape>(
  x: Tensor<T, D>,
  shape: S & Check<EndsWith<'broadcastTo', S, T>>,
): Tensor<S, D> {
  const target = (shape as Shape).map(normalizeDim)
  const inserted = target.length - x.shape.length
  if (inserted < 0 || !sameShape(target.slice(inserted), x.shape)) {
    refuse('broadcastTo', 'shape', `one that ends with ${formatShape(x.shape)}`, formatShape(target))
  }
  return broadcast(x as Loose, 0, target.slice(0, inserted)) as Loose
}

/** Repeats `x` along new leading axes until it has the shape of `like`. */
export function broadcastLike<T extends Shape, D extends DType, S extends Shape>(
  x: Tensor<T, D>,
  like: Tensor<S> & Check<EndsWith<'broadcastLike', S, T>>,
): Tensor<S, D> {
  return broadcastTo(x as Loose, (like as Tensor).shape) as Loose
}

/** A tensor with one value throughout. */
export function full<const S extends Shape, D extends DType = 'float32'>(
  shape: S,
  value: number,
  dtype?: D,
): Tensor<S, D> {
  return broadcastTo(scalar(value, dtype) as Loose, shape as Shape) as Loose
}

// Transpose --------------------------------------------------------------------------------------------------------

const transposeOp: Op<{ permutation: readonly number[] }> = defineOp<{ permutation: readonly number[] }>({
  name: 'transpose',
  permutes: true,
  infer([x]: readonly [TensorSpec], { permutation }) {
    const rank = x.shape.length
    if (permutation.length !== rank || !permutation.toSorted((a, b) => a - b).every((axis, index) => axis === index)) {
      refuse(
        'transpose',
        'permutation',
        `an order of the axes 0 to ${rank - 1} of ${formatShape(x.shape)}`,
        formatShape(permutation),
      )
    }
    return [{ dtype: x.dtype, shape: permutation.map((axis) => at(x.shape, axis)) }]
  },
  vjp: gradient(({ cotangents: [dy], attributes: { permutation } }) => [
    transposeOp([dy], { permutation: permutation.map((_, axis) => permutation.indexOf(axis)) })[0] as Loose,
  ]),
  reference([x]: readonly [ReferenceArray], { permutation }) {
    const shape = permutation.map((axis) => read(x.shape, axis))
    const strides = permutation.map((axis) => product(x.shape.slice(axis + 1)))
    return [
      typed(x.dtype, shape, (flat) => {
        let left = flat
        let source = 0
        for (let axis = shape.length - 1; axis >= 0; axis--) {
          const size = read(shape, axis)
          source += (left % size) * read(strides, axis)
          left = Math.floor(left / size)
        }
        return read(x.data, source)
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 5])], attributes: { permutation: [1, 0] }, live: LIVE },
      { inputs: [floats(random, [LIVE, 17, 33])], attributes: { permutation: [0, 2, 1] }, live: LIVE },
      { inputs: [floats(random, [2, LIVE, 3, 5])], attributes: { permutation: [0, 2, 1, 3] }, live: LIVE },
      { inputs: [ints(random, [2, 3, 4], -9, 9)], attributes: { permutation: [2, 0, 1] } },
      { inputs: [floats(random, [0, 3])], attributes: { permutation: [1, 0] } },
      { inputs: [floats(random, someShape(random, 4))], attributes: { permutation: [3, 1, 0, 2] } },
    ],
    invalid: [
      {
        inputs: [float32([2, 3])],
        attributes: { permutation: [0, 0] },
        message: /^transpose: permutation should be an order of the axes 0 to 1 of \[2, 3\] but got \[0, 0\]/,
      },
    ],
  }),
})

/**
 * Reorders axes: axis i of the result is axis `permutation[i]` of `x`.
 *
 * Throws KAIROS_SHAPE when `permutation` does not hold every axis once.
 */
export function transpose<S extends Shape, D extends DType, const P extends readonly number[]>(
  x: Tensor<S, D>,
  permutation: P & Check<Permuted<S, P>>,
): Tensor<OrOpen<Permuted<S, P>>, D> {
  return transposeOp([x], { permutation: [...(permutation as P)] })[0] as Loose
}

// Size -------------------------------------------------------------------------------------------------------------

const sizeOp = defineOp<{ axis: number; count: number }>({
  name: 'size',
  infer([x]: readonly [TensorSpec], { axis, count }) {
    requireRange('size', x.shape, axis, count)
    return [float32([])]
  },
  vjp: noGradient,
  reference: ([x]: readonly [ReferenceArray], { axis, count }) => [
    typed('float32', [], () => threeLoops(x.shape, axis, count)[1]),
  ],
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 5])], attributes: { axis: 0, count: 2 }, live: LIVE },
      { inputs: [ints(random, [3, LIVE], -9, 9)], attributes: { axis: 1, count: 1 }, live: LIVE },
      { inputs: [floats(random, [2, 0])], attributes: { axis: 0, count: 2 } },
      { inputs: [floats(random, [])], attributes: { axis: 0, count: 0 } },
    ],
    invalid: [
      {
        inputs: [float32([2])],
        attributes: { axis: 1, count: 1 },
        message: /^size: axes should be within shape \[2\] but got \[1, 2\)/,
      },
    ],
  }),
})

/**
 * The number of elements of an axis, or of all, as a float32: a literal where it is known, else the run's live count.
 *
 * Throws KAIROS_SHAPE when the axis is not there.
 */
export function size(x: Tensor, axis?: number, count = 1): Tensor<readonly [], 'float32'> {
  const [first, length] = axis === undefined ? [0, x.shape.length] : [axisOf('size', axis, x.shape.length), count]
  requireRange('size', x.shape, first, length)
  const known = sizeOf(x.shape.slice(first, first + length))
  return typeof known === 'number' ? scalar(known) : (sizeOp([x], { axis: first, count: length })[0] as Loose)
}
