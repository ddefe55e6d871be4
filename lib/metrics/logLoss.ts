/** Logistic loss of predictions. */
import {
  type Accumulator,
  type BinaryBatch,
  checkBinary,
  checkProbabilities,
  checkWeights,
  refuse,
} from './accumulator.js'
import { ExactSum } from './exactSum.js'

export interface LogLossOptions {
  /** What scores are. A logit's loss has no clipping and no rounding of its probability: the better choice. */
  readonly from?: 'probabilities' | 'logits'
  /** Probabilities are kept within [epsilon, 1 - epsilon]. Default: 2^-23, which float32 has next to 1. */
  readonly epsilon?: number
}

/**
 * Log-loss: the mean of -log of the probability that was given to what happened; with weights, the weighted mean. NaN
 * without examples.
 */
export class LogLoss implements Accumulator<BinaryBatch & { readonly weights?: Float32Array }, number> {
  private readonly losses = new ExactSum()
  private readonly mass = new ExactSum()
  private readonly from: 'probabilities' | 'logits'
  private readonly epsilon: number

  constructor({ from = 'probabilities', epsilon = 2 ** -23 }: LogLossOptions = {}) {
    if (!(epsilon >= 0 && epsilon < 0.5)) refuse('LogLoss', 'epsilon', 'in [0, 0.5)', epsilon)
    this.from = from
    this.epsilon = epsilon
  }

  update(batch: BinaryBatch & { readonly weights?: Float32Array }): void {
    checkBinary('LogLoss', batch)
    const { scores, labels, weights } = batch
    if (this.from === 'probabilities') checkProbabilities('LogLoss', scores)
    if (weights) checkWeights('LogLoss', weights, scores.length)
    for (let i = 0; i < scores.length; i++) {
      const weight = weights ? (weights[i] as number) : 1
      // What counts nothing adds nothing, be its loss infinite.
      if (weight === 0) continue
      this.losses.add(weight * this.lossOf(scores[i] as number, labels[i] === 1))
      this.mass.add(weight)
    }
  }

  value(): number {
    return this.losses.value / this.mass.value
  }

  merge(other: LogLoss): void {
    this.losses.merge(other.losses)
    this.mass.merge(other.mass)
  }

  private lossOf(score: number, isPositive: boolean): number {
    if (this.from === 'logits') return Math.max(isPositive ? -score : score, 0) + Math.log1p(Math.exp(-Math.abs(score)))
    const clipped = Math.min(Math.max(score, this.epsilon), 1 - this.epsilon)
    return isPositive ? -Math.log(clipped) : -Math.log1p(-clipped)
  }
}
