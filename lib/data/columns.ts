/**
 * Columns as typed arrays: what a file is read into and what batches are copied from.
 *
 *     scalar   values[row]                                   categorical, domain, groupId: int32
 *                                                            numeric, label: float32; time: float64
 *     dense    values[row * width .. (row + 1) * width)      float32
 *     ragged   values[offsets[row] .. offsets[row + 1])      sequence: int32
 */
export interface Column {
  readonly values: Int32Array | Float32Array | Float64Array
  /** Of a ragged column: one more than there are rows. */
  readonly offsets?: Int32Array
  /** Of a numeric column that has nulls: 1 where one was. */
  readonly missing?: Uint8Array
}

export type Columns = Readonly<Record<string, Column>>

/** How a vocabulary numbers: 0 padding, 1 unknown, 2 null, then its values from 3 on. */
export const PADDING_ID = 0
export const UNKNOWN_ID = 1
export const NULL_ID = 2
export const FIRST_VALUE_ID = 3

/** What numbers and texts became, so that other files are read alike. Plain data: it crosses threads and is saved. */
export interface Encoding {
  /** Values in the order of their ids, from id 3 on. */
  readonly vocabularies: Readonly<Record<string, readonly string[]>>
  /** Of standardised numeric features: x becomes (x - mean) / deviation. */
  readonly scales: Readonly<Record<string, Scale>>
}

export interface Scale {
  readonly mean: number
  readonly deviation: number
}

/** Rows that a table of embeddings needs for a vocabulary. */
export const vocabularySize = (values: readonly string[]): number => FIRST_VALUE_ID + values.length
