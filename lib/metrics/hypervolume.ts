/** What a set of points covers, where more is better in every coordinate. */
import { refuse } from './accumulator.js'

/**
 * Volume of what the points dominate above `reference`: the union of the boxes between it and each of them (Zitzler and
 * Thiele 1999). Exact, by slices along the last coordinate; for some dozens of points in a few dimensions.
 */
export function hypervolume(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const wrong = points.find((point) => point.length !== reference.length)
  if (wrong) refuse('hypervolume', 'points', `of ${reference.length} coordinates`, wrong.length)
  return volume(points, reference)
}

function volume(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const above = points.filter((point) => point.every((value, i) => value > (reference[i] as number)))
  if (above.length === 0) return 0
  const last = reference.length - 1
  const floor = reference[last] as number
  if (last === 0) return Math.max(...above.map(([value]) => value as number)) - floor
  const descending = [...above].sort((a, b) => (b[last] as number) - (a[last] as number))
  const lower = reference.slice(0, last)
  let sum = 0
  for (const [i, point] of descending.entries()) {
    const depth = (point[last] as number) - ((descending[i + 1]?.[last] as number | undefined) ?? floor)
    if (depth > 0)
      sum +=
        depth *
        volume(
          descending.slice(0, i + 1).map((one) => one.slice(0, last)),
          lower,
        )
  }
  return sum
}

/** Points that no other dominates: at least as good in every coordinate, and better in one. */
export function paretoFront<P extends readonly number[]>(points: readonly P[]): P[] {
  const dominates = (a: P, b: P) =>
    a.every((value, i) => value >= (b[i] as number)) && a.some((value, i) => value > (b[i] as number))
  return points.filter((point) => !points.some((other) => dominates(other, point)))
}
