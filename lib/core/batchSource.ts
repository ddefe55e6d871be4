/**
 * What a training or evaluation loop reads from: batches in a known order, written into arrays that the loop owns.
 *
 * A loop binds its program to `capacities` once, then for each batch leases staging views for its `counts` and lets the
 * batch `fill` them.
 */
import type { Schema } from './schema.js'

/** Live sizes by symbol: `{ batch: 256, history_count: 8112 }`. */
export type Counts = Readonly<Record<string, number>>

export interface PreparedBatch {
  readonly counts: Counts
  /** Rows, where 'batch' counts something else; `counts.batch` unless told. */
  readonly examples?: number
  /** Writes every field; views may be longer than the live counts. Cheap (memory copies): called on the main thread. */
  fill(views: Readonly<Record<string, Float32Array | Int32Array | Uint8Array>>): void
}

export interface BatchSource {
  /** Fields of a batch, as `compile` takes them. */
  readonly schema: Schema
  readonly exampleCount: number
  readonly batchCount: number
  /** Largest counts that any batch will have: what programs are bound to. */
  readonly capacities: Counts
  /** Batches of an epoch in its order, from batch number `from` (resume). Order depends on seed and epoch alone. */
  batches(epoch: number, options?: { readonly from?: number }): AsyncIterable<PreparedBatch>
}

/** Rows that belong together: so many stand one after another, and only these features differ among them; labels do too. */
export interface RequestRows {
  readonly each: number
  readonly own: readonly string[]
}
