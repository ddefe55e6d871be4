/** Next-item examples from a leave-one-out split, written into arrays that the caller owns (leased staging views). */
import { KairosError } from '../core/errors.js'
import { rowAt } from '../core/ragged.js'
import { createRandom } from '../core/random.js'
import { type EvaluationPart, type LeaveOneOut, targetPosition } from './leaveOneOut.js'
import { createTimeSlice } from './timeSlice.js'

/** Id of padding, left of a short history. */
export const PADDING = 0
/** Filler of a short exclude list: no item. */
export const NO_ITEM = -1

export interface BatchSizes {
  /** Items of history, L. */
  readonly length: number
  readonly batchSize: number
}

export interface TrainingViews {
  /** [batchSize, L], padded with 0 on the left. */
  readonly history: Int32Array
  /** [batchSize] */
  readonly target: Int32Array
}

export interface EvaluationViews extends TrainingViews {
  /** [batchSize, excludeWidth]: padding, then the user's earlier items, then -1. */
  readonly exclude: Int32Array
}

export interface PrefixBatches {
  readonly exampleCount: number
  readonly batchCount: number
  /** Puts the examples into the order of an epoch, which depends on the seed and the epoch alone. */
  shuffle(epoch: number): Promise<void>
  /** Writes a batch and returns its number of examples; only the last can be short. The rest of a view is not written. */
  fill(batch: number, views: TrainingViews): number
}

/**
 * Training examples: every prefix of every user's training items, `minimumHistory` items or longer, with the item that
 * follows it as target; with `latestTargets` above 0 only the prefixes whose target is among the user's latest so many
 * training items. An example is the position of its target, so an epoch's order is one Int32Array.
 */
export function createPrefixBatches(
  split: LeaveOneOut,
  {
    length,
    batchSize,
    seed,
    minimumHistory = 1,
    latestTargets = 0,
  }: BatchSizes & { seed: number; minimumHistory?: number; latestTargets?: number },
): PrefixBatches {
  checkSizes('createPrefixBatches', { length, batchSize })
  if (latestTargets !== 0) checkSizes('createPrefixBatches', { latestTargets })
  const { sequences, trainEnds } = split
  const { values, offsets } = sequences
  const random = createRandom(seed).fork('prefix order')

  const firstTarget = (row: number): number => {
    const first = (offsets[row] as number) + minimumHistory
    return latestTargets > 0 ? Math.max(first, (trainEnds[row] as number) - latestTargets) : first
  }

  let exampleCount = 0
  for (let row = 0; row < trainEnds.length; row++) {
    exampleCount += Math.max(0, (trainEnds[row] as number) - firstTarget(row))
  }
  if (exampleCount === 0) {
    throw new KairosError('KAIROS_DATA', {
      op: 'createPrefixBatches',
      argument: sequences.source,
      expected: `a user with more than ${minimumHistory} training items`,
      got: 'none',
      hint: 'The last two items of every user are kept for validation and test',
    })
  }
  const positions = new Int32Array(exampleCount)

  const listPositions = () => {
    let next = 0
    for (let row = 0; row < trainEnds.length; row++) {
      const end = trainEnds[row] as number
      for (let i = firstTarget(row); i < end; i++) positions[next++] = i
    }
  }
  listPositions()

  return {
    exampleCount,
    batchCount: Math.ceil(exampleCount / batchSize),

    async shuffle(epoch) {
      listPositions()
      const order = random.fork(epoch)
      const pauseWhenDue = createTimeSlice()
      // Fisher and Yates, as Random.shuffle, but giving way: a million examples take a tenth of a second.
      for (let last = exampleCount - 1; last > 0; last--) {
        const other = order.int(last + 1)
        const position = positions[last] as number
        positions[last] = positions[other] as number
        positions[other] = position
        if (last % 1024 === 0) {
          const pause = pauseWhenDue()
          if (pause) await pause
        }
      }
    },

    fill(batch, { history, target }) {
      const { first, count } = batchRange('PrefixBatches.fill', batch, batchSize, exampleCount)
      checkView('PrefixBatches.fill', 'history', history, count * length)
      checkView('PrefixBatches.fill', 'target', target, count)
      for (let i = 0; i < count; i++) {
        const position = positions[first + i] as number
        fillHistory(history, i * length, length, values, offsets[rowAt(offsets, position)] as number, position)
        target[i] = values[position] as number
      }
      return count
    },
  }
}

export interface EvaluationBatches {
  readonly userCount: number
  readonly batchCount: number
  /** Width of the exclude lists. */
  readonly excludeWidth: number
  /** Rows of the sequences in the order of the batches. */
  readonly rows: Int32Array
  /** Writes a batch and returns its number of users. */
  fill(batch: number, views: EvaluationViews): number
}

/**
 * One example per evaluated user: the last L items before the target, and the items that a full ranking leaves out: the
 * padding id and everything the user had before the target, its validation item included when the test item is ranked.
 */
export function createEvaluationBatches(
  split: LeaveOneOut,
  { length, batchSize, part }: BatchSizes & { part: EvaluationPart },
): EvaluationBatches {
  checkSizes('createEvaluationBatches', { length, batchSize })
  const { sequences, evaluated } = split
  const { values, offsets } = sequences
  let widest = 0
  for (const row of evaluated) {
    widest = Math.max(widest, targetPosition(split, part, row) - (offsets[row] as number))
  }
  const excludeWidth = widest + 1

  return {
    userCount: evaluated.length,
    batchCount: Math.ceil(evaluated.length / batchSize),
    excludeWidth,
    rows: evaluated,

    fill(batch, { history, target, exclude }) {
      const { first, count } = batchRange('EvaluationBatches.fill', batch, batchSize, evaluated.length)
      checkView('EvaluationBatches.fill', 'history', history, count * length)
      checkView('EvaluationBatches.fill', 'target', target, count)
      checkView('EvaluationBatches.fill', 'exclude', exclude, count * excludeWidth)
      for (let i = 0; i < count; i++) {
        const row = evaluated[first + i] as number
        const start = offsets[row] as number
        const position = targetPosition(split, part, row)
        fillHistory(history, i * length, length, values, start, position)
        target[i] = values[position] as number
        const excludeStart = i * excludeWidth
        exclude[excludeStart] = PADDING
        exclude.set(values.subarray(start, position), excludeStart + 1)
        exclude.fill(NO_ITEM, excludeStart + 1 + position - start, excludeStart + excludeWidth)
      }
      return count
    },
  }
}

/** The up to `length` items before `position`, right-aligned; rows start at `rowStart`. */
function fillHistory(
  history: Int32Array,
  at: number,
  length: number,
  values: Int32Array,
  rowStart: number,
  position: number,
): void {
  const start = Math.max(rowStart, position - length)
  const padding = length - (position - start)
  history.fill(PADDING, at, at + padding)
  history.set(values.subarray(start, position), at + padding)
}

function batchRange(op: string, batch: number, batchSize: number, exampleCount: number) {
  const batchCount = Math.ceil(exampleCount / batchSize)
  if (!Number.isInteger(batch) || batch < 0 || batch >= batchCount) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op,
      argument: 'batch',
      expected: `an integer from 0 to ${batchCount - 1}`,
      got: String(batch),
    })
  }
  const first = batch * batchSize
  return { first, count: Math.min(batchSize, exampleCount - first) }
}

function checkView(op: string, argument: string, view: Int32Array, needed: number): void {
  if (!(view instanceof Int32Array) || view.length < needed) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op,
      argument,
      expected: `an Int32Array of at least ${needed} elements`,
      got: view instanceof Int32Array ? `${view.length}` : String(view),
    })
  }
}

function checkSizes(op: string, sizes: Readonly<Record<string, number>>): void {
  for (const [argument, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1) {
      throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected: 'a positive integer', got: String(size) })
    }
  }
}
