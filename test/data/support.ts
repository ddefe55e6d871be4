/** Files and batches for tests of data. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, beforeAll, expect } from 'vitest'
import type { BatchSource, PreparedBatch } from '../../lib/core/batchSource.js'
import { evaluateDim, sizeOf } from '../../lib/core/dim.js'
import { arrayOf } from '../../lib/core/dtype.js'
import { isKairosError } from '../../lib/core/errors.js'

/** A folder for the tests of a file: `write` puts a file there and answers its path, `sql` runs DuckDB. */
export function temporaryFolder() {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kairos-data-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))
  return {
    path: (name: string) => join(folder, name),
    async write(name: string, content: string | Uint8Array): Promise<string> {
      const path = join(folder, name)
      await writeFile(path, content)
      return path
    },
    /** Writes the rows of a query as Parquet. */
    async parquet(name: string, query: string): Promise<string> {
      const path = join(folder, name)
      const instance = await DuckDBInstance.create(':memory:')
      const connection = await instance.connect()
      await connection.run(`copy (${query}) to '${path}' (format parquet)`)
      connection.closeSync()
      instance.closeSync()
      return path
    },
  }
}

type Views = Record<string, Float32Array | Int32Array | Uint8Array>

/** The arrays of a batch, cut to its live sizes; views are larger and hold rubbish before. */
export function fieldsOf(source: Pick<BatchSource, 'schema' | 'capacities'>, batch: PreparedBatch) {
  const views: Views = {}
  for (const [name, { dtype, shape }] of Object.entries(source.schema))
    views[name] = arrayOf(dtype, evaluateDim(sizeOf(shape), source.capacities)).fill(-7)
  batch.fill(views)
  return Object.fromEntries(
    Object.entries(source.schema).map(([name, { shape }]) => [
      name,
      Array.from((views[name] as Int32Array).subarray(0, evaluateDim(sizeOf(shape), batch.counts))),
    ]),
  )
}

/** All batches of an epoch. */
export async function epochOf(source: BatchSource, epoch = 0, from = 0) {
  const batches = []
  for await (const batch of source.batches(epoch, { from })) batches.push(fieldsOf(source, batch))
  return batches
}

/** The message with which Kairos refuses; anything else fails the test. */
export const refusalOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => new Error('it was taken'),
    (error: Error) => error,
  )
  expect(isKairosError(error), error.stack).toBe(true)
  return error.message
}
