/** Batches straight from a file, for data that memory does not hold. */
import { KairosError } from '../core/errors.js'
import { createRandom } from '../core/random.js'
import type { Encoding } from './columns.js'
import { type DataFile, resolveFile } from './dataFile.js'
import { Dataset, type FeatureReport, type Report } from './dataset.js'
import {
  checkBatchSize,
  checkScales,
  checkStart,
  orderedRows,
  preparedBatch,
  type TypedBatchSource,
} from './datasetBatches.js'
import { answersOf } from './duckdb/client.js'
import type { Block } from './duckdb/protocol.js'
import { type AnySchema, countSymbol, type DataSchema, type Features } from './features.js'

export interface FileBatchOptions {
  readonly batchSize: number
  readonly encoding: Encoding
  /**
   * Shuffle within windows of so many rows, rounded up to whole batches, by `seed` and epoch; without it the rows come
   * in the order of the file. A file that is sorted by label or time wants shuffling when it is written.
   */
  readonly shuffleWindow?: number
  readonly seed?: number
  /** Threads that read; by default as many as there are cores. */
  readonly threads?: number
}

export type FileBatchSource<F extends Features> = TypedBatchSource<F> & {
  /** Unknown values and nulls of the batches handed out since the last epoch began. */
  report(): Report
}

/** Rows that cross threads together where nothing is shuffled. */
const BLOCK_ROWS = 16384

/**
 * Batches read as they are needed, a block ahead. The file is counted first. Ragged sequences need a `maxLength`, which
 * bounds what a batch can hold.
 */
export async function fileBatches<F extends Features>(
  file: string | DataFile,
  schema: DataSchema<F>,
  { batchSize, encoding, shuffleWindow, seed = 0, threads }: FileBatchOptions,
): Promise<FileBatchSource<F>> {
  const op = 'fileBatches'
  checkBatchSize(op, batchSize)
  if (shuffleWindow !== undefined && !(Number.isInteger(shuffleWindow) && shuffleWindow >= 1))
    throw new KairosError('KAIROS_ARGUMENT', {
      op,
      argument: 'shuffleWindow',
      expected: 'a positive integer',
      got: String(shuffleWindow),
    })
  checkScales(op, schema.features, { encoding })
  const capacities = boundsOf(op, schema.features, batchSize)
  const resolved = await resolveFile(op, file)
  const common = { op, file: resolved, features: schema.features, threads: threads ?? null }
  let exampleCount = 0
  for await (const answer of answersOf({ ...common, task: 'count' })) {
    if (answer.type === 'count') exampleCount = answer.rowCount
  }
  const shown = resolved.shown.join(', ')
  if (exampleCount === 0) throw refuse(op, shown, 'at least one row', 'none')
  const batchCount = Math.ceil(exampleCount / batchSize)
  const batchesPerBlock = Math.ceil((shuffleWindow ?? BLOCK_ROWS) / batchSize)
  const blockRows = batchesPerBlock * batchSize
  const random = shuffleWindow === undefined ? undefined : createRandom(seed).fork('window order')
  let report: Report = {}

  return {
    schema: schema.fields,
    exampleCount,
    batchCount,
    capacities,
    report: () => report,

    async *batches(epoch, { from = 0 } = {}) {
      checkStart(op, epoch, from, batchCount)
      if (from === batchCount) return
      report = {}
      let index = Math.floor(from / batchesPerBlock)
      let batch = from
      const firstRow = index * blockRows
      let rowCount = firstRow
      for await (const answer of answersOf({ ...common, task: 'stream', encoding, blockRows, firstRow })) {
        if (answer.type !== 'block') continue
        const { block } = answer
        const data = datasetOf(schema, block, encoding)
        const order = await orderedRows(data, random?.fork(epoch).fork(index))
        report = sumOf(report, await data.report())
        rowCount += block.rowCount
        if (rowCount > exampleCount) break
        for (let row = (batch - index * batchesPerBlock) * batchSize; row < block.rowCount; row += batchSize, batch++) {
          const rows = order.subarray(row, Math.min(row + batchSize, block.rowCount))
          yield preparedBatch(schema as unknown as AnySchema, block.columns, rows)
        }
        index++
      }
      if (rowCount !== exampleCount)
        throw refuse(
          op,
          shown,
          `${exampleCount} rows, as when it was opened`,
          rowCount > exampleCount ? 'more' : `${rowCount}`,
        )
    },
  }
}

const datasetOf = <F extends Features>(schema: DataSchema<F>, { columns, rowCount }: Block, encoding: Encoding) =>
  Dataset.trusted(schema, columns, encoding, rowCount)

function boundsOf(op: string, features: Features, batchSize: number): Record<string, number> {
  const bounds: Record<string, number> = { batch: batchSize }
  for (const [name, feature] of Object.entries(features)) {
    if (feature.kind !== 'sequence' || feature.padded !== undefined) continue
    if (feature.maxLength === undefined)
      throw new KairosError('KAIROS_MISSING', {
        op,
        argument: `${name}.maxLength`,
        expected: 'given for a sequence that is read from a file in batches',
        got: 'none',
      })
    bounds[countSymbol(name)] = batchSize * feature.maxLength
  }
  return bounds
}

function sumOf(a: Report, b: Report): Report {
  const zero: FeatureReport = { values: 0, unknown: 0, nulls: 0 }
  return Object.fromEntries(
    Object.entries(b).map(([name, { values, unknown, nulls }]) => {
      const before = a[name] ?? zero
      return [name, { values: before.values + values, unknown: before.unknown + unknown, nulls: before.nulls + nulls }]
    }),
  )
}

const refuse = (op: string, argument: string, expected: string, got: string): KairosError =>
  new KairosError('KAIROS_DATA', { op, argument, expected, got })
