/** Sums, greatest elements and means over neighbouring axes. */
import type { Shape } from '../core/dim.js'
import type { Check, OrOpen, Without } from '../core/shapes.js'
import { defineOp, type ReferenceArray, requireDtype } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { divide, multiply, negate, square, subtract } from './arithmetic.js'
import { cast, equal } from './comparison.js'
import { broadcast, size } from './movement.js'
import {
  axisOf,
  bool,
  float32,
  floats,
  gradient,
  int32,
  ints,
  LIVE,
  type Loose,
  read,
  requireRange,
  someShape,
  threeLoops,
  typed,
} from './support.js'

type Range = { axis: number; count: number }

function reduce(
  { axis, count }: Range,
  x: ReferenceArray,
  start: number,
  step: (a: number, b: number) => number,
): ReferenceArray {
  const [, middle, inner] = threeLoops(x.shape, axis, count)
  return typed(x.dtype, x.shape.toSpliced(axis, count), (index) => {
    const base = Math.floor(index / inner) * middle * inner + (index % inner)
    let total = start
    for (let m = 0; m < middle; m++) total = step(total, read(x.data, base + m * inner))
    return x.dtype === 'int32' ? total | 0 : total
  })
}

const sumOp = defineOp<Range>({
  name: 'sum',
  infer([x]: readonly [TensorSpec], { axis, count }) {
    requireDtype('sum', 'x', x, 'float32', 'int32')
    requireRange('sum', x.shape, axis, count)
    return [{ dtype: x.dtype, shape: x.shape.toSpliced(axis, count) }]
  },
  vjp: gradient(({ inputs: [x], cotangents: [dy], attributes: { axis, count } }) => [
    broadcast(dy, axis, x.shape.slice(axis, axis + count)),
  ]),
  reference: ([x]: readonly [ReferenceArray], range) => [reduce(range, x, 0, (a, b) => a + b)],
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 5])], attributes: { axis: 0, count: 1 }, live: LIVE },
      { inputs: [floats(random, [LIVE, 37])], attributes: { axis: 1, count: 1 }, live: LIVE },
      { inputs: [floats(random, [5, LIVE, 7])], attributes: { axis: 0, count: 2 }, live: LIVE },
      { inputs: [floats(random, [LIVE, 3, 4])], attributes: { axis: 0, count: 3 }, live: LIVE },
      { inputs: [ints(random, someShape(random, 3), -99, 99)], attributes: { axis: 1, count: 1 } },
      { inputs: [floats(random, someShape(random, 4))], attributes: { axis: 1, count: 2 } },
      { inputs: [floats(random, [3, 0])], attributes: { axis: 1, count: 1 } },
      { inputs: [floats(random, [0, 3])], attributes: { axis: 1, count: 1 } },
    ],
    invalid: [
      {
        inputs: [bool([2])],
        attributes: { axis: 0, count: 1 },
        message: /^sum: x should be dtype float32 or int32 but got bool/,
      },
      {
        inputs: [float32([2, 3])],
        attributes: { axis: 1, count: 2 },
        message: /^sum: axes should be within shape \[2, 3\] but got \[1, 3\)/,
      },
    ],
  }),
})

const maxOp = defineOp<Range>({
  name: 'max',
  infer([x]: readonly [TensorSpec], { axis, count }) {
    requireDtype('max', 'x', x, 'float32')
    requireRange('max', x.shape, axis, count)
    return [float32(x.shape.toSpliced(axis, count))]
  },
  // Elements that share the maximum share its gradient equally.
  vjp: gradient(({ inputs: [x], outputs: [y], cotangents: [dy], attributes: { axis, count } }) => {
    const spread = (reduced: Loose): Loose => broadcast(reduced, axis, x.shape.slice(axis, axis + count))
    const winners: Loose = cast(equal(x, spread(y)), 'float32')
    return [multiply(winners, spread(divide(dy, sum(winners, axis, count))))]
  }),
  reference: ([x]: readonly [ReferenceArray], range) => [reduce(range, x, Number.NEGATIVE_INFINITY, Math.max)],
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [LIVE, 5])], attributes: { axis: 0, count: 1 }, live: LIVE },
      { inputs: [floats(random, [LIVE, 37])], attributes: { axis: 1, count: 1 }, live: LIVE },
      { inputs: [floats(random, [3, LIVE, 7])], attributes: { axis: 0, count: 2 }, live: LIVE },
      { inputs: [floats(random, someShape(random, 4))], attributes: { axis: 1, count: 2 } },
      { inputs: [floats(random, [3, 0])], attributes: { axis: 1, count: 1 } },
      // Ties: finite differences do not exist there, so only values are compared.
      {
        inputs: [typed('float32', [2, 4], (index) => index % 2)],
        attributes: { axis: 1, count: 1 },
        differentiable: [],
      },
    ],
    invalid: [
      {
        inputs: [int32([2])],
        attributes: { axis: 0, count: 1 },
        message: /^max: x should be dtype float32 but got int32/,
      },
      { inputs: [float32([])], attributes: { axis: 0, count: 1 }, message: /^max: axes should be within shape \[\]/ },
    ],
  }),
})

/** Axes [first, first + count), or all of them when no axis is given. */
function rangeOf(op: string, x: Tensor, axis: number | undefined, count: number): Range {
  return axis === undefined ? { axis: 0, count: x.shape.length } : { axis: axisOf(op, axis, x.shape.length), count }
}

/** The shape that a reduction leaves: rank 0 without an axis. */
type Reduced<Op extends string, S extends Shape, A extends number | undefined, C extends number> = [A] extends [number]
  ? Without<Op, S, A, C>
  : readonly []

/**
 * The sum over `count` axes from `axis` on, or over all; nothing sums to 0.
 *
 * Throws KAIROS_SHAPE when the axes are not there, KAIROS_DTYPE for bool.
 */
export function sum<
  S extends Shape,
  D extends 'float32' | 'int32',
  A extends number | undefined = undefined,
  C extends number = 1,
>(
  x: Tensor<S, D>,
  axis?: A & Check<Reduced<'sum', S, A, C>>,
  count: C = 1 as C,
): Tensor<OrOpen<Reduced<'sum', S, A, C>>, D> {
  const range = rangeOf('sum', x, axis, count)
  return range.count === 0 ? (x as Loose) : (sumOp([x], range)[0] as Loose)
}

/**
 * The greatest element over `count` axes from `axis` on, or over all; of nothing it is -Infinity. Elements that share
 * the maximum share its gradient equally.
 *
 * Throws KAIROS_SHAPE when the axes are not there, KAIROS_DTYPE unless float32.
 */
export function max<S extends Shape, A extends number | undefined = undefined, C extends number = 1>(
  x: Tensor<S, 'float32'>,
  axis?: A & Check<Reduced<'max', S, A, C>>,
  count: C = 1 as C,
): Tensor<OrOpen<Reduced<'max', S, A, C>>, 'float32'> {
  const range = rangeOf('max', x, axis, count)
  return range.count === 0 ? (x as Loose) : (maxOp([x], range)[0] as Loose)
}

/**
 * The mean over `count` axes from `axis` on, or over all, of live elements only; of nothing it is NaN.
 *
 * Throws KAIROS_SHAPE when the axes are not there, KAIROS_DTYPE unless float32.
 */
export function mean<S extends Shape, A extends number | undefined = undefined, C extends number = 1>(
  x: Tensor<S, 'float32'>,
  axis?: A & Check<Reduced<'mean', S, A, C>>,
  count: C = 1 as C,
): Tensor<OrOpen<Reduced<'mean', S, A, C>>, 'float32'> {
  const range = rangeOf('mean', x, axis, count)
  const total: Loose = sum(x as Loose, range.axis, range.count)
  return divide(total, size(x, range.axis, range.count))
}

/**
 * The variance over `count` axes from `axis` on, or over all: squared distances from the mean over their number less
 * `correction` (1, as PyTorch has it; 0 for the population's).
 *
 * Throws KAIROS_SHAPE when the axes are not there, KAIROS_DTYPE unless float32.
 */
export function variance<S extends Shape, A extends number | undefined = undefined, C extends number = 1>(
  x: Tensor<S, 'float32'>,
  axis?: A & Check<Reduced<'variance', S, A, C>>,
  count: C = 1 as C,
  { correction = 1 }: { readonly correction?: number } = {},
): Tensor<OrOpen<Reduced<'variance', S, A, C>>, 'float32'> {
  const range = rangeOf('variance', x, axis, count)
  const { axis: first, count: axes } = range
  const average = broadcast(mean(x as Loose, first, axes) as Loose, first, x.shape.slice(first, first + axes))
  const squares: Loose = sum(square(subtract(x as Loose, average as Loose)) as Loose, first, axes)
  return divide(squares, subtract(size(x, first, axes) as Loose, correction))
}

/**
 * The least element over `count` axes from `axis` on, or over all; of nothing it is Infinity. Elements that share the
 * minimum share its gradient equally.
 *
 * Throws KAIROS_SHAPE when the axes are not there, KAIROS_DTYPE unless float32.
 */
export function min<S extends Shape, A extends number | undefined = undefined, C extends number = 1>(
  x: Tensor<S, 'float32'>,
  axis?: A & Check<Reduced<'min', S, A, C>>,
  count: C = 1 as C,
): Tensor<OrOpen<Reduced<'min', S, A, C>>, 'float32'> {
  const range = rangeOf('min', x, axis, count)
  return negate(max(negate(x) as Loose, range.axis, range.count) as Loose) as Loose
}
