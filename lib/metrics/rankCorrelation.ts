/** Agreement of two orders. */
import { createTimeSlice, inSlices, type Pause } from '../core/timeSlice.js'
import { requireLength } from './accumulator.js'
import { float64s, floatKeys, identity, SCATTERED, sortKeys } from './column.js'

/**
 * Spearman's rank correlation: Pearson's correlation of ranks, equal values sharing the mean of theirs. NaN where a
 * column is constant.
 */
export async function rankCorrelation(a: Float32Array, b: Float32Array): Promise<number> {
  requireLength('rankCorrelation', 'b', b.length, a.length)
  const pause = createTimeSlice()
  const [x, y] = [await ranksOf(a, pause), await ranksOf(b, pause)]
  const middle = (a.length - 1) / 2
  let [xx, yy, xy] = [0, 0, 0]
  await inSlices(a.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) {
      const [dx, dy] = [(x[i] as number) - middle, (y[i] as number) - middle]
      xx += dx * dx
      yy += dy * dy
      xy += dx * dy
    }
  })
  return xy / Math.sqrt(xx * yy)
}

async function ranksOf(values: Float32Array, pause: Pause): Promise<Float64Array> {
  const count = values.length
  const { keys, order } = await sortKeys(await floatKeys(values, pause), await identity(count, pause), pause)
  const ranks = float64s(count)
  let first = 0
  await inSlices(
    count,
    pause,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        if (i + 1 < count && keys[i] === keys[i + 1]) continue
        for (let equal = first; equal <= i; equal++) ranks[order[equal] as number] = (first + i) / 2
        first = i + 1
      }
    },
    SCATTERED,
  )
  return ranks
}
