/** Elementwise exponentials, logarithms and waves. */

import { erf64 } from '../core/erf.js'
import { add, divide, multiply, negate, oneMinus, square } from './arithmetic.js'
import { type Unary, unary } from './elementwise.js'

/** e to the power of x */
export const exp: Unary = unary('exp', { compute: Math.exp, gradient: (dy, { y }) => [multiply(dy, y)] })

/** The natural logarithm. */
export const log: Unary = unary('log', {
  compute: Math.log,
  gradient: (dy, { a }) => [divide(dy, a)],
  ranges: [[0.1, 3]],
})

/** log(1 + x), precise near 0. */
export const log1p: Unary = unary('log1p', {
  compute: Math.log1p,
  gradient: (dy, { a }) => [divide(dy, add(a, 1))],
  ranges: [[-0.8, 3]],
})

/** The hyperbolic tangent. */
export const tanh: Unary = unary('tanh', {
  compute: Math.tanh,
  gradient: (dy, { y }) => [multiply(dy, oneMinus(square(y)))],
})

/** 1 / (1 + exp(-x)) */
export const sigmoid: Unary = unary('sigmoid', {
  compute: (x) => 1 / (1 + Math.exp(-x)),
  gradient: (dy, { y }) => [multiply(dy, multiply(y, oneMinus(y)))],
})

/** The error function. */
export const erf: Unary = unary('erf', {
  compute: erf64,
  gradient: (dy, { a }) => [multiply(dy, multiply(exp(negate(square(a))), 2 / Math.sqrt(Math.PI)))],
})

/** Sine of radians. */
export const sin: Unary = unary('sin', { compute: Math.sin, gradient: (dy, { a }) => [multiply(dy, cos(a))] })

/** Cosine of radians. */
export const cos: Unary = unary('cos', { compute: Math.cos, gradient: (dy, { a }) => [negate(multiply(dy, sin(a)))] })
