/**
 * Percentile bootstrap over users (Efron, 1979): users are drawn with replacement, the mean is taken, and the interval
 * holds the middle of the means so found. It asks nothing of the distribution, which for hit rates is all zeros and ones.
 */
import { KairosError } from '../core/errors.js'
import { createRandom } from '../core/random.js'
import { mean } from './ranking.js'

export interface Interval {
  readonly mean: number
  readonly low: number
  readonly high: number
}

export interface BootstrapOptions {
  readonly seed?: number
  readonly resamples?: number
  /** Share of the means that lie inside the interval. */
  readonly confidence?: number
}

/** Interval of the mean over users. */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Interval {
  const { seed = 0, resamples = 2000, confidence = 0.95 } = options
  const n = values.length
  const refuse = (argument: string, expected: string, got: number) =>
    new KairosError('KAIROS_ARGUMENT', { op: 'bootstrap', argument, expected, got: String(got) })
  if (n === 0) throw refuse('values', 'at least one value', 0)
  if (!Number.isInteger(resamples) || resamples < 1) throw refuse('resamples', 'a positive integer', resamples)
  if (!(confidence > 0 && confidence < 1)) throw refuse('confidence', 'between 0 and 1', confidence)

  const random = createRandom(seed).fork('bootstrap')
  const means = new Float64Array(resamples)
  for (let i = 0; i < resamples; i++) {
    let sum = 0
    for (let j = 0; j < n; j++) sum += values[random.int(n)] as number
    means[i] = sum / n
  }
  means.sort()
  const tail = (1 - confidence) / 2
  return { mean: mean(values), low: quantile(means, tail), high: quantile(means, 1 - tail) }
}

/**
 * Interval of the mean of a[i] - b[i], users paired: what two models share of a user's difficulty cancels. The models
 * differ, at this confidence, when the interval leaves out zero.
 */
export function bootstrapDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: BootstrapOptions = {},
): Interval {
  if (a.length !== b.length) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'bootstrap',
      argument: 'b',
      expected: `as long as a, ${a.length} users,`,
      got: String(b.length),
    })
  }
  return bootstrapMean(
    Float64Array.from({ length: a.length }, (_, i) => (a[i] as number) - (b[i] as number)),
    options,
  )
}

/** Zero lies outside: the difference is more than chance at the interval's confidence. */
export const excludesZero = ({ low, high }: Interval): boolean => low > 0 || high < 0

/** Linear between the two nearest of ascending values. */
function quantile(ascending: Float64Array, share: number): number {
  const position = share * (ascending.length - 1)
  const below = Math.floor(position)
  const left = ascending[below] as number
  const right = ascending[Math.min(below + 1, ascending.length - 1)] as number
  return left + (position - below) * (right - left)
}
