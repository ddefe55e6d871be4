/** Files of rows into memory, and what is learnt from them without holding them. */
import type { Columns, Encoding } from './columns.js'
import { type DataFile, resolveFile } from './dataFile.js'
import { Dataset } from './dataset.js'
import { answersOf } from './duckdb/client.js'
import { type FitOptions, limitsOf } from './encoding.js'
import type { AnySchema, DataSchema, Features } from './features.js'

export interface ReadOptions {
  /**
   * What gives values their ids and scales, fitted on a training part; values that it lacks are unknown. Without one
   * every value of the file gets an id: split, then `fitEncoding(train)` and `encode` each part.
   */
  readonly encoding?: Encoding
  /** Threads that read; by default as many as there are cores. */
  readonly threads?: number
}

/**
 * Reads a CSV (also .tsv), Parquet or JSON Lines file, or several with the same columns, into memory. Reading and
 * decoding run on a thread of their own; all values are checked.
 *
 * Nulls: of a categorical feature with a vocabulary they have the id 2; a numeric null is 0 (see `numeric`); a null list
 * is empty and nulls in a list are left out; anywhere else a null is an error.
 *
 * Throws KAIROS_DATA naming file, row (from 1, the header aside) and column, with what stands there.
 */
export async function readDataset<F extends Features>(
  file: string | DataFile,
  schema: DataSchema<F>,
  options: ReadOptions = {},
): Promise<Dataset<F>> {
  const op = 'readDataset'
  const resolved = await resolveFile(op, file)
  const common = { op, file: resolved, features: schema.features, threads: options.threads ?? null }
  let encoding: Encoding | undefined
  let columns: Columns | undefined
  let rowCount = 0
  for await (const answer of answersOf({ ...common, task: 'collect', encoding: options.encoding ?? null })) {
    if (answer.type === 'encoding') encoding = answer.encoding
    if (answer.type === 'block') {
      columns = answer.block.columns
      rowCount = answer.block.rowCount
    }
  }
  return Dataset.trusted(schema, columns as Columns, encoding as Encoding, rowCount)
}

/**
 * Vocabularies and scales of a file that memory does not hold, by one pass over it and one for each sequence.
 * `rows`: of its rows [begin, end) only, such as those before the validation part.
 */
export async function fitEncodingOfFile(
  file: string | DataFile,
  schema: AnySchema,
  options: FitOptions & { readonly rows?: readonly [number, number]; readonly threads?: number } = {},
): Promise<Encoding> {
  const op = 'fitEncodingOfFile'
  const resolved = await resolveFile(op, file)
  const common = { op, file: resolved, features: schema.features, threads: options.threads ?? null }
  const limits = limitsOf(op, schema.features, options)
  for await (const answer of answersOf({ ...common, task: 'fit', rows: options.rows ?? null, limits })) {
    if (answer.type === 'encoding') return answer.encoding
  }
  return { vocabularies: {}, scales: {} }
}
