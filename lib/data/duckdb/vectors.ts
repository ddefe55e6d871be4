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
 * The arrays behind a vector. They are private in the types of @duckdb/node-api, whose public way costs a call and a
 * BigInt per item; this is the one place that knows.
 */
const insideOf = (vector: DuckDBVector) =>
  vector as unknown as {
    readonly items?: Items
    readonly validity?: { readonly data: BigUint64Array | null; readonly offset: number }
    /** Of a list vector: offset and length of each row. */
    readonly entryData?: BigUint64Array
  }

export function scalarsOf(vector: DuckDBVector): ScalarVector {
  const { items, validity } = insideOf(vector)
  const typed = items instanceof Int32Array || items instanceof Float32Array || items instanceof Float64Array
  if (!typed || validity === undefined || validity.offset !== 0) throw changed(vector, 'typed items', items)
  return { items, validity: bytesOf(validity.data) }
}

const bytesOf = (bits: BigUint64Array | null): Uint8Array | null =>
  bits && new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength)

export const isNull = (validity: Uint8Array, index: number): boolean =>
  (((validity[index >> 3] as number) >> (index & 7)) & 1) === 0

/**
 * A list vector: the items of row r are child[start(r) .. start(r) + length(r)). A null list has length 0; what DuckDB
 * leaves in its entry is whatever memory held before.
 */
export class ListVector {
  readonly child: ScalarVector
  /** Low and high words of offset and length; a chunk has fewer than 2^32 items, and both machines are little-endian. */
  readonly #words: Uint32Array
  readonly #validity: Uint8Array | null

  constructor(vector: DuckDBVector) {
    const { entryData, validity } = insideOf(vector)
    if (!(vector instanceof DuckDBListVector && entryData instanceof BigUint64Array && validity?.offset === 0))
      throw changed(vector, 'a list', entryData)
    this.#validity = bytesOf(validity.data)
    this.child = scalarsOf(vector.childVector)
    this.#words = new Uint32Array(entryData.buffer, entryData.byteOffset, 2 * entryData.length)
  }

  start(row: number): number {
    return this.#isNull(row) ? 0 : (this.#words[4 * row] as number)
  }

  length(row: number): number {
    return this.#isNull(row) ? 0 : (this.#words[4 * row + 2] as number)
  }

  #isNull(row: number): boolean {
    return this.#validity !== null && isNull(this.#validity, row)
  }
}

function changed(vector: DuckDBVector, expected: string, got: unknown): KairosError {
  return new KairosError('KAIROS_INTERNAL', {
    op: 'reading',
    argument: vector.constructor.name,
    expected,
    got: (got as object | undefined)?.constructor.name ?? 'nothing',
    hint: '@duckdb/node-api has changed inside',
  })
}
