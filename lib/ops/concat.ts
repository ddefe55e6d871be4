/** Joins tensors along an axis. */

import { addDims, type Dim, formatShape, type Shape, sameShape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { AddSizes, Check, Cut, Inserted, IsOpen, OrOpen, SameDim, ShapeError } from '../core/shapes.js'
import { defineOp, type ReferenceArray, refuse, requireDtype } from '../graph/defineOp.js'
import type { Tensor } from '../graph/node.js'
import { givenSize, unsqueeze } from './movement.js'
import { sliceLoose } from './slice.js'
import {
  array,
  at,
  axisOf,
  float32,
  floats,
  gradient,
  int32,
  ints,
  LIVE,
  type Loose,
  read,
  requireRange,
  threeLoops,
} from './support.js'

const concatOp = defineOp<{ axis: number }>({
  name: 'concat',
  infer(inputs, { axis }) {
    const [first, ...others] = inputs
    if (!first || inputs.length > 64) refuse('concat', 'tensors', '1 to 64 tensors', `${inputs.length}`)
    requireRange('concat', first.shape, axis, 1)
    others.forEach((other, index) => {
      const argument = `tensors[${index + 1}]`
      requireDtype('concat', argument, other, first.dtype)
      const wanted = first.shape.with(axis, other.shape[axis] ?? 0)
      if (!sameShape(other.shape, wanted)) {
        refuse(
          'concat',
          argument,
          `of shape ${formatShape(first.shape)} except at axis ${axis}`,
          formatShape(other.shape),
        )
      }
    })
    return [
      { dtype: first.dtype, shape: first.shape.with(axis, addDims(...inputs.map(({ shape }) => at(shape, axis)))) },
    ]
  },
  vjp: gradient(({ inputs, cotangents: [dy], attributes: { axis } }) => {
    let start: Dim = 0
    return inputs.map((piece) => {
      const length = at(piece.shape, axis)
      const from = start
      start = addDims(start, length)
      return typeof from === 'number' ? sliceLoose(dy, axis, from, length) : refuseStart(from)
    })
  }),
  reference(inputs, { axis }) {
    const first = inputs[0] as ReferenceArray
    const shape = first.shape.with(
      axis,
      inputs.reduce((width, piece) => width + read(piece.shape, axis), 0),
    )
    const [outer, , inner] = threeLoops(shape, axis)
    const joined = array(shape)
    let written = 0
    for (let o = 0; o < outer; o++) {
      for (const piece of inputs) {
        const row = read(piece.shape, axis) * inner
        joined.data.set(piece.data.subarray(o * row, (o + 1) * row), written)
        written += row
      }
    }
    return [{ ...joined, dtype: first.dtype }]
  },
  cases: (random) => ({
    valid: [
      { inputs: [2, 3, 1].map((n) => floats(random, [LIVE, n])), attributes: { axis: 1 }, live: LIVE },
      { inputs: [floats(random, [3, 5]), floats(random, [LIVE, 5])], attributes: { axis: 0 }, live: LIVE },
      { inputs: [floats(random, [2, 0, 3]), floats(random, [2, 4, 3])], attributes: { axis: 1 } },
      { inputs: [ints(random, [3], -9, 9), ints(random, [2], -9, 9)], attributes: { axis: 0 } },
      { inputs: [floats(random, [4, 17])], attributes: { axis: 0 } },
    ],
    invalid: [
      {
        inputs: [float32([2, 3]), float32([4, 3])],
        attributes: { axis: 1 },
        message: /^concat: tensors\[1\] should be of shape \[2, 3\] except at axis 1 but got \[4, 3\]/,
      },
      {
        inputs: [float32([2]), int32([2])],
        attributes: { axis: 0 },
        message: /^concat: tensors\[1\] should be dtype float32 but got int32/,
      },
      { inputs: [float32([2])], attributes: { axis: 1 }, message: /^concat: axes should be within shape \[2\]/ },
    ],
  }),
})

function refuseStart(start: Dim): never {
  throw new KairosError('KAIROS_GRADIENT', {
    op: 'concat',
    argument: 'tensors',
    expected: 'literal sizes before the last piece, so that gradients can be cut apart',
    got: `a piece that starts at ${start}`,
    hint: 'Put the piece whose size is a name last',
  })
}

/** What the first piece has before and after the axis: all pieces must have it. */
type Around<F, A extends number> =
  F extends Tensor<infer S>
    ? Cut<'concat', S, A> extends [infer Before extends Shape, readonly [Dim, ...infer After extends Shape]]
      ? [Before, After]
      : ShapeError<`concat: axis ${A} is outside a shape of rank ${S['length']}`>
    : never

/** One check per piece; only a piece that fails it pays for its sentence. */
type Pieces<T extends readonly unknown[], A extends number> =
  Around<T[0], A> extends [infer Before extends Shape, infer After extends Shape]
    ? {
        readonly [K in keyof T]: T[K] extends Tensor<readonly [...Before, Dim, ...After], TypeOf<T[0]>>
          ? unknown
          : Check<Difference<T[0], T[K], Before, After>>
      }
    : unknown
type TypeOf<T> = T extends Tensor<Shape, infer D> ? D : DType
type Difference<F, P, Before extends Shape, After extends Shape> = [TypeOf<P>] extends [TypeOf<F>]
  ? P extends Tensor<infer S>
    ? Agree<readonly [...Before, Dim, ...After], S>
    : unknown
  : ShapeError<`concat: the first piece is ${TypeOf<F>} but this one ${TypeOf<P>}`>
type Agree<S extends Shape, T extends Shape> =
  IsOpen<T> extends true
    ? unknown
    : S extends readonly [infer X extends Dim, ...infer SR extends Shape]
      ? T extends readonly [infer Y extends Dim, ...infer TR extends Shape]
        ? SameDim<X, Y> extends true
          ? Agree<SR, TR>
          : ShapeError<`concat: the first piece has ${X} where this one has ${Y}`>
        : ShapeError<'concat: this piece has fewer axes than the first'>
      : T extends readonly [Dim, ...Shape]
        ? ShapeError<'concat: this piece has more axes than the first'>
        : unknown

type Widths<
  T extends readonly unknown[],
  Before extends Shape,
  After extends Shape,
  Total extends Dim = 0,
> = T extends readonly [Tensor<infer S>, ...infer Rest]
  ? S extends readonly [...Before, infer Width extends Dim, ...After]
    ? Widths<Rest, Before, After, AddSizes<Total, Width>>
    : Dim
  : Total
type Concatenated<T extends readonly unknown[], A extends number, N extends Dim> = T extends readonly [
  Tensor,
  ...Tensor[],
]
  ? Around<T[0], A> extends [infer Before extends Shape, infer After extends Shape]
    ? IsOpen<Before> extends true
      ? Shape
      : readonly [...Before, Dim extends N ? Widths<T, Before, After> : N, ...After]
    : Around<T[0], A>
  : Shape

/**
 * Joins tensors along an axis. Literal sizes add up in the type; when one is a name, give the sum for the type to know
 * it: `concat([a, b], 0, 'batch+time')`.
 *
 * Throws KAIROS_SHAPE when other axes differ or the given size is not the sum, KAIROS_DTYPE when types differ.
 */
export function concat<const T extends readonly Tensor[], A extends number, const N extends Dim = Dim>(
  tensors: readonly [...T] & Pieces<T, A>,
  axis: A & Check<Around<T[0], A>>,
  size?: N,
): Tensor<OrOpen<Concatenated<T, A, N>>, TypeOf<T[0]>> {
  const pieces = tensors as readonly Tensor[]
  const rank = pieces[0]?.shape.length ?? 0
  const joined = concatOp(pieces, { axis: axisOf('concat', axis, rank) })[0] as Loose
  givenSize('concat', joined.shape.at(axis), size)
  return joined
}

/** The first piece's shape with an axis for the pieces. */
type Stacked<T extends readonly unknown[], A extends number> =
  T[0] extends Tensor<infer S> ? Inserted<'stack', S, A, readonly [T['length']]> : Shape

/**
 * Joins tensors of one shape along a new axis, inserted before `axis`, which may be the rank.
 *
 * Throws KAIROS_SHAPE when shapes differ or the axis is beyond the rank, KAIROS_DTYPE when types differ.
 */
export function stack<const T extends readonly Tensor[], A extends number>(
  tensors: readonly [...T],
  axis: A & Check<Stacked<T, A>>,
): Tensor<OrOpen<Stacked<T, A>>, TypeOf<T[0]>> {
  const [first, ...others] = tensors as readonly Tensor[]
  others.forEach((other, index) => {
    if (first && !sameShape(other.shape, first.shape)) {
      refuse('stack', `tensors[${index + 1}]`, `of shape ${formatShape(first.shape)}`, formatShape(other.shape))
    }
  })
  const pieces = (tensors as readonly Tensor[]).map((piece) => unsqueeze(piece as Loose, axis) as Loose)
  return concatOp(pieces, { axis })[0] as Loose
}
