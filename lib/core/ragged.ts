/**
 * Rows of different lengths in two flat arrays, with no object per row.
 *
 *     values    a b c | d | e f          row r is values[offsets[r] .. offsets[r + 1])
 *     offsets   0       3   4     6      one more than there are rows
 */
export interface Ragged {
  readonly values: Int32Array
  readonly offsets: Int32Array
}

export const rowCount = ({ offsets }: Ragged): number => Math.max(0, offsets.length - 1)

/** A view of row r, not a copy. */
export const rowOf = ({ values, offsets }: Ragged, row: number): Int32Array =>
  values.subarray(offsets[row], offsets[row + 1])

/** The row that holds a position of `values`: the greatest r with offsets[r] <= position, found by halving. */
export function rowAt(offsets: Int32Array, position: number): number {
  let low = 0
  let high = offsets.length - 1
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if ((offsets[middle] as number) <= position) low = middle
    else high = middle
  }
  return low
}
