/** Losses of clicks and conversions. */
import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { softplus } from '../ops/activation.js'
import { add, multiply, negate, subtract } from '../ops/arithmetic.js'
import { sigmoidCrossEntropy } from '../ops/crossEntropy.js'
import { type Loose, refuseArgument } from '../ops/support.js'
import { exp } from '../ops/transcendental.js'
import { type LossOptions, type ReducedLoss, type Reduction, reduceLosses } from './reduction.js'

/**
 * Cross entropy of sigmoid(logits) with targets in [0, 1]: its mean, 0 for no elements. With `weights`, each element
 * counts so much: the weighted sum over the sum of weights.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32.
 */
export function binaryCrossEntropy<S extends Shape, R extends Reduction = 'mean'>(
  logits: Tensor<S, 'float32'>,
  targets: Tensor<NoInfer<S>, 'float32'>,
  options: LossOptions<NoInfer<S>, R> = {},
): ReducedLoss<S, R> {
  const losses: Loose = sigmoidCrossEntropy(logits as Loose, targets as Loose)
  return reduceLosses('binaryCrossEntropy', losses, options) as Loose
}

export interface FocalOptions<S extends Shape, R extends Reduction> extends LossOptions<S, R> {
  /** How much positives weigh against negatives, which weigh 1 - alpha; default 0.25. */
  readonly alpha?: number
  /** How fast well-classified elements lose weight; default 2, and 0 is plain cross entropy. */
  readonly gamma?: number
}

/**
 * Focal loss of sigmoid(logits) with targets 0 or 1: -alpha_t (1 - p_t)^gamma log(p_t), with p_t the probability given
 * to the target.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless float32, KAIROS_ARGUMENT unless 0 <= alpha <= 1 and
 * gamma >= 0. Source: Lin et al., "Focal loss for dense object detection", 2017, equation 5.
 */
export function focalLoss<S extends Shape, R extends Reduction = 'mean'>(
  logits: Tensor<S, 'float32'>,
  targets: Tensor<NoInfer<S>, 'float32'>,
  { alpha = 0.25, gamma = 2, ...options }: FocalOptions<NoInfer<S>, R> = {},
): ReducedLoss<S, R> {
  if (!(alpha >= 0 && alpha <= 1)) refuseArgument('focalLoss', 'alpha', 'in [0, 1]', alpha)
  if (!(gamma >= 0)) refuseArgument('focalLoss', 'gamma', 'at least 0', gamma)
  // With y = -1 or 1, log p_t = -softplus(-y x) and log(1 - p_t) = -softplus(y x): finite wherever x is.
  const signed: Loose = multiply(logits as Loose, subtract(multiply(targets as Loose, 2) as Loose, 1) as Loose)
  const focus: Loose = exp(multiply(softplus(signed), -gamma) as Loose)
  const balance: Loose = add(multiply(targets as Loose, 2 * alpha - 1) as Loose, 1 - alpha)
  const losses: Loose = multiply(multiply(balance, focus) as Loose, softplus(negate(signed) as Loose) as Loose)
  return reduceLosses('focalLoss', losses, options) as Loose
}
