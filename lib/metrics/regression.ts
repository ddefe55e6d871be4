/** Errors of predicted numbers. */
import { type Accumulator, refuse, requireLength } from './accumulator.js'
import { ExactSum } from './exactSum.js'

export interface RegressionBatch {
  readonly predictions: Float32Array
  readonly targets: Float32Array
}

/** NaN without examples. */
export interface RegressionResult {
  /** Root of the mean squared error. */
  readonly rmse: number
  /** Mean absolute error. */
  readonly mae: number
  readonly count: number
}

export class RegressionErrors implements Accumulator<RegressionBatch, RegressionResult> {
  private readonly squares = new ExactSum()
  private readonly absolutes = new ExactSum()
  private count = 0

  update({ predictions, targets }: RegressionBatch): void {
    requireLength('RegressionErrors', 'targets', targets.length, predictions.length)
    for (const [name, values] of Object.entries({ predictions, targets })) {
      const bad = values.findIndex((value) => !Number.isFinite(value))
      if (bad >= 0) refuse('RegressionErrors', `${name}[${bad}]`, 'finite', values[bad])
    }
    for (let i = 0; i < predictions.length; i++) {
      const error = (predictions[i] as number) - (targets[i] as number)
      this.squares.add(error * error)
      this.absolutes.add(Math.abs(error))
    }
    this.count += predictions.length
  }

  value(): RegressionResult {
    const { count } = this
    return { rmse: Math.sqrt(this.squares.value / count), mae: this.absolutes.value / count, count }
  }

  merge(other: RegressionErrors): void {
    this.squares.merge(other.squares)
    this.absolutes.merge(other.absolutes)
    this.count += other.count
  }
}
