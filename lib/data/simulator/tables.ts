/** Tables whose columns lie in shared memory, so that threads fill parts of them and nobody copies. */
import type { Column } from '../columns.js'

/** A column; where `width` is given, a row has so many values. Arrays lie in shared memory. */
export interface TableColumn extends Column {
  readonly width?: number
}

export interface Table {
  readonly rowCount: number
  readonly columns: Readonly<Record<string, TableColumn>>
}

const shared = (length: number, bytes: number) => new SharedArrayBuffer(length * bytes)

export const int32 = (length: number) => new Int32Array(shared(length, 4))
export const float32 = (length: number) => new Float32Array(shared(length, 4))
export const float64 = (length: number) => new Float64Array(shared(length, 8))

/** What a column holds: a scalar, or a vector of so many values. */
export type ColumnKind = 'int32' | 'float32' | 'float64' | number

/** An empty table: `{ user: 'int32', vector: 8 }`, where a number is the width of a float32 vector. */
export function createTable(rowCount: number, kinds: Readonly<Record<string, ColumnKind>>): Table {
  const columns: Record<string, TableColumn> = {}
  for (const [name, kind] of Object.entries(kinds)) {
    columns[name] =
      typeof kind === 'number'
        ? { values: float32(rowCount * kind), width: kind }
        : { values: { int32, float32, float64 }[kind](rowCount) }
  }
  return { rowCount, columns }
}

/** The values of a column of a table that this code made. */
export const valuesOf = ({ columns }: Table, name: string) => (columns[name] as TableColumn).values
export const intsOf = (table: Table, name: string) => valuesOf(table, name) as Int32Array
export const floatsOf = (table: Table, name: string) => valuesOf(table, name) as Float32Array
