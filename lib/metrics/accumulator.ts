/**
 * Metrics as accumulators: fed batch by batch, asked at any time, merged across threads and parts.
 *
 * A value depends on the examples alone: cutting them into other batches, or merging parts in another order, gives the
 * same bits, since sums are exact (exactSum.ts) and sorted columns have one order.
 */
import { KairosError } from '../core/errors.js'
import { createTimeSlice, inSlices } from '../core/timeSlice.js'

export interface Accumulator<Batch, Value> {
  /** Takes the examples of a batch in; throws KAIROS_ARGUMENT, taking none, when one is malformed. */
  update(batch: Batch): void
  /** The metric of all examples so far. Long computations give way to the event loop. */
  value(): Value | Promise<Value>
  /** Takes in what another accumulator of the same settings has seen, which stays as it is. */
  merge(other: this): void
}

/** Predictions and what happened: a score and a label per example. */
export interface BinaryBatch {
  /** Probabilities or any scores that rank; compared as float32, which is what programs give. Not NaN. */
  readonly scores: Float32Array
  /** 0 or 1 each. */
  readonly labels: ArrayLike<number>
}

export interface WeightedBatch extends BinaryBatch {
  /** How much each example counts: finite, not negative. */
  readonly weights: Float32Array
}

export interface GroupedBatch extends BinaryBatch {
  /** The group of each example: its user, as a rule. */
  readonly groups: Int32Array
}

/** A metric of whole columns: feeds them in pieces, so that the event loop turns in between. */
export async function measure<Batch extends object, Value>(
  metric: Accumulator<Batch, Value>,
  columns: Batch & { readonly [K in keyof Batch]: Float32Array | Int32Array | Uint8Array },
): Promise<Value> {
  const entries = Object.entries<Float32Array | Int32Array | Uint8Array>(columns)
  const count = entries[0]?.[1].length ?? 0
  for (const [name, { length }] of entries) requireLength('measure', name, length, count)
  await inSlices(count, createTimeSlice(), (begin, end) => {
    metric.update(Object.fromEntries(entries.map(([name, column]) => [name, column.subarray(begin, end)])) as Batch)
  })
  return metric.value()
}

// Refusals -----------------------------------------------------------------------------------------------------------

export function refuse(op: string, argument: string, expected: string, got: unknown): never {
  throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got: String(got) })
}

export function requireLength(op: string, argument: string, length: number, expected: number): void {
  if (length !== expected) refuse(op, argument, `of ${expected} elements, one per example,`, length)
}

/** Refuses columns of different lengths, NaN scores, and labels other than 0 and 1. */
export function checkBinary(op: string, { scores, labels }: BinaryBatch): void {
  requireLength(op, 'labels', labels.length, scores.length)
  for (let i = 0; i < scores.length; i++) {
    const label = labels[i] as number
    if (label !== 0 && label !== 1) refuse(op, `labels[${i}]`, '0 or 1', label)
    if (Number.isNaN(scores[i])) refuse(op, `scores[${i}]`, 'a number', Number.NaN)
  }
}

export function checkProbabilities(op: string, scores: Float32Array): void {
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number
    if (!(score >= 0 && score <= 1)) refuse(op, `scores[${i}]`, 'a probability in [0, 1]', score)
  }
}

export function checkWeights(op: string, weights: Float32Array, count: number): void {
  requireLength(op, 'weights', weights.length, count)
  for (let i = 0; i < count; i++) {
    const weight = weights[i] as number
    if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
      refuse(op, `weights[${i}]`, 'finite and not negative', weight)
    }
  }
}
