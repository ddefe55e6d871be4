/** Whether predicted probabilities mean what they say. */
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import { type Accumulator, type BinaryBatch, checkBinary, checkProbabilities, refuse } from './accumulator.js'
import { byteColumn, floatColumn, floatKeys, identity, sortKeys } from './column.js'
import { ExactSum } from './exactSum.js'

/**
 * PCOC: predicted over observed clicks, the sum of probabilities by the number of positives. 1 is calibrated, above it
 * the model promises too much. NaN without positives.
 */
export class Pcoc implements Accumulator<BinaryBatch, number> {
  private readonly predicted = new ExactSum()
  private observed = 0

  update(batch: BinaryBatch): void {
    checkBinary('Pcoc', batch)
    checkProbabilities('Pcoc', batch.scores)
    for (let i = 0; i < batch.scores.length; i++) {
      this.predicted.add(batch.scores[i] as number)
      this.observed += batch.labels[i] as number
    }
  }

  value(): number {
    return this.observed === 0 ? Number.NaN : this.predicted.value / this.observed
  }

  merge(other: Pcoc): void {
    this.predicted.merge(other.predicted)
    this.observed += other.observed
  }
}

/** Examples whose probabilities lie in (low, high]; the first bin holds its low end too. */
export interface CalibrationBin {
  readonly low: number
  readonly high: number
  readonly count: number
  /** Mean probability, and share of positives; NaN in an empty bin. */
  readonly predicted: number
  readonly observed: number
}

export interface CalibrationResult {
  /** NaN without examples. */
  readonly ece: number
  readonly bins: readonly CalibrationBin[]
}

/** The sums of one bin. */
class BinSums {
  count = 0
  positives = 0
  readonly predicted = new ExactSum()

  add(score: number, label: number): void {
    this.count++
    this.positives += label
    this.predicted.add(score)
  }
}

/** ECE: sum over bins of (share of examples) |observed - predicted| (Guo et al. 2017, equation 5, for one class). */
function resultOf(sums: readonly BinSums[], edges: ArrayLike<number>): CalibrationResult {
  const bins = sums.map(({ count, positives, predicted }, i) => ({
    low: edges[i] as number,
    high: edges[i + 1] as number,
    count,
    predicted: predicted.value / count,
    observed: positives / count,
  }))
  const total = bins.reduce((sum, { count }) => sum + count, 0)
  const gaps = bins.map(({ count, predicted, observed }) => (count === 0 ? 0 : count * Math.abs(observed - predicted)))
  return { ece: gaps.reduce((sum, gap) => sum + gap, 0) / total, bins }
}

/** The bin of a value: that of the first edge, after the lowest, that is not below it. */
function binOf(edges: Float64Array, value: number): number {
  let low = 0
  let high = edges.length - 2
  while (low < high) {
    const middle = (low + high) >>> 1
    if (value <= (edges[middle + 1] as number)) high = middle
    else low = middle + 1
  }
  return low
}

function checkBins(op: string, bins: number): void {
  if (!Number.isInteger(bins) || bins < 1) refuse(op, 'bins', 'a positive integer', bins)
}

/** Calibration error over bins of equal width (i / bins, (i + 1) / bins]. Constant memory. */
export class EqualWidthCalibration implements Accumulator<BinaryBatch, CalibrationResult> {
  private readonly edges: Float64Array
  private readonly sums: readonly BinSums[]

  constructor(bins = 15) {
    checkBins('EqualWidthCalibration', bins)
    this.edges = Float64Array.from({ length: bins + 1 }, (_, i) => i / bins)
    this.sums = Array.from({ length: bins }, () => new BinSums())
  }

  update(batch: BinaryBatch): void {
    checkBinary('EqualWidthCalibration', batch)
    checkProbabilities('EqualWidthCalibration', batch.scores)
    for (let i = 0; i < batch.scores.length; i++) {
      const score = batch.scores[i] as number
      this.sums[binOf(this.edges, score)]?.add(score, batch.labels[i] as number)
    }
  }

  value(): CalibrationResult {
    return resultOf(this.sums, this.edges)
  }

  merge(other: EqualWidthCalibration): void {
    if (other.sums.length !== this.sums.length) {
      refuse('EqualWidthCalibration', 'other', `of ${this.sums.length} bins`, other.sums.length)
    }
    this.sums.forEach((sums, i) => {
      const more = other.sums[i] as BinSums
      sums.count += more.count
      sums.positives += more.positives
      sums.predicted.merge(more.predicted)
    })
  }
}

/**
 * Calibration error over bins of equal mass: edges are quantiles of the probabilities, linear between neighbours. Equal
 * probabilities share a bin, so with many of them bins are uneven and some empty. Keeps 5 bytes an example.
 */
export class EqualMassCalibration implements Accumulator<BinaryBatch, CalibrationResult> {
  private readonly scores = floatColumn()
  private readonly labels = byteColumn()

  constructor(private readonly bins = 15) {
    checkBins('EqualMassCalibration', bins)
  }

  update(batch: BinaryBatch): void {
    checkBinary('EqualMassCalibration', batch)
    checkProbabilities('EqualMassCalibration', batch.scores)
    this.scores.append(batch.scores)
    this.labels.append(batch.labels)
  }

  async value(): Promise<CalibrationResult> {
    const pause = createTimeSlice()
    const scores = await this.scores.flatten(pause)
    const labels = await this.labels.flatten(pause)
    const count = scores.length
    const { order } = await sortKeys(await floatKeys(scores, pause), await identity(count, pause), pause)
    const sorted = (position: number) => scores[order[position] as number] as number
    const edges = Float64Array.from({ length: this.bins + 1 }, (_, i) => {
      const position = (i * (count - 1)) / this.bins
      const below = Math.floor(position)
      const left = sorted(below)
      return left + (position - below) * (sorted(Math.min(below + 1, count - 1)) - left)
    })
    const sums = Array.from({ length: this.bins }, () => new BinSums())
    await inSlices(count, pause, (begin, end) => {
      for (let i = begin; i < end; i++) {
        sums[binOf(edges, scores[i] as number)]?.add(scores[i] as number, labels[i] as number)
      }
    })
    return resultOf(sums, edges)
  }

  merge(other: EqualMassCalibration): void {
    if (other.bins !== this.bins) refuse('EqualMassCalibration', 'other', `of ${this.bins} bins`, other.bins)
    this.scores.merge(other.scores)
    this.labels.merge(other.labels)
  }
}
