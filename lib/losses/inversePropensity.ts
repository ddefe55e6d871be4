/** Learning on what was observed as if all had been: each observed row weighs 1 / (its chance to be observed). */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { divide, maximum, minimum, multiply, reciprocal, square } from '../ops/arithmetic.js'
import { cast, greaterEqual } from '../ops/comparison.js'
import { max, sum } from '../ops/reduction.js'
import { stopGradient } from '../ops/stopGradient.js'
import { type Loose, refuseArgument } from '../ops/support.js'
import { sigmoid } from '../ops/transcendental.js'

export interface PropensityOptions {
  /** Propensities below it count as this much; default 0.01. */
  readonly propensityFloor?: number
  /** Greatest weight; default 100. */
  readonly weightCap?: number
}

/**
 * Weights min(1 / max(p, floor), cap) with p = sigmoid(logits), the chance of what was observed; for what was not, give
 * the negated logits, whose sigmoid is 1 - p without rounding. Weights are constants to gradients: a model must not
 * lower its loss by its weights.
 *
 * Throws KAIROS_ARGUMENT unless 0 < floor <= 1 and cap >= 1. Source: Wang et al., "ESCM2", 2022, equation 7.
 */
export function inversePropensity<S extends Shape>(
  logits: Tensor<S, 'float32'>,
  { propensityFloor: floor = 0.01, weightCap: cap = 100 }: PropensityOptions = {},
): Tensor<S, 'float32'> {
  if (!(floor > 0 && floor <= 1)) refuseArgument('inversePropensity', 'propensityFloor', 'above 0, at most 1', floor)
  if (!(cap >= 1)) refuseArgument('inversePropensity', 'weightCap', 'at least 1', cap)
  const propensity = sigmoid(stopGradient(logits))
  return minimum(reciprocal(maximum(propensity as Loose, floor) as Loose), cap) as Loose
}

export interface WeightStatistics {
  readonly mean: Tensor<readonly [], 'float32'>
  readonly max: Tensor<readonly [], 'float32'>
  /** (sum of w)^2 / sum of w^2: how many equally weighted rows would be as good (Kish 1965). */
  readonly effectiveSampleSize: Tensor<readonly [], 'float32'>
  /** Share of the rows whose weight stands at its bound. */
  readonly clippedShare: Tensor<readonly [], 'float32'>
}

/** What weights do to a batch, over the rows where `observed` is 1: for logs. All are 0 where there are none. */
export function weightStatistics<S extends Shape>(
  weights: Tensor<S, 'float32'>,
  observed: Tensor<NoInfer<S>, 'float32'>,
  { propensityFloor: floor = 0.01, weightCap: cap = 100 }: PropensityOptions = {},
): WeightStatistics {
  const used: Loose = multiply(weights as Loose, observed as Loose)
  const count = maximum(sum(observed as Loose) as Loose, 1)
  // A little below, for 1 / floor is rounded.
  const bound = Math.min(1 / floor, cap) * (1 - 1e-6)
  const clipped: Loose = cast(greaterEqual(used, bound) as Loose, 'float32')
  return {
    mean: divide(sum(used) as Loose, count) as Loose,
    max: max(maximum(used, 0) as Loose) as Loose,
    effectiveSampleSize: divide(
      square(sum(used) as Loose) as Loose,
      maximum(sum(square(used)) as Loose, 1) as Loose,
    ) as Loose,
    clippedShare: divide(sum(clipped) as Loose, count) as Loose,
  }
}
