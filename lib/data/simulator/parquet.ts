/** Tables as Parquet files, written by DuckDB from our arrays: a copy per column and chunk, no object per row. */
import {
  ARRAY,
  DOUBLE,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBType,
  type DuckDBVector,
  FLOAT,
  INTEGER,
} from '@duckdb/node-api'
import { quoteName, quoteText } from '../duckdb/sql.js'
import { makeWhole } from '../wholeFile.js'
import type { Table, TableColumn } from './tables.js'

export interface ParquetFile {
  readonly path: string
  readonly table: Table
  readonly threads: number
}

/** Rows of a chunk of DuckDB. */
const CHUNK = 2048

type Values = TableColumn['values']

/** How a column crosses: its type there, the expression of what is stored, and how rows [begin, end) are copied. */
interface Transfer {
  readonly types: readonly DuckDBType[]
  expression(columns: readonly string[]): string
  copy(vectors: readonly DuckDBVector[], begin: number, end: number): void
}

const typeOf = (values: Values): DuckDBType =>
  values instanceof Int32Array ? INTEGER : values instanceof Float32Array ? FLOAT : DOUBLE

/** The arrays behind a vector, which are private in its type; `flush` copies them into DuckDB. */
const itemsOf = (vector: DuckDBVector) => (vector as unknown as { readonly items: Values }).items
const childOf = (vector: DuckDBVector) => (vector as unknown as { readonly childData: DuckDBVector }).childData

function scalar({ values }: TableColumn): Transfer {
  return {
    types: [typeOf(values)],
    expression: ([column]) => column as string,
    copy([vector], begin, end) {
      itemsOf(vector as DuckDBVector).set(values.subarray(begin, end))
      vector?.flush()
    },
  }
}

function vectorOf({ values }: TableColumn, width: number): Transfer {
  return {
    types: [ARRAY(typeOf(values), width)],
    expression: ([column]) => column as string,
    copy([vector], begin, end) {
      itemsOf(childOf(vector as DuckDBVector)).set(values.subarray(begin * width, end * width))
      vector?.flush()
    },
  }
}

/** A list crosses as an array of the greatest length and its own length, by which it is cut there. */
function ragged({ values, offsets }: TableColumn & { readonly offsets: Int32Array }): Transfer {
  let width = 1
  for (let row = 0; row + 1 < offsets.length; row++)
    width = Math.max(width, (offsets[row + 1] as number) - (offsets[row] as number))
  return {
    types: [ARRAY(typeOf(values), width), INTEGER],
    expression: ([column, length]) => `(${column}::${typeOf(values)}[])[1:${length}]`,
    copy([vector, length], begin, end) {
      const items = itemsOf(childOf(vector as DuckDBVector))
      const lengths = itemsOf(length as DuckDBVector)
      for (let row = begin; row < end; row++) {
        const [first, last] = [offsets[row] as number, offsets[row + 1] as number]
        items.set(values.subarray(first, last), (row - begin) * width)
        lengths[row - begin] = last - first
      }
      vector?.flush()
      length?.flush()
    },
  }
}

const transferOf = (column: TableColumn): Transfer =>
  column.offsets
    ? ragged(column as TableColumn & { offsets: Int32Array })
    : column.width === undefined
      ? scalar(column)
      : vectorOf(column, column.width)

/** Writes a table, whole or not at all. */
export async function writeParquet({ path, table, threads }: ParquetFile): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', {
    // Nothing is ever downloaded.
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    threads: String(threads),
  })
  const connection = await instance.connect()
  try {
    await load(connection, table)
    await makeWhole(path, async (half) => {
      await connection.run(
        `copy (${selection(table)}) to ${quoteText(half)} (format parquet, compression zstd, row_group_size 131072)`,
      )
    })
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

/** Names of the columns that carry a column there. */
const carriers = (name: string, { types }: Transfer): string[] =>
  types.map((_, i) => quoteName(i === 0 ? name : `${name} ${i}`))

function selection({ columns }: Table): string {
  const expressions = Object.entries(columns).map(([name, column]) => {
    const transfer = transferOf(column)
    return `${transfer.expression(carriers(name, transfer))} as ${quoteName(name)}`
  })
  return `select ${expressions.join(', ')} from loaded`
}

async function load(connection: DuckDBConnection, { columns, rowCount }: Table): Promise<void> {
  const transfers = Object.entries(columns).map(([name, column]) => ({ name, transfer: transferOf(column) }))
  const types = transfers.flatMap(({ transfer }) => transfer.types)
  const names = transfers.flatMap(({ name, transfer }) => carriers(name, transfer))
  await connection.run(`create table loaded (${names.map((name, i) => `${name} ${types[i]}`).join(', ')})`)
  const appender = await connection.createAppender('loaded')
  for (let begin = 0; begin < rowCount; begin += CHUNK) {
    const end = Math.min(rowCount, begin + CHUNK)
    const chunk = DuckDBDataChunk.create(types, end - begin)
    let at = 0
    for (const { transfer } of transfers) {
      const vectors = transfer.types.map(() => chunk.getColumnVector(at++))
      transfer.copy(vectors, begin, end)
    }
    appender.appendDataChunk(chunk)
  }
  appender.closeSync()
}
