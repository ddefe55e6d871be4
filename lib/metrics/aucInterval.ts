/** Intervals and tests of AUC, for independent examples; `bootstrapAuc` is for examples that users share. */
import { createTimeSlice, inSlices, type Pause } from '../core/timeSlice.js'
import { checkBinary, refuse, requireLength } from './accumulator.js'
import { float64s, floatKeys, identity, SCATTERED, sortKeys } from './column.js'
import { criticalValue, normalDistribution } from './normal.js'

export interface IntervalOptions {
  /** Share of repetitions whose interval holds the truth. */
  readonly confidence?: number
}

export interface AucInterval {
  readonly auc: number
  readonly standardError: number
  readonly low: number
  readonly high: number
}

/**
 * AUC with its standard error by the placements of DeLong, DeLong and Clarke-Pearson (1988), in the n log n form of Sun
 * and Xu (2014). Equal scores count one half. NaN where a class has fewer than two examples; the interval is cut to
 * [0, 1].
 */
export async function deLong(
  scores: Float32Array,
  labels: ArrayLike<number>,
  { confidence = 0.95 }: IntervalOptions = {},
): Promise<AucInterval> {
  checkConfidence('deLong', confidence)
  const pause = createTimeSlice()
  const [a] = (await placements('deLong', [scores], labels, pause)) as [Placements]
  const { mean, covariance } = await moments(a, a, labels, pause)
  return intervalOf(mean, Math.sqrt(covariance), confidence)
}

export interface AucDifference {
  /** AUC of a, of b, and the first less the second. */
  readonly a: number
  readonly b: number
  readonly difference: number
  readonly standardError: number
  readonly low: number
  readonly high: number
  readonly z: number
  /** Two-sided. */
  readonly pValue: number
}

/**
 * The difference in AUC of two models on the same examples, and the test that it is zero: the correlation of the
 * models' placements is taken into account (DeLong et al. 1988, equation 5). Models that rank alike differ by 0 with
 * p-value 1.
 */
export async function deLongDifference(
  a: Float32Array,
  b: Float32Array,
  labels: ArrayLike<number>,
  { confidence = 0.95 }: IntervalOptions = {},
): Promise<AucDifference> {
  checkConfidence('deLongDifference', confidence)
  requireLength('deLongDifference', 'b', b.length, a.length)
  const pause = createTimeSlice()
  const [first, second] = (await placements('deLongDifference', [a, b], labels, pause)) as [Placements, Placements]
  const aa = await moments(first, first, labels, pause)
  const bb = await moments(second, second, labels, pause)
  const ab = await moments(first, second, labels, pause)
  // Rounding may leave a little below zero where the models rank alike.
  const standardError = Math.sqrt(Math.max(aa.covariance + bb.covariance - 2 * ab.covariance, 0))
  const difference = aa.mean - bb.mean
  const z = difference === 0 ? 0 : difference / standardError
  const half = criticalValue(confidence) * standardError
  return {
    a: aa.mean,
    b: bb.mean,
    difference,
    standardError,
    low: difference - half,
    high: difference + half,
    z,
    pValue: 2 * normalDistribution(-Math.abs(z)),
  }
}

/**
 * AUC's interval from the AUC and the class sizes alone, under exponential scores (Hanley and McNeil 1982): for when
 * the scores are gone, or as a check.
 */
export function hanleyMcNeil(
  auc: number,
  positives: number,
  negatives: number,
  { confidence = 0.95 }: IntervalOptions = {},
): AucInterval {
  checkConfidence('hanleyMcNeil', confidence)
  if (!(auc >= 0 && auc <= 1)) refuse('hanleyMcNeil', 'auc', 'in [0, 1]', auc)
  for (const [name, count] of Object.entries({ positives, negatives })) {
    if (!Number.isInteger(count) || count < 1) refuse('hanleyMcNeil', name, 'a positive integer', count)
  }
  const q1 = auc / (2 - auc)
  const q2 = (2 * auc * auc) / (1 + auc)
  const spread = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
  return intervalOf(auc, Math.sqrt(spread / (positives * negatives)), confidence)
}

function intervalOf(auc: number, standardError: number, confidence: number): AucInterval {
  const half = criticalValue(confidence) * standardError
  // Math.max and Math.min keep NaN.
  return { auc, standardError, low: Math.max(auc - half, 0), high: Math.min(auc + half, 1) }
}

function checkConfidence(op: string, confidence: number): void {
  if (!(confidence > 0 && confidence < 1)) refuse(op, 'confidence', 'between 0 and 1', confidence)
}

/** Per example: the share of the other class that it beats (a positive) or that beats it (a negative). */
type Placements = Float64Array

/** @internal */
export async function placements(
  op: string,
  models: readonly Float32Array[],
  labels: ArrayLike<number>,
  pause: Pause,
): Promise<Placements[]> {
  const results: Placements[] = []
  for (const scores of models) {
    requireLength(op, 'labels', labels.length, scores.length)
    await inSlices(scores.length, pause, (begin, end) => {
      checkBinary(op, { scores: scores.subarray(begin, end), labels: viewOf(labels, begin, end) })
    })
    results.push(await placementsOf(scores, labels, pause))
  }
  return results
}

const viewOf = (labels: ArrayLike<number>, begin: number, end: number): ArrayLike<number> =>
  ArrayBuffer.isView(labels)
    ? (labels as Float32Array).subarray(begin, end)
    : Array.prototype.slice.call(labels, begin, end)

/** Twice the placement of an example is the count below its score plus the count up to it: one sweep each way. */
async function placementsOf(scores: Float32Array, labels: ArrayLike<number>, pause: Pause): Promise<Placements> {
  const count = scores.length
  const { keys, order } = await sortKeys(await floatKeys(scores, pause), await identity(count, pause), pause)
  const twice = float64s(count)
  // Examples of each class passed so far, and when the current score began.
  let [positives, negatives, positivesBefore, negativesBefore] = [0, 0, 0, 0]
  const pass = (position: number, neighbour: number): boolean => {
    if (keys[position] !== keys[neighbour]) {
      positivesBefore = positives
      negativesBefore = negatives
    }
    const isPositive = labels[order[position] as number] === 1
    if (isPositive) positives++
    else negatives++
    return isPositive
  }
  await inSlices(
    count,
    pause,
    (begin, end) => {
      for (let i = begin; i < end; i++) twice[order[i] as number] = pass(i, i - 1) ? negativesBefore : -positivesBefore
    },
    SCATTERED,
  )
  const [p, n] = [positives, negatives]
  positives = negatives = positivesBefore = negativesBefore = 0
  await inSlices(
    count,
    pause,
    (begin, end) => {
      for (let i = count - 1 - begin; i >= count - end; i--) {
        const example = order[i] as number
        const below = twice[example] as number
        // A positive has won against all below it, and half against its equals; a negative has lost to all above.
        twice[example] = pass(i, i + 1)
          ? (below + n - negativesBefore) / (2 * n)
          : (below + p + positivesBefore) / (2 * p)
      }
    },
    SCATTERED,
  )
  return twice
}

/** AUC of `a`, and the covariance of the AUCs of both: that of placements over each class, by its size. */
async function moments(
  a: Placements,
  b: Placements,
  labels: ArrayLike<number>,
  pause: Pause,
): Promise<{ readonly mean: number; readonly covariance: number }> {
  const counts = [0, 0] as [number, number]
  const sumsA = [0, 0] as [number, number]
  const sumsB = [0, 0] as [number, number]
  const each = (use: (label: 0 | 1, a: number, b: number) => void) =>
    inSlices(a.length, pause, (begin, end) => {
      for (let i = begin; i < end; i++) use(labels[i] as 0 | 1, a[i] as number, b[i] as number)
    })
  await each((label, x, y) => {
    counts[label]++
    sumsA[label] += x
    sumsB[label] += y
  })
  const products = [0, 0] as [number, number]
  await each((label, x, y) => {
    products[label] += (x - sumsA[label] / counts[label]) * (y - sumsB[label] / counts[label])
  })
  const [ofNegatives, ofPositives] = products.map((sum, label) => {
    const count = counts[label] as number
    return sum / (count - 1) / count
  }) as [number, number]
  return { mean: sumsA[1] / counts[1], covariance: ofPositives + ofNegatives }
}
