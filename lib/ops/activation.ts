/** Activation functions, element by element. */
import type { Dim, Shape } from '../core/dim.js'
import { erf64 } from '../core/erf.js'
import type { Tensor } from '../graph/node.js'
import { add, multiply, negate, square } from './arithmetic.js'
import { greater, select } from './comparison.js'
import { type Unary, unary } from './elementwise.js'
import { broadcastLike } from './movement.js'
import type { Loose } from './support.js'
import { exp, sigmoid } from './transcendental.js'

const normalDensity = (x: number): number => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)
const normalDistribution = (x: number): number => 0.5 * (1 + erf64(x / Math.SQRT2))

/** max(x, 0); the gradient at 0 is 0. */
export const relu: Unary = unary('relu', {
  compute: (x) => Math.max(x, 0),
  gradient: (dy, { y }) => [select(greater(y, 0), dy, 0)],
})

/** x times the normal distribution function of x. Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016. */
export const gelu: Unary = unary('gelu', {
  compute: (x) => x * normalDistribution(x),
  gradient: (dy, { a }) => [multiply(dy, geluGradient(a))],
})

/** The derivative of gelu. */
export const geluGradient: Unary = unary('geluGradient', {
  compute: (x) => normalDistribution(x) + x * normalDensity(x),
  // The density's derivative is -x times itself, which leaves (2 - x^2) density(x).
  gradient: (dy, { a }) => [multiply(dy, multiply(density(a), add(negate(square(a)), 2)))],
})

/** log(1 + exp(x)), without overflow. */
export const softplus: Unary = unary('softplus', {
  compute: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  gradient: (dy, { a }) => [multiply(dy, sigmoid(a))],
})

/** x times sigmoid(x). Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2017. */
export const silu: Unary = (x) => multiply(x, sigmoid(x))

/** x where positive, else `slope` times x. Source: Maas et al., "Rectifier nonlinearities improve acoustic models", 2013. */
export function leakyRelu<S extends Shape>(x: Tensor<S, 'float32'>, slope = 0.01): Tensor<S, 'float32'> {
  return select(greater(x as Loose, 0) as Loose, x as Loose, multiply(x as Loose, slope) as Loose)
}

/**
 * x where positive, else x times a learned slope per channel of the last axis.
 *
 * Throws KAIROS_SHAPE when the last axis of `x` is not as wide as `slope`.
 * Source: He et al., "Delving deep into rectifiers", 2015, equation 1.
 */
export function prelu<Lead extends readonly Dim[], D extends Dim>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  slope: Tensor<readonly [NoInfer<D>], 'float32'>,
): Tensor<readonly [...Lead, D], 'float32'> {
  const slopes = broadcastLike(slope as Loose, x as Loose) as Loose
  return select(greater(x as Loose, 0) as Loose, x as Loose, multiply(x as Loose, slopes) as Loose) as Loose
}

const density = (x: Loose): Loose => multiply(exp(multiply(square(x), -0.5)) as Loose, 1 / Math.sqrt(2 * Math.PI))
