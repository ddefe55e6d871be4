/** Batches of a data set in memory. */
import type { BatchSource, Counts, PreparedBatch } from '../core/batchSource.js'
import { KairosError } from '../core/errors.js'
import { createRandom, type Random } from '../core/random.js'
import { countsOf, writeBatch } from './batchWriter.js'
import type { Columns } from './columns.js'
import type { AnyDataset, Dataset } from './dataset.js'
import { type AnySchema, type BatchFields, countSymbol, type Features } from './features.js'
import { createTimeSlice } from './timeSlice.js'

export interface BatchOptions {
  readonly batchSize: number
  /** Shuffle every epoch, by the seed and the number of the epoch alone; without a seed, the order of the rows. */
  readonly seed?: number
  /** Leave out the last batch when it is not full. */
  readonly dropLast?: boolean
}

/** A batch source whose schema is that of the data. */
export type TypedBatchSource<F extends Features> = Omit<BatchSource, 'schema'> & { readonly schema: BatchFields<F> }

/** Rows between two looks at the clock. */
const STRIDE = 1024

/**
 * Batches of a data set. A program bound to `capacities` fits all of them: for a sequence, the sum of the `batchSize`
 * longest rows.
 *
 * Throws KAIROS_DATA on a data set without rows, KAIROS_ARGUMENT on sizes that are none and on features that are to be
 * standardised and are not.
 */
export async function datasetBatches<F extends Features>(
  data: Dataset<F>,
  { batchSize, seed, dropLast = false }: BatchOptions,
): Promise<TypedBatchSource<F>> {
  const op = 'datasetBatches'
  checkBatchSize(op, batchSize)
  checkScales(op, data.schema.features, data)
  const batchCount = dropLast ? Math.floor(data.rowCount / batchSize) : Math.ceil(data.rowCount / batchSize)
  if (batchCount === 0)
    throw new KairosError('KAIROS_DATA', {
      op,
      argument: 'data',
      expected: dropLast ? `at least ${batchSize} rows` : 'at least one row',
      got: String(data.rowCount),
    })
  const exampleCount = dropLast ? batchCount * batchSize : data.rowCount
  const random = seed === undefined ? undefined : createRandom(seed).fork('batch order')
  const orderOf = (epoch: number) => orderedRows(data, random?.fork(epoch))
  let ahead: { readonly epoch: number; readonly order: Promise<Int32Array> } | undefined

  return {
    schema: data.schema.fields,
    exampleCount,
    batchCount,
    capacities: await capacitiesOf(data.schema.features, data, Math.min(batchSize, data.rowCount)),

    async *batches(epoch, { from = 0 } = {}) {
      checkStart(op, epoch, from, batchCount)
      const order = await (ahead?.epoch === epoch ? ahead.order : orderOf(epoch))
      for (let batch = from; batch < batchCount; batch++) {
        // The next epoch's order is made while this one ends, so that no step waits for it.
        if (batch === batchCount - 1 && random) ahead = { epoch: epoch + 1, order: orderOf(epoch + 1) }
        const rows = order.subarray(batch * batchSize, Math.min((batch + 1) * batchSize, exampleCount))
        yield preparedBatch(data.schema as unknown as AnySchema, data.columns, rows)
      }
    },
  }
}

/** A batch of stored rows. */
export function preparedBatch(schema: AnySchema, columns: Columns, rows: Int32Array): PreparedBatch {
  const counts = countsOf(schema.features, columns, rows)
  return { counts, fill: (views) => writeBatch(schema, columns, rows, counts, views) }
}

/** Stored rows of a data set, in order or shuffled (Fisher and Yates); gives way to the event loop. */
export async function orderedRows(
  data: Pick<AnyDataset, 'rowCount' | 'storedRow'>,
  random?: Random,
): Promise<Int32Array> {
  const pauseWhenDue = createTimeSlice()
  const order = new Int32Array(data.rowCount)
  for (let row = 0; row < order.length; row++) {
    order[row] = data.storedRow(row)
    const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
    if (pause) await pause
  }
  if (!random) return order
  for (let last = order.length - 1; last > 0; last--) {
    const other = random.int(last + 1)
    const row = order[last] as number
    order[last] = order[other] as number
    order[other] = row
    const pause = last % STRIDE === 0 ? pauseWhenDue() : undefined
    if (pause) await pause
  }
  return order
}

/** Whatever rows meet in a batch, it has no more items than the longest rows have together. */
export async function capacitiesOf(features: Features, data: AnyDataset, batchSize: number): Promise<Counts> {
  const pauseWhenDue = createTimeSlice()
  const capacities: Record<string, number> = { batch: batchSize }
  for (const [name, feature] of Object.entries(features)) {
    if (feature.kind !== 'sequence' || feature.padded !== undefined) continue
    const offsets = data.column(name).offsets as Int32Array
    const rowsByLength = new Map<number, number>()
    for (let row = 0; row < data.rowCount; row++) {
      const stored = data.storedRow(row)
      const length = (offsets[stored + 1] as number) - (offsets[stored] as number)
      rowsByLength.set(length, (rowsByLength.get(length) ?? 0) + 1)
      const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
      if (pause) await pause
    }
    let left = batchSize
    let items = 0
    for (const [length, rows] of [...rowsByLength].sort(([a], [b]) => b - a)) {
      const taken = Math.min(left, rows)
      items += taken * length
      left -= taken
    }
    // A size of 0 is no size for a program; one item that is never there costs nothing.
    capacities[countSymbol(name)] = Math.max(1, items)
  }
  return capacities
}

export function checkBatchSize(op: string, batchSize: number): void {
  if (Number.isInteger(batchSize) && batchSize >= 1) return
  throw new KairosError('KAIROS_ARGUMENT', {
    op,
    argument: 'batchSize',
    expected: 'a positive integer',
    got: String(batchSize),
  })
}

export function checkStart(op: string, epoch: number, from: number, batchCount: number): void {
  for (const [argument, value, most] of [
    ['epoch', epoch, Number.MAX_SAFE_INTEGER],
    ['from', from, batchCount],
  ] as const) {
    if (Number.isInteger(value) && value >= 0 && value <= most) continue
    const expected = `an integer from 0 to ${most}`
    throw new KairosError('KAIROS_ARGUMENT', { op: `${op}.batches`, argument, expected, got: String(value) })
  }
}

export function checkScales(op: string, features: Features, { encoding }: Pick<AnyDataset, 'encoding'>): void {
  for (const [name, feature] of Object.entries(features)) {
    if (feature.kind !== 'numeric' || !feature.standardise || encoding.scales[name]) continue
    throw new KairosError('KAIROS_ARGUMENT', {
      op,
      argument: 'data',
      expected: `'${name}' standardised`,
      got: 'its values as they were read',
      hint: 'Fit on the training part, then encode: encode(data, await fitEncoding(train))',
    })
  }
}
