/** Area under the ROC curve: exact, and for unbounded streams from a histogram with a bound on its error. */
import { createTimeSlice, inSlices, type Pause } from '../core/timeSlice.js'
import {
  type Accumulator,
  type BinaryBatch,
  checkBinary,
  checkWeights,
  measure,
  type WeightedBatch,
} from './accumulator.js'
import {
  type Column,
  float32s,
  floatColumn,
  floatKeys,
  gathered,
  identity,
  keyOfBits,
  SCATTERED,
  sortKeys,
} from './column.js'
import { PairCounter } from './pairCounter.js'

/**
 * AUC: the share of (positive, negative) pairs in which the positive has the greater score; a pair of equal scores
 * counts one half, which is the rank sum of Mann and Whitney (1947) with midranks. NaN while a class has no example.
 *
 * Exact, from 4 bytes an example. Pairs are counted in float64: without rounding below 2^53 of them.
 */
export class Auc implements Accumulator<BinaryBatch, number> {
  private readonly positives = floatColumn()
  private readonly negatives = floatColumn()

  update(batch: BinaryBatch): void {
    checkBinary('Auc', batch)
    const { scores, labels } = batch
    for (let i = 0; i < scores.length; i++) {
      const side = labels[i] === 1 ? this.positives : this.negatives
      side.push(scores[i] as number)
    }
  }

  async value(): Promise<number> {
    const pause = createTimeSlice()
    const sorted = async (scores: Column<Float32Array>): Promise<Side> => ({
      keys: (await sortKeys(await floatKeys(await scores.flatten(pause), pause), null, pause)).keys,
      weights: null,
    })
    return areaOf(await sorted(this.positives), await sorted(this.negatives), pause)
  }

  merge(other: Auc): void {
    this.positives.merge(other.positives)
    this.negatives.merge(other.negatives)
  }
}

/** AUC in which a pair counts the product of its examples' weights. NaN while a class has no weight. */
export class WeightedAuc implements Accumulator<WeightedBatch, number> {
  private readonly sides = { positive: weightedColumns(), negative: weightedColumns() }

  update(batch: WeightedBatch): void {
    checkBinary('WeightedAuc', batch)
    const { scores, labels, weights } = batch
    checkWeights('WeightedAuc', weights, scores.length)
    for (let i = 0; i < scores.length; i++) {
      const side = labels[i] === 1 ? this.sides.positive : this.sides.negative
      side.scores.push(scores[i] as number)
      side.weights.push(weights[i] as number)
    }
  }

  async value(): Promise<number> {
    const pause = createTimeSlice()
    const { positive, negative } = this.sides
    return areaOf(await sortedSide(positive, pause), await sortedSide(negative, pause), pause)
  }

  merge(other: WeightedAuc): void {
    for (const side of ['positive', 'negative'] as const) {
      this.sides[side].scores.merge(other.sides[side].scores)
      this.sides[side].weights.merge(other.sides[side].weights)
    }
  }
}

const weightedColumns = () => ({ scores: floatColumn(), weights: floatColumn() })

/** One class: its scores' keys ascending, and the weight of each. */
interface Side {
  readonly keys: Uint32Array
  readonly weights: Float32Array | null
}

/** Sorted by score and then by weight, so that sums do not depend on the order of arrival. */
async function sortedSide({ scores, weights }: ReturnType<typeof weightedColumns>, pause: Pause): Promise<Side> {
  const flat = await weights.flatten(pause)
  const keys = await floatKeys(await scores.flatten(pause), pause)
  const byWeight = await sortKeys(await floatKeys(flat, pause), await identity(flat.length, pause), pause)
  const sorted = await sortKeys(await gathered(keys, byWeight.order, pause), byWeight.order, pause)
  const inOrder = float32s(flat.length)
  await inSlices(
    flat.length,
    pause,
    (begin, end) => {
      for (let i = begin; i < end; i++) inOrder[i] = flat[sorted.order[i] as number] as number
    },
    SCATTERED,
  )
  return { keys: sorted.keys, weights: inOrder }
}

/** Walks both classes upwards together, one example a step. */
async function areaOf(positive: Side, negative: Side, pause: Pause): Promise<number> {
  const [p, n] = [positive.keys.length, negative.keys.length]
  const pairs = new PairCounter()
  let [i, j, key] = [0, 0, -1]
  await inSlices(p + n, pause, (begin, end) => {
    for (let step = begin; step < end; step++) {
      const isPositive = j === n || (i < p && (positive.keys[i] as number) <= (negative.keys[j] as number))
      const side = isPositive ? positive : negative
      const at = isPositive ? i++ : j++
      if (side.keys[at] !== key) pairs.settle()
      key = side.keys[at] as number
      pairs.add(isPositive, side.weights ? side.weights[at] : 1)
    }
  })
  return pairs.finish().auc
}

// Histogram ----------------------------------------------------------------------------------------------------------

export interface BoundedAuc {
  readonly auc: number
  /** The exact AUC lies within `auc` +- `error`. */
  readonly error: number
}

/** Leading bits of a float32 that name its bin: sign, exponent and 9 bits of mantissa. */
const BIN_BITS = 18

/**
 * AUC in constant memory (4 MB), for streams without an end: scores that agree in sign, exponent and 9 bits of mantissa
 * share a bin, and count as equal. Only pairs within a bin can be judged wrongly, each by at most one half, so
 * `error` is half their share: a bound, not an estimate.
 */
export class HistogramAuc implements Accumulator<BinaryBatch, BoundedAuc> {
  private readonly positives = new Float64Array(2 ** BIN_BITS)
  private readonly negatives = new Float64Array(2 ** BIN_BITS)

  update(batch: BinaryBatch): void {
    checkBinary('HistogramAuc', batch)
    const { scores, labels } = batch
    const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length)
    for (let i = 0; i < scores.length; i++) {
      const bin = keyOfBits(bits[i] as number) >>> (32 - BIN_BITS)
      const side = labels[i] === 1 ? this.positives : this.negatives
      side[bin] = (side[bin] as number) + 1
    }
  }

  async value(): Promise<BoundedAuc> {
    let [wins, below, above, shared] = [0, 0, 0, 0]
    await inSlices(this.positives.length, createTimeSlice(), (begin, end) => {
      for (let bin = begin; bin < end; bin++) {
        const [p, n] = [this.positives[bin] as number, this.negatives[bin] as number]
        wins += p * (below + n / 2)
        shared += p * n
        below += n
        above += p
      }
    })
    const pairs = above * below
    return { auc: wins / pairs, error: shared / pairs / 2 }
  }

  merge(other: HistogramAuc): void {
    for (const side of ['positives', 'negatives'] as const) {
      for (let bin = 0; bin < this[side].length; bin++) {
        this[side][bin] = (this[side][bin] as number) + (other[side][bin] as number)
      }
    }
  }
}

/** AUC of whole columns, weighted where weights are given. */
export const auc = (
  scores: Float32Array,
  labels: Float32Array | Int32Array | Uint8Array,
  { weights }: { readonly weights?: Float32Array } = {},
): Promise<number> =>
  weights ? measure(new WeightedAuc(), { scores, labels, weights }) : measure(new Auc(), { scores, labels })
