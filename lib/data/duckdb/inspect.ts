/** What stands in files: names and types of their columns, and whether compressed ones are whole. */
import { createReadStream } from 'node:fs'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import type { DuckDBConnection } from '@duckdb/node-api'
import { KairosError } from '../../core/errors.js'
import { readFirstLine } from '../csvHeader.js'
import { checkEncoding, dataError, missingColumn, plural, type ResolvedFile } from '../dataFile.js'
import { columnOf, type Features } from '../features.js'
import { explainFailure, explainJson } from './failure.js'
import { describeJson, describeParquet, typeMistake } from './sql.js'

/**
 * Decompresses gzip files once to the end: DuckDB takes a truncated one for a short one, and does not compare the
 * checksum.
 */
export async function checkGzip(op: string, file: ResolvedFile): Promise<void> {
  if (!file.gzip) return
  for (const [i, path] of file.paths.entries()) {
    const shown = file.shown[i] as string
    let bytes = 0
    const sink = new Writable({
      write(chunk: Uint8Array, _, done) {
        try {
          if (bytes === 0) checkEncoding(op, shown, chunk)
          bytes += chunk.length
          done()
        } catch (error) {
          done(error as Error)
        }
      },
    })
    try {
      await pipeline(createReadStream(path), createGunzip(), sink)
    } catch (error) {
      if (error instanceof KairosError) throw error
      throw new KairosError(
        'KAIROS_DATA',
        { op, argument: shown, expected: 'whole gzip data', got: (error as Error).message },
        { cause: error },
      )
    }
    if (bytes === 0) throw dataError(op, shown, 'at least one row', 'an empty file, compressed')
  }
}

/** Columns of JSON Lines are looked for in this many rows first, then in all. */
const JSON_SAMPLE = 20480

/**
 * Type by column of the files, all of which must have what the features need. Text files: every column of a CSV; of
 * JSON Lines those that the features read.
 */
export async function columnTypes(
  op: string,
  file: ResolvedFile,
  features: Features,
  connection: DuckDBConnection,
): Promise<ReadonlyMap<string, string>> {
  let types: ReadonlyMap<string, string> | undefined
  for (const [i, path] of file.paths.entries()) {
    const shown = file.shown[i] as string
    const one = { ...file, paths: [path], shown: [shown] }
    let found: ReadonlyMap<string, string>
    try {
      found = await inspectors[file.format](op, one, features, connection)
    } catch (error) {
      if (error instanceof KairosError) throw error
      throw await explainFailure(op, one, new Map(), error)
    }
    for (const [name, feature] of Object.entries(features)) {
      const column = columnOf(name, feature)
      const type = found.get(column)
      if (type === undefined) throw missingColumn(op, shown, column, [...found.keys()])
      const mistake = typeMistake(feature, type, file.format !== 'parquet')
      if (mistake) throw dataError(op, `${shown}, column '${column}'`, `${mistake} for ${feature.kind} '${name}'`, type)
      const first = types?.get(column)
      if (first !== undefined && first !== type)
        throw dataError(op, `${shown}, column '${column}'`, `${first}, as in ${file.shown[0]}`, type)
    }
    if (file.format === 'csv' && types && [...types.keys()].join('\n') !== [...found.keys()].join('\n'))
      throw dataError(op, shown, `the columns of ${file.shown[0]}, in that order`, [...found.keys()].join(', '))
    types ??= found
  }
  return types as ReadonlyMap<string, string>
}

type Inspector = (
  op: string,
  file: ResolvedFile,
  features: Features,
  connection: DuckDBConnection,
) => Promise<ReadonlyMap<string, string>>

const rowsOf = async (connection: DuckDBConnection, sql: string): Promise<unknown[][]> =>
  (await connection.runAndReadAll(sql)).getRows() as unknown[][]

const described = (rows: unknown[][]) => new Map(rows.map(([name, type]) => [String(name), String(type)] as const))

const inspectCsv: Inspector = async (op, file) => {
  const [path] = file.paths as [string]
  const [shown] = file.shown as [string]
  const first = await readFirstLine(path, file)
  if (first === undefined) throw dataError(op, `${shown}, line 1`, 'at most 2 MB', 'more', 'A quote may be left open')
  const cells = file.trim ? first.map((text) => text.trim()) : first
  if (cells.length === 1 && cells[0] === '' && file.names?.length !== 1)
    throw dataError(op, `${shown}, line 1`, file.header ? 'the names of the columns' : 'a row', 'a blank line')
  if (file.names && file.names.length !== cells.length)
    throw dataError(
      op,
      `${shown}, line 1`,
      plural(file.names.length, 'value'),
      `${cells.length}`,
      'A name is given for each',
    )
  const names = file.names ?? cells
  const nameless = names.indexOf('')
  if (nameless >= 0) throw dataError(op, `${shown}, header, column ${nameless + 1}`, 'a name', 'an empty text')
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw dataError(op, `${shown}, header`, 'different names', `'${twice}' twice`)
  return new Map(names.map((name) => [name, 'VARCHAR']))
}

const inspectParquet: Inspector = async (_, file, __, connection) =>
  described(await rowsOf(connection, describeParquet(file.paths[0] as string)))

/** Values are read as texts, lists as lists of texts, and judged one by one: what the reader would guess depends on its sample. */
const inspectJson: Inspector = async (op, file, features, connection) => {
  const path = file.paths[0] as string
  const wanted = Object.entries(features).map(([name, feature]) => columnOf(name, feature))
  let names = new Set(described(await rowsOf(connection, describeJson(file, path, JSON_SAMPLE))).keys())
  if (wanted.some((name) => !names.has(name)))
    names = new Set(described(await rowsOf(connection, describeJson(file, path, -1))).keys())
  const missing = wanted.find((name) => !names.has(name))
  // Lines that are no objects have no names either.
  if (missing !== undefined)
    throw (
      (await explainJson(op, file.shown[0] as string, path, file.gzip, new Map())) ??
      missingColumn(op, file.shown[0] as string, missing, [...names])
    )
  const isList = ({ kind }: Features[string]) => kind === 'sequence' || kind === 'dense'
  return new Map(
    Object.entries(features).map(([name, feature]) => [
      columnOf(name, feature),
      isList(feature) ? 'VARCHAR[]' : 'VARCHAR',
    ]),
  )
}

const inspectors = { csv: inspectCsv, parquet: inspectParquet, jsonl: inspectJson } satisfies Record<string, Inspector>
