/** How we read DuckDB's column vectors: without an object per row. */
import { DuckDBListVector, type DuckDBVector } from '@duckdb/node-api'
import { KairosError } from '../../core/errors.js'

export type Items = Int32Array | Float32Array | Float64Array

/** A scalar vector: typed items, and a bit per item that is 0 where it is null; no bits when none is. */
export interface ScalarVector {
  readonly items: Items
  readonly validity: Uint8Array | null
}

/**
 * The arrays behind a scalar vector. They are private in the types of @duckdb/node-api, whose public way costs a call
 * and a BigInt per item; this is the one place that knows.
 */
export function scalarsOf(vector: DuckDBVector): ScalarVector {
  const { items, validity } = vector as unknown as {
    items?: Items
    validity?: { data: BigUint64Array | null; offset: number }
  }
  const typed = items instanceof Int32Array || items instanceof Float32Array || items instanceof Float64Array
  if (!typed || validity === undefined || validity.offset !== 0) {
    throw new KairosError('KAIROS_INTERNAL', {
      op: 'scalarsOf',
      argument: vector.constructor.name,
      expected: 'typed items',
      got: String(items?.constructor.name),
      hint: '@duckdb/node-api has changed inside',
    })
  }
  const bits = validity.data
  return { items, validity: bits && new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength) }
}

export const isNull = (validity: Uint8Array, index: number): boolean =>
  (((validity[index >> 3] as number) >> (index & 7)) & 1) === 0

export interface ListVector {
  readonly child: ScalarVector
  start(row: number): number
  length(row: number): number
}

export function listsOf(vector: DuckDBVector): ListVector {
  if (!(vector instanceof DuckDBListVector)) {
    throw new KairosError('KAIROS_INTERNAL', { op: 'listsOf', expected: 'a list', got: vector.constructor.name })
  }
  return {
    child: scalarsOf(vector.childVector),
    start: (row) => vector.getEntryOffset(row),
    // A null list has length 0 too.
    length: (row) => vector.getEntryLength(row),
  }
}
