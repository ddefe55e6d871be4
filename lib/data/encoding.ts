/**
 * Encodings are fitted on a training part, so that evaluation meets unknown values as serving will, applied to every
 * part, and saved beside a model.
 */
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import { type Column, type Encoding, FIRST_VALUE_ID, type Scale, UNKNOWN_ID, vocabularySize } from './columns.js'
import { type AnyDataset, Dataset } from './dataset.js'
import { type Feature, type Features, vocabularyNames, vocabularyOf } from './features.js'
import { createTimeSlice } from './timeSlice.js'

export interface VocabularyLimits {
  /** Rarer values are unknown; 1 by default. */
  readonly minCount?: number
  /** Keep so many values, the most frequent ones. */
  readonly maxSize?: number
}

export interface FitOptions extends VocabularyLimits {
  /** Other limits for vocabularies by name. */
  readonly vocabularies?: Readonly<Record<string, VocabularyLimits>>
}

/** The limits of every vocabulary. Throws on a name that is none, and on a limit that is no positive integer. */
export function limitsOf(op: string, features: Features, options: FitOptions) {
  const names = vocabularyNames(features)
  for (const name of Object.keys(options.vocabularies ?? {})) {
    if (names.includes(name)) continue
    const near = nearest(name, names)
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op,
      argument: 'vocabularies',
      expected: `names of vocabularies, ${names.join(', ')}`,
      got: `'${name}'`,
      ...(near ? { hint: `Did you mean '${near}'?` } : {}),
    })
  }
  return Object.fromEntries(
    names.map((name) => {
      const { minCount = 1, maxSize = 2 ** 31 - 1 - FIRST_VALUE_ID } = { ...options, ...options.vocabularies?.[name] }
      for (const [argument, value] of Object.entries({ minCount, maxSize })) {
        if (Number.isInteger(value) && value >= 1) continue
        throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected: 'a positive integer', got: String(value) })
      }
      return [name, { minCount, maxSize }]
    }),
  )
}

/** Rows between two looks at the clock. */
const STRIDE = 2048

/**
 * Vocabularies and scales of the rows of a data set, which should be its training part. Values stand in order of their
 * frequency, equally frequent ones in order of their text.
 */
export async function fitEncoding(train: AnyDataset, options: FitOptions = {}): Promise<Encoding> {
  const op = 'fitEncoding'
  const { features } = train.schema
  const limits = limitsOf(op, features, options)
  refuseScaled(op, train)
  const pauseWhenDue = createTimeSlice()
  const counts = new Map<string, Float64Array>()
  const scales: Record<string, Scale> = {}
  for (const [name, feature] of Object.entries(features)) {
    const column = train.column(name)
    const vocabulary = vocabularyOf(name, feature)
    if (vocabulary !== undefined) {
      const present = train.encoding.vocabularies[vocabulary] as readonly string[]
      const sums = counts.get(vocabulary) ?? new Float64Array(vocabularySize(present))
      counts.set(vocabulary, sums)
      await countIds(train, column, sums, pauseWhenDue)
    } else if (feature.kind === 'numeric' && feature.standardise) {
      scales[name] = await scaleOf(train, column, pauseWhenDue)
    }
  }
  const vocabularies: Record<string, readonly string[]> = {}
  for (const [vocabulary, sums] of counts) {
    const { minCount, maxSize } = limits[vocabulary] as { minCount: number; maxSize: number }
    const present = train.encoding.vocabularies[vocabulary] as readonly string[]
    const kept: number[] = []
    for (let id = FIRST_VALUE_ID; id < sums.length; id++) if ((sums[id] as number) >= minCount) kept.push(id)
    const textOf = (id: number) => present[id - FIRST_VALUE_ID] as string
    kept.sort((a, b) => (sums[b] as number) - (sums[a] as number) || compareTexts(textOf(a), textOf(b)))
    vocabularies[vocabulary] = kept.slice(0, maxSize).map(textOf)
  }
  return { vocabularies, scales }
}

/** The order of UTF-8 bytes, which is that of code points: as DuckDB sorts, whatever the locale. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

type Pause = () => Promise<void> | undefined

async function countIds(data: AnyDataset, { values, offsets }: Column, sums: Float64Array, pauseWhenDue: Pause) {
  for (let row = 0; row < data.rowCount; row++) {
    const stored = data.storedRow(row)
    const begin = offsets ? (offsets[stored] as number) : stored
    const end = offsets ? (offsets[stored + 1] as number) : stored + 1
    for (let i = begin; i < end; i++) {
      const id = values[i] as number
      sums[id] = (sums[id] as number) + 1
    }
    const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
    if (pause) await pause
  }
}

/** Mean and deviation (of the population), nulls aside, by Welford's recurrence. */
async function scaleOf(data: AnyDataset, { values, missing }: Column, pauseWhenDue: Pause): Promise<Scale> {
  let count = 0
  let mean = 0
  let squares = 0
  for (let row = 0; row < data.rowCount; row++) {
    const stored = data.storedRow(row)
    if (!missing?.[stored]) {
      const value = values[stored] as number
      const difference = value - mean
      count++
      mean += difference / count
      squares += difference * (value - mean)
    }
    const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
    if (pause) await pause
  }
  const deviation = Math.sqrt(squares / Math.max(1, count))
  return { mean, deviation: deviation > 0 ? deviation : 1 }
}

/**
 * The rows of a data set, with the ids and scales of an encoding: a copy of their own, in their order. Values that the
 * encoding lacks become unknown; `report()` counts them.
 */
export async function encode<F extends Features>(data: Dataset<F>, encoding: Encoding): Promise<Dataset<F>> {
  const op = 'encode'
  refuseScaled(op, data)
  const pauseWhenDue = createTimeSlice()
  const columns: Record<string, Column> = {}
  for (const [name, feature] of Object.entries(data.schema.features)) {
    const map = vocabularyMap(op, name, feature, data.encoding, encoding)
    const scale = encoding.scales[name]
    if (feature.kind === 'numeric' && feature.standardise && !scale)
      throw lacking(op, `a scale of '${name}'`, encoding.scales)
    columns[name] = await copyColumn(data, name, feature, map, scale, pauseWhenDue)
  }
  return Dataset.trusted(data.schema, columns, encoding, data.rowCount)
}

/** New id by old id, where a vocabulary gives them. */
function vocabularyMap(
  op: string,
  name: string,
  feature: Feature,
  from: Encoding,
  to: Encoding,
): Int32Array | undefined {
  const vocabulary = vocabularyOf(name, feature)
  if (vocabulary === undefined) return undefined
  const old = from.vocabularies[vocabulary] as readonly string[]
  const values = to.vocabularies[vocabulary]
  if (!values) throw lacking(op, `a vocabulary '${vocabulary}'`, to.vocabularies)
  const ids = new Map(values.map((value, i) => [value, FIRST_VALUE_ID + i]))
  const map = new Int32Array(vocabularySize(old))
  for (let id = 0; id < map.length; id++)
    map[id] = id < FIRST_VALUE_ID ? id : (ids.get(old[id - FIRST_VALUE_ID] as string) ?? UNKNOWN_ID)
  return map
}

async function copyColumn(
  data: AnyDataset,
  name: string,
  feature: Feature,
  map: Int32Array | undefined,
  scale: Scale | undefined,
  pauseWhenDue: Pause,
): Promise<Column> {
  const { values, offsets, missing } = data.column(name)
  const width = feature.kind === 'dense' ? feature.width : 1
  const ends = new Int32Array(offsets ? data.rowCount + 1 : 0)
  if (offsets) {
    for (let row = 0; row < data.rowCount; row++) {
      const stored = data.storedRow(row)
      ends[row + 1] = (ends[row] as number) + (offsets[stored + 1] as number) - (offsets[stored] as number)
    }
  }
  const count = offsets ? (ends[data.rowCount] as number) : data.rowCount * width
  const copied = new (values.constructor as Int32ArrayConstructor)(count)
  const marks = missing && new Uint8Array(data.rowCount)
  const scaled = feature.kind === 'numeric' && feature.standardise ? scale : undefined
  let at = 0
  for (let row = 0; row < data.rowCount; row++) {
    const stored = data.storedRow(row)
    const begin = offsets ? (offsets[stored] as number) : stored * width
    const end = offsets ? (offsets[stored + 1] as number) : begin + width
    for (let i = begin; i < end; i++) {
      const value = values[i] as number
      copied[at++] = map ? (map[value] as number) : scaled ? (value - scaled.mean) / scaled.deviation : value
    }
    if (marks) {
      marks[row] = (missing as Uint8Array)[stored] as number
      // A null is 0 after scaling as before.
      if (marks[row]) copied[at - 1] = 0
    }
    const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
    if (pause) await pause
  }
  return { values: copied, ...(offsets ? { offsets: ends } : {}), ...(marks ? { missing: marks } : {}) }
}

function refuseScaled(op: string, data: Pick<AnyDataset, 'encoding'>): void {
  const scaled = Object.keys(data.encoding.scales)
  if (scaled.length === 0) return
  throw new KairosError('KAIROS_ARGUMENT', {
    op,
    argument: 'data',
    expected: 'rows as they were read',
    got: `${scaled.join(', ')} already standardised`,
    hint: 'Start from the data set that was read without an encoding',
  })
}

const lacking = (op: string, expected: string, present: object): KairosError =>
  new KairosError('KAIROS_MISSING', {
    op,
    argument: 'encoding',
    expected,
    got: Object.keys(present).join(', ') || 'none',
  })
