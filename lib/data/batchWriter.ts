/** Rows of columns into the arrays of a batch: memory copies, and no object per row. */
import type { Counts } from '../core/batchSource.js'
import type { ArrayOf, DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { type Columns, PADDING_ID } from './columns.js'
import { type AnySchema, countSymbol, type Features } from './features.js'

type Views = Readonly<Record<string, Float32Array | Int32Array | Uint8Array>>

/** Live sizes of a batch of stored rows. */
export function countsOf(features: Features, columns: Columns, rows: Int32Array): Counts {
  const counts: Record<string, number> = { batch: rows.length }
  for (const [name, feature] of Object.entries(features)) {
    if (feature.kind !== 'sequence' || feature.padded !== undefined) continue
    const offsets = columns[name]?.offsets as Int32Array
    let items = 0
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number
      items += (offsets[row + 1] as number) - (offsets[row] as number)
    }
    counts[countSymbol(name)] = items
  }
  return counts
}

/** Writes every field of a batch. Throws before the first write when a view is missing, of another type or too short. */
export function writeBatch(schema: AnySchema, columns: Columns, rows: Int32Array, counts: Counts, views: Views): void {
  checkViews(schema, counts, views)
  for (const [name, feature] of Object.entries(schema.features)) {
    const { values, offsets, missing } = columns[name] as Columns[string]
    const view = views[name] as Float32Array | Int32Array
    switch (feature.kind) {
      case 'sequence': {
        const items = values as Int32Array
        const ends = offsets as Int32Array
        if (feature.padded === undefined)
          writeRagged(items, ends, rows, views[`${name}.values`] as Int32Array, views[`${name}.offsets`] as Int32Array)
        else writePadded(items, ends, rows, feature.padded, view as Int32Array, views[`${name}.length`] as Int32Array)
        break
      }
      case 'dense':
        writeDense(values as Float32Array, rows, feature.width, view as Float32Array)
        break
      case 'time':
        break
      case 'groupId':
        if (feature.input) writeScalars(values, rows, view)
        break
      default:
        writeScalars(values, rows, view)
        if (feature.kind === 'numeric' && feature.nulls === 'indicator')
          writeMarks(missing, rows, views[`${name}.missing`] as Float32Array)
    }
  }
}

function writeScalars(values: ArrayLike<number>, rows: Int32Array, view: Float32Array | Int32Array): void {
  for (let i = 0; i < rows.length; i++) view[i] = values[rows[i] as number] as number
}

function writeMarks(missing: Uint8Array | undefined, rows: Int32Array, view: Float32Array): void {
  if (missing) writeScalars(missing, rows, view)
  else view.fill(0, 0, rows.length)
}

function writeDense(values: Float32Array, rows: Int32Array, width: number, view: Float32Array): void {
  let at = 0
  for (let i = 0; i < rows.length; i++) {
    const start = (rows[i] as number) * width
    for (let j = start; j < start + width; j++) view[at++] = values[j] as number
  }
}

function writeRagged(
  values: Int32Array,
  ends: Int32Array,
  rows: Int32Array,
  items: Int32Array,
  offsets: Int32Array,
): void {
  let at = 0
  offsets[0] = 0
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number
    const end = ends[row + 1] as number
    // Rows are short: a loop is quicker than a view and a copy.
    for (let j = ends[row] as number; j < end; j++) items[at++] = values[j] as number
    offsets[i + 1] = at
  }
}

function writePadded(
  values: Int32Array,
  ends: Int32Array,
  rows: Int32Array,
  width: number,
  items: Int32Array,
  lengths: Int32Array,
): void {
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number
    const start = ends[row] as number
    const length = (ends[row + 1] as number) - start
    const at = i * width
    for (let j = 0; j < length; j++) items[at + j] = values[start + j] as number
    items.fill(PADDING_ID, at + length, at + width)
    lengths[i] = length
  }
}

const arrays = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

function checkViews(schema: AnySchema, counts: Counts, views: Views): void {
  for (const [name, { dtype, shape }] of Object.entries(schema.fields) as [string, AnySchema['fields'][string]][]) {
    const needed = shape.reduce<number>((product, dim) => product * sizeOfDim(dim, counts), 1)
    const view: unknown = views[name]
    if (view instanceof arrays[dtype as DType] && (view as ArrayOf<DType>).length >= needed) continue
    const got = ArrayBuffer.isView(view) ? `${view.constructor.name} of ${(view as Int32Array).length}` : String(view)
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'PreparedBatch.fill',
      argument: `views['${name}']`,
      expected: `${arrays[dtype as DType].name} of at least ${needed}`,
      got,
    })
  }
}

/** Fields of data have three kinds of size: a number, a symbol, and 'batch+1'. */
const sizeOfDim = (dim: number | string, counts: Counts): number =>
  typeof dim === 'number' ? dim : dim === 'batch+1' ? (counts.batch as number) + 1 : (counts[dim] as number)
