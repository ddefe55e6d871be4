/** Small tables of results as plain text. */

/** A mean and the interval around it. */
export interface Estimate {
  readonly mean: number
  readonly low: number
  readonly high: number
}

export type Cell = string | number | Estimate

export interface TableOptions {
  /** Digits after the point. */
  readonly digits?: number
}

/**
 *     system          HR@10             NDCG@10
 *     popularity      0.0385 ± 0.0115   0.0180 ± 0.0058
 *     frequency       0.0807 ± 0.0162   0.0435 ± 0.0093
 *
 * A column starts at the same place in every row; numbers have the same number of digits, so they line up. The ± is
 * half the width of the interval.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
  { digits = 4 }: TableOptions = {},
): string {
  const lines = [header, ...rows.map((row) => row.map((cell) => formatCell(cell, digits)))]
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
}

/** `0.0385`, `0.0385 ± 0.0115`; a sign in front of a negative number only. */
export function formatCell(cell: Cell, digits = 4): string {
  if (typeof cell === 'string') return cell
  if (typeof cell === 'number') return Number.isInteger(cell) ? cell.toLocaleString('en-US') : cell.toFixed(digits)
  return `${cell.mean.toFixed(digits)} ± ${((cell.high - cell.low) / 2).toFixed(digits)}`
}
