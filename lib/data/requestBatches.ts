/** Batches of requests: several rows, the candidates, beside one history of the user that all of them share. */
import type { BatchSource, RequestRows } from '../core/batchSource.js'
import { multiplyDims } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { createRandom } from '../core/random.js'
import type { Schema } from '../core/schema.js'
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import { countsOf, writeBatch } from './batchWriter.js'
import type { AnyDataset, Dataset } from './dataset.js'
import {
  type BatchOptions,
  capacitiesOf,
  checkBatchSize,
  checkScales,
  checkStart,
  datasetBatches,
  orderedRows,
} from './datasetBatches.js'
import type { AnySchema, Features } from './features.js'

/**
 * As `datasetBatches`, with 'batch' the number of requests: fields of `own` features and labels have `each` rows to a
 * request, all others one, that of its first row. Order and batches are of whole requests.
 *
 * Throws KAIROS_DATA where rows are not whole requests or a request has histories of several lengths.
 */
export async function requestBatches(data: Dataset, options: BatchOptions, rows?: RequestRows): Promise<BatchSource> {
  if (!rows || rows.each === 1) return (await datasetBatches(data, options)) as unknown as BatchSource
  const op = 'requestBatches'
  const { each } = rows
  const batchSize = Math.max(1, Math.floor(options.batchSize / each))
  checkBatchSize(op, batchSize)
  checkScales(op, data.schema.features, data)
  await checkRequests(op, data, each)
  const count = data.rowCount / each
  const batchCount = options.dropLast ? Math.floor(count / batchSize) : Math.ceil(count / batchSize)
  const random = options.seed === undefined ? undefined : createRandom(options.seed).fork('batch order')
  const { own, shared } = divided(data, rows)

  return {
    schema: requestFields(data, rows),
    exampleCount: Math.min(batchCount * batchSize, count) * each,
    batchCount,
    capacities: await capacitiesOf(shared.features, data, Math.min(batchSize, count)),

    async *batches(epoch, { from = 0 } = {}) {
      checkStart(op, epoch, from, batchCount)
      const order = await orderedRows({ rowCount: count, storedRow: (request) => request }, random?.fork(epoch))
      for (let batch = from; batch < batchCount; batch++) {
        const requests = order.subarray(batch * batchSize, (batch + 1) * batchSize)
        const all = Int32Array.from({ length: requests.length * each }, (_, i) =>
          data.storedRow((requests[Math.floor(i / each)] as number) * each + (i % each)),
        )
        const first = Int32Array.from(requests, (request) => data.storedRow(request * each))
        const counts = countsOf(shared.features, data.columns, first)
        yield {
          counts,
          examples: all.length,
          fill: (views) => {
            writeBatch(own, data.columns, all, { batch: all.length }, views as never)
            writeBatch(shared, data.columns, first, counts, views as never)
          },
        }
      }
    },
  }
}

/** The fields of such batches. */
export function requestFields(data: Dataset, rows?: RequestRows): Schema {
  if (!rows || rows.each === 1) return data.schema.fields
  const { own } = divided(data, rows)
  const many = Object.entries(own.fields as Schema).map(([name, { dtype, shape }]) => [
    name,
    { dtype, shape: shape.map((dim) => (dim === 'batch' ? multiplyDims(rows.each, 'batch') : dim)) },
  ])
  return { ...data.schema.fields, ...Object.fromEntries(many) }
}

/** The schema of what each row has of its own, and of what the rows of a request share. */
function divided({ schema }: Dataset, { own: names }: RequestRows): Record<'own' | 'shared', AnySchema> {
  const isOwn = (name: string) => names.includes(name) || schema.features[name]?.kind === 'label'
  const part = (kept: (name: string) => boolean) => {
    const pick = <T>(all: Readonly<Record<string, T>>, nameOf: (key: string) => string) =>
      Object.fromEntries(Object.entries(all).filter(([key]) => kept(nameOf(key))))
    return {
      features: pick(schema.features as Features, (name) => name),
      // `name.values` is a field of the feature `name`.
      fields: pick(schema.fields as Schema, (key) => (key in schema.features ? key : key.replace(/\.[^.]*$/, ''))),
    } as unknown as AnySchema
  }
  return { own: part(isOwn), shared: part((name) => !isOwn(name)) }
}

async function checkRequests(op: string, data: AnyDataset, each: number): Promise<void> {
  if (data.rowCount === 0 || data.rowCount % each !== 0)
    throw new KairosError('KAIROS_DATA', {
      op,
      argument: 'data',
      expected: `whole requests of ${each} rows`,
      got: `${data.rowCount} rows`,
    })
  for (const [name, { kind }] of Object.entries(data.schema.features)) {
    if (kind !== 'sequence') continue
    const offsets = data.column(name).offsets as Int32Array
    const lengthOf = (row: number) => {
      const stored = data.storedRow(row)
      return (offsets[stored + 1] as number) - (offsets[stored] as number)
    }
    await inSlices(data.rowCount, createTimeSlice(), (begin, end) => {
      for (let row = begin; row < end; row++) {
        if (lengthOf(row) === lengthOf(row - (row % each))) continue
        throw new KairosError('KAIROS_DATA', {
          op,
          argument: name,
          expected: `one history for each ${each} rows`,
          got: `another length in row ${row + 1}`,
        })
      }
    })
  }
}
