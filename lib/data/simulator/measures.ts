/** Summaries of columns, and the tables and charts that they go into. */
import type { TableColumn } from './tables.js'

export interface StatisticsTable {
  readonly title: string
  readonly header: readonly string[]
  readonly rows: readonly (readonly (string | number)[])[]
  readonly note?: string
}

export interface StatisticsChart {
  readonly title: string
  readonly xLabel: string
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number | null])[] }[]
  readonly note?: string
}

export interface Statistics {
  readonly facts: readonly (readonly [label: string, value: string])[]
  readonly tables: readonly StatisticsTable[]
  readonly charts: readonly StatisticsChart[]
}

export type Values = TableColumn['values']

const CALIBRATION_BINS = 12
export const HISTOGRAM_BINS = 40
/** Rows that quantiles are taken from. */
export const SAMPLE = 100_000

/** `12,345` */
export const formatCount = (value: number): string => value.toLocaleString('en-US')

export function mean(values: Values): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i] as number
  return values.length === 0 ? 0 : sum / values.length
}

export function correlationOf(a: Values, b: Values): number {
  const [meanA, meanB] = [mean(a), mean(b)]
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [(a[i] as number) - meanA, (b[i] as number) - meanB]
    ab += x * y
    aa += x * x
    bb += y * y
  }
  return ab / Math.sqrt(aa * bb)
}

/** Mean of `y` by bins of equal numbers of rows in `x`: what should be the diagonal where x is y's probability. */
export function calibrationOf(x: Values, y: Values, bins = CALIBRATION_BINS): [number, number][] {
  const stride = Math.max(1, Math.floor(x.length / SAMPLE))
  const sorted = Float64Array.from({ length: Math.floor(x.length / stride) }, (_, i) => x[i * stride] as number).sort()
  const edges = Float64Array.from(
    { length: bins - 1 },
    (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / bins)] ?? 0,
  )
  const sums = Array.from({ length: bins }, () => [0, 0, 0] as [number, number, number])
  for (let row = 0; row < x.length; row++) {
    const value = x[row] as number
    let bin = 0
    while (bin < edges.length && value >= (edges[bin] as number)) bin++
    const sum = sums[bin] as [number, number, number]
    sum[0] += value
    sum[1] += y[row] as number
    sum[2]++
  }
  return sums.filter(([, , n]) => n > 0).map(([a, b, n]) => [a / n, b / n])
}

/** Shares of values in bins of equal width; those above the last bin are in it. */
export function histogram(
  values: Iterable<number>,
  low: number,
  high: number,
  bins = HISTOGRAM_BINS,
): [number, number][] {
  const counts = new Float64Array(bins)
  let all = 0
  for (const value of values) {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor(((value - low) / (high - low)) * bins)))
    counts[bin] = (counts[bin] as number) + 1
    all++
  }
  return Array.from(counts, (n, i) => [low + ((i + 0.5) * (high - low)) / bins, all === 0 ? 0 : n / all])
}

/** Number of rows by value, for values 1 .. size. */
export function countsOf(values: Values, size: number): Float64Array {
  const counts = new Float64Array(size)
  for (let i = 0; i < values.length; i++) {
    const at = (values[i] as number) - 1
    counts[at] = (counts[at] as number) + 1
  }
  return counts
}

/** Share of rows of the most frequent values, by share of values. */
export function concentration(counts: Float64Array): [number, number][] {
  const sorted = counts.slice().sort().reverse()
  const all = sorted.reduce((sum, n) => sum + n, 0)
  const points: [number, number][] = [[0, 0]]
  let sum = 0
  for (const [i, n] of sorted.entries()) {
    sum += n
    const due = Math.floor(((i + 1) * HISTOGRAM_BINS) / sorted.length)
    if (due > Math.floor((i * HISTOGRAM_BINS) / sorted.length)) points.push([(i + 1) / sorted.length, sum / all])
  }
  return points
}

/** The largest value, at least 1. */
export function largest(values: Values): number {
  let most = 1
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i] as number)
  return most
}

/** The two lines of a calibration chart. */
export function calibrated(p: Values, y: Values): StatisticsChart['series'] {
  const points = calibrationOf(p, y)
  return [
    { name: 'drawn', points },
    { name: 'the diagonal', points: points.map(([x]) => [x, x]) },
  ]
}
