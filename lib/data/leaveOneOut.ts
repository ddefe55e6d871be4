/**
 * The leave-one-out split: a user's last item is the test target, the one before it the validation target, the rest is
 * for training. Nothing is copied.
 *
 *     row r    a   b   c   d    |   e         |   f
 *              train            |   validation|   test
 *              offsets[r]           trainEnds[r]    offsets[r + 1] - 1
 *
 * A user with fewer than three items is in training only, and counted.
 */
import { KairosError } from '../core/errors.js'
import { rowCount } from '../core/ragged.js'
import type { Sequences } from './sequences.js'

export interface LeaveOneOut {
  readonly sequences: Sequences
  /** Per row the end (exclusive) of its training items in `sequences.values`; there the validation target stands. */
  readonly trainEnds: Int32Array
  /** Rows that have a validation and a test target, ascending. */
  readonly evaluated: Int32Array
  /** Users with fewer than three items. */
  readonly trainOnlyCount: number
}

export type EvaluationPart = 'validation' | 'test'

/** Fewest items of a user who is evaluated: one to see, one to validate, one to test. */
const LEAST_ITEMS = 3

export function leaveOneOut(sequences: Sequences): LeaveOneOut {
  const { offsets } = sequences
  const rows = rowCount(sequences)
  const trainEnds = new Int32Array(rows)
  const evaluated = new Int32Array(rows)
  let count = 0
  for (let row = 0; row < rows; row++) {
    const start = offsets[row] as number
    const end = offsets[row + 1] as number
    if (end - start >= LEAST_ITEMS) {
      trainEnds[row] = end - 2
      evaluated[count++] = row
    } else {
      trainEnds[row] = end
    }
  }
  if (count === 0) {
    throw new KairosError('KAIROS_DATA', {
      op: 'leaveOneOut',
      argument: sequences.source,
      expected: `at least one user with ${LEAST_ITEMS} items or more`,
      got: `${rows} users with fewer`,
    })
  }
  return { sequences, trainEnds, evaluated: evaluated.slice(0, count), trainOnlyCount: rows - count }
}

/** Position of a row's target in `sequences.values`; everything before it in the row is history. */
export const targetPosition = (split: LeaveOneOut, part: EvaluationPart, row: number): number =>
  (split.trainEnds[row] as number) + (part === 'test' ? 1 : 0)

/**
 * How often each item id occurs, length maxItem + 1: in training items, or in all of them, where the counts have seen
 * the answers (published popularity baselines often do that).
 */
export function countItems({ sequences, trainEnds }: LeaveOneOut, which: 'train' | 'all'): Int32Array {
  const { values, offsets, maxItem } = sequences
  const counts = new Int32Array(maxItem + 1)
  for (let row = 0; row < trainEnds.length; row++) {
    const end = (which === 'all' ? offsets[row + 1] : trainEnds[row]) as number
    for (let i = offsets[row] as number; i < end; i++) {
      const item = values[i] as number
      counts[item] = (counts[item] as number) + 1
    }
  }
  return counts
}
