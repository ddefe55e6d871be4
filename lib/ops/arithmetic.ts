/** Elementwise arithmetic. The second operand may be a number. */
import type { Dim, Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { cast, greater, greaterEqual } from './comparison.js'
import { type Binary, binary, type Unary, unary } from './elementwise.js'
import { broadcastLike } from './movement.js'
import { type Loose, refuseArgument } from './support.js'
import { log } from './transcendental.js'

type Number32 = 'float32' | 'int32'

const POSITIVE = [[0.2, 3]] as const

/** a + b */
export const add: Binary<Number32> = binary('add', {
  compute: (a, b) => a + b,
  gradient: (dy) => [dy, dy],
  neutral: { left: 0, right: 0 },
})

/** a - b */
export const subtract: Binary<Number32> = binary('subtract', {
  compute: (a, b) => a - b,
  gradient: (dy) => [dy, negate(dy)],
  neutral: { right: 0 },
})

/** a * b, element by element */
export const multiply: Binary<Number32> = binary('multiply', {
  compute: (a, b) => a * b,
  gradient: (dy, { a, b }) => [multiply(dy, b), multiply(dy, a)],
  neutral: { left: 1, right: 1 },
})

/** a / b */
export const divide: Binary = binary('divide', {
  compute: (a, b) => a / b,
  gradient: (dy, { b, y }) => [divide(dy, b), negate(divide(multiply(dy, y), b))],
  ranges: [[-2, 2], ...POSITIVE],
  neutral: { right: 1 },
})

/** a to the power of b. The gradient by b is finite only where a > 0. */
export const power: Binary = binary('power', {
  compute: (a, b) => a ** b,
  gradient: (dy, { a, b, y }) => [
    multiply(dy, multiply(b, power(a, subtract(b, 1)))),
    multiply(dy, multiply(y, log(a))),
  ],
  ranges: [...POSITIVE, [-2, 2]],
})

/** The greater of both; where they are equal each receives half of the gradient. */
export const maximum: Binary<Number32> = binary('maximum', {
  compute: (a, b) => Math.max(a, b),
  gradient: (dy, { a, b }) => [multiply(dy, share(a, b)), multiply(dy, share(b, a))],
})

/** The lesser of both; where they are equal each receives half of the gradient. */
export const minimum: Binary<Number32> = binary('minimum', {
  compute: (a, b) => Math.min(a, b),
  gradient: (dy, { a, b }) => [multiply(dy, share(b, a)), multiply(dy, share(a, b))],
})

/** -x */
export const negate: Unary<Number32> = unary('negate', { compute: (x) => -x, gradient: (dy) => [negate(dy)] })

/** |x|; the gradient at 0 is 0. */
export const abs: Unary<Number32> = unary('abs', {
  compute: Math.abs,
  gradient: (dy, { a }) => [multiply(dy, sign(a))],
})

/** -1, 0 or 1 */
export const sign: Unary = unary('sign', { compute: Math.sign, gradient: null })

/** The greatest whole number not above x. */
export const floor: Unary = unary('floor', { compute: Math.floor, gradient: null })

/** 1 / x */
export const reciprocal: Unary = unary('reciprocal', {
  compute: (x) => 1 / x,
  gradient: (dy, { y }) => [negate(multiply(dy, square(y)))],
  ranges: POSITIVE,
})

/** The square root. */
export const sqrt: Unary = unary('sqrt', {
  compute: Math.sqrt,
  gradient: (dy, { y }) => [divide(multiply(dy, 0.5), y)],
  ranges: POSITIVE,
})

/** 1 / sqrt(x) */
export const rsqrt: Unary = unary('rsqrt', {
  compute: (x) => 1 / Math.sqrt(x),
  gradient: (dy, { a, y }) => [multiply(dy, divide(multiply(y, -0.5), a))],
  ranges: POSITIVE,
})

/** x * x */
export const square: Unary = unary('square', {
  compute: (x) => x * x,
  gradient: (dy, { a }) => [multiply(dy, multiply(a, 2))],
})

/** x kept within [low, high]; no gradient flows where it was outside, half of it at a bound. */
export function clamp<S extends Shape>(x: Tensor<S, 'float32'>, low: number, high: number): Tensor<S, 'float32'> {
  if (!(low <= high)) refuseArgument('clamp', 'low and high', 'numbers in order', `${low} and ${high}`)
  return minimum(maximum(x, low), high)
}

/** 1 - x, as gates use it. */
export const oneMinus: Unary = (x) => add(negate(x) as Loose, 1)

/**
 * Adds `bias[D]` to every row of `x[..., D]`.
 *
 * Throws KAIROS_SHAPE when the last axis of `x` is not D.
 */
export function addBias<Lead extends readonly Dim[], D extends Dim>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  bias: Tensor<readonly [NoInfer<D>], 'float32'>,
): Tensor<readonly [...Lead, D], 'float32'> {
  return add(x as Loose, broadcastLike(bias as Loose, x as Loose)) as Loose
}

/** 1 where a wins over b, a half where they are equal. */
const share = (a: Loose, b: Loose): Loose =>
  multiply(add(cast(greater(a, b), 'float32'), cast(greaterEqual(a, b), 'float32')) as Loose, 0.5)
