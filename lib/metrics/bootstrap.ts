/**
 * Percentile bootstrap over users (Efron 1979): users are drawn with replacement, the statistic is taken, and the
 * interval holds the middle of the values so found. It asks nothing of the distribution, which for hit rates is all
 * zeros and ones, nor that examples of a user are independent.
 */
import { createRandom, type Random } from '../core/random.js'
import { createTimeSlice, inSlices, type Pause } from '../core/timeSlice.js'
import { checkBinary, refuse, requireLength } from './accumulator.js'
import { floatKeys, identity, int32s, SCATTERED, sortKeys } from './column.js'
import { PairCounter } from './pairCounter.js'
import { mean } from './ranking.js'

/** `mean` is the statistic of the users as they are. */
export interface Interval {
  readonly mean: number
  readonly low: number
  readonly high: number
}

export interface BootstrapOptions {
  readonly seed?: number
  readonly resamples?: number
  /** Share of the resamples that lie inside the interval. */
  readonly confidence?: number
}

/** Interval of the mean over users. */
export async function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Promise<Interval> {
  const n = values.length
  if (n === 0) refuse('bootstrap', 'values', 'at least one value', 0)
  const resample = async (random: Random, pause: Pause) => {
    let sum = 0
    await inSlices(n, pause, (begin, end) => {
      for (let j = begin; j < end; j++) sum += values[random.int(n)] as number
    })
    return sum / n
  }
  return intervalOf(mean(values), resample, options)
}

/**
 * Interval of the mean of a[i] - b[i], users paired: what two models share of a user's difficulty cancels. The models
 * differ, at this confidence, when the interval leaves out zero.
 */
export async function bootstrapDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: BootstrapOptions = {},
): Promise<Interval> {
  if (a.length !== b.length) refuse('bootstrap', 'b', `as long as a, ${a.length} users,`, b.length)
  return bootstrapMean(
    Float64Array.from({ length: a.length }, (_, i) => (a[i] as number) - (b[i] as number)),
    options,
  )
}

/** Examples and the user of each, for `bootstrapAuc`. */
export interface UserExamples {
  readonly labels: ArrayLike<number>
  readonly users: Int32Array
}

/** Interval of AUC, users drawn with all their examples. */
export async function bootstrapAuc(
  scores: Float32Array,
  examples: UserExamples,
  options: BootstrapOptions = {},
): Promise<Interval> {
  const pause = createTimeSlice()
  const { drawUsers, areaOf } = await resampler([scores], examples, pause)
  return intervalOf(await areaOf(0), async (random) => areaOf(0, drawUsers(random)), options)
}

/** Interval of AUC of `a` less AUC of `b` on the same examples, users drawn with all their examples. */
export async function bootstrapAucDifference(
  a: Float32Array,
  b: Float32Array,
  examples: UserExamples,
  options: BootstrapOptions = {},
): Promise<Interval> {
  const pause = createTimeSlice()
  const { drawUsers, areaOf } = await resampler([a, b], examples, pause)
  const difference = async (drawn?: Float64Array) => (await areaOf(0, drawn)) - (await areaOf(1, drawn))
  return intervalOf(await difference(), async (random) => difference(drawUsers(random)), options)
}

/** Zero lies outside: the difference is more than chance at the interval's confidence. */
export const excludesZero = ({ low, high }: Interval): boolean => low > 0 || high < 0

/** Values that are NaN, as AUC is where a resample holds one class, are left out. */
async function intervalOf(
  whole: number,
  resample: (random: Random, pause: Pause) => Promise<number>,
  { seed = 0, resamples = 2000, confidence = 0.95 }: BootstrapOptions,
): Promise<Interval> {
  if (!Number.isInteger(resamples) || resamples < 1) refuse('bootstrap', 'resamples', 'a positive integer', resamples)
  if (!(confidence > 0 && confidence < 1)) refuse('bootstrap', 'confidence', 'between 0 and 1', confidence)
  const random = createRandom(seed).fork('bootstrap')
  const pause = createTimeSlice()
  const found: number[] = []
  for (let i = 0; i < resamples; i++) {
    const value = await resample(random, pause)
    if (!Number.isNaN(value)) found.push(value)
  }
  const ascending = Float64Array.from(found).sort()
  const tail = (1 - confidence) / 2
  return { mean: whole, low: quantile(ascending, tail), high: quantile(ascending, 1 - tail) }
}

/** Sorts once per model; each resample is then one walk in which an example counts as often as its user was drawn. */
async function resampler(models: readonly Float32Array[], { labels, users }: UserExamples, pause: Pause) {
  const count = users.length
  const numbers = new Map<number, number>()
  const userOf = int32s(count)
  await inSlices(count, pause, (begin, end) => {
    for (let i = begin; i < end; i++) {
      const user = users[i] as number
      const number = numbers.get(user) ?? numbers.size
      if (number === numbers.size) numbers.set(user, number)
      userOf[i] = number
    }
  })
  const sorted: { readonly keys: Uint32Array; readonly order: Uint32Array }[] = []
  for (const scores of models) {
    requireLength('bootstrap', 'users', count, scores.length)
    checkBinary('bootstrap', { scores, labels })
    sorted.push(await sortKeys(await floatKeys(scores, pause), await identity(count, pause), pause))
  }
  const once = new Float64Array(numbers.size).fill(1)
  const drawn = new Float64Array(numbers.size)
  const drawUsers = (random: Random): Float64Array => {
    drawn.fill(0)
    for (let i = 0; i < drawn.length; i++) {
      const user = random.int(drawn.length)
      drawn[user] = (drawn[user] as number) + 1
    }
    return drawn
  }
  const areaOf = async (model: number, times: Float64Array = once): Promise<number> => {
    const { keys, order } = sorted[model] as (typeof sorted)[number]
    const pairs = new PairCounter()
    await inSlices(
      count,
      pause,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          if (keys[i] !== keys[i - 1]) pairs.settle()
          const example = order[i] as number
          pairs.add(labels[example] === 1, times[userOf[example] as number])
        }
      },
      SCATTERED,
    )
    return pairs.finish().auc
  }
  return { drawUsers, areaOf }
}

/** @internal Linear between the two nearest of ascending values. */
export function quantile(ascending: Float64Array, share: number): number {
  const position = share * (ascending.length - 1)
  const below = Math.floor(position)
  const left = ascending[below] as number
  const right = ascending[Math.min(below + 1, ascending.length - 1)] as number
  return left + (position - below) * (right - left)
}
