/**
 * A data set in memory: columns as typed arrays, and which of their rows belong to it, in which order. Parts share the
 * columns; only the choice of rows differs.
 */
import { KairosError } from '../core/errors.js'
import { type Column, type Columns, type Encoding, NULL_ID, UNKNOWN_ID, vocabularySize } from './columns.js'
import type { AnySchema, DataSchema, Feature, Features } from './features.js'
import { vocabularyOf } from './features.js'
import { createTimeSlice } from './timeSlice.js'
import { checkColumns } from './validateColumns.js'

/** What became of values that have no id or number of their own. */
export interface FeatureReport {
  /** Values seen: one a row, or the items of a sequence. */
  readonly values: number
  /** Values that the vocabulary does not have; their id is 1. */
  readonly unknown: number
  /** Nulls; a list's are left out before. */
  readonly nulls: number
}

/** Any data set, whatever its features. */
export interface AnyDataset {
  readonly schema: AnySchema
  readonly columns: Columns
  readonly encoding: Encoding
  readonly rowCount: number
  storedRow(row: number): number
  column(name: string): Column
}

export type Report = Readonly<Record<string, FeatureReport>>

/** Rows between two looks at the clock. */
const STRIDE = 2048

export class Dataset<F extends Features = Features> {
  private constructor(
    readonly schema: DataSchema<F>,
    /** Of all stored rows, of which this data set may have some. */
    readonly columns: Columns,
    /** What ids and scaled numbers refer to. */
    readonly encoding: Encoding,
    readonly rowCount: number,
    /** Stored row of each row; null: from `firstRow` on, in order. */
    private readonly rows: Int32Array | null,
    private readonly firstRow: number,
  ) {}

  /**
   * A data set of the caller's arrays, which are not copied: an entry per feature, `{ values }`, for sequences
   * `{ values, offsets }`. Every id, number and offset is checked.
   *
   * Throws KAIROS_DATA naming feature and row, KAIROS_MISSING or KAIROS_UNKNOWN_NAME for the columns themselves.
   */
  static async fromColumns<F extends Features>(
    schema: DataSchema<F>,
    columns: { readonly [K in keyof F]: Column },
    encoding: Encoding = { vocabularies: {}, scales: {} },
  ): Promise<Dataset<F>> {
    const rowCount = await checkColumns(schema.features, columns, encoding)
    return new Dataset(schema, columns, encoding, rowCount, null, 0)
  }

  /** @internal Columns that a reader has checked. */
  static trusted<F extends Features>(schema: DataSchema<F>, columns: Columns, encoding: Encoding, rowCount: number) {
    return new Dataset<F>(schema, columns, encoding, rowCount, null, 0)
  }

  /** The stored row of a row. */
  storedRow(row: number): number {
    return this.rows ? (this.rows[row] as number) : this.firstRow + row
  }

  /** Some rows, by number, in the order given; the columns are shared. */
  select(rows: Int32Array): Dataset<F> {
    const stored = new Int32Array(rows.length)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number
      if (!(row >= 0 && row < this.rowCount)) throw rowRange('Dataset.select', `rows[${i}]`, row, this.rowCount)
      stored[i] = this.storedRow(row)
    }
    return new Dataset(this.schema, this.columns, this.encoding, rows.length, stored, 0)
  }

  /** Rows [begin, end); nothing is copied. */
  slice(begin: number, end: number = this.rowCount): Dataset<F> {
    for (const [name, value] of [
      ['begin', begin],
      ['end', end],
    ] as const) {
      if (!(Number.isInteger(value) && value >= 0 && value <= this.rowCount))
        throw rowRange('Dataset.slice', name, value, this.rowCount + 1)
    }
    if (end < begin) throw rowRange('Dataset.slice', 'end', end, this.rowCount + 1)
    const rows = this.rows ? this.rows.subarray(begin, end) : null
    return new Dataset(this.schema, this.columns, this.encoding, end - begin, rows, this.firstRow + begin)
  }

  /** A copy of a column's values in the order of the rows: labels and groups for metrics, times for splits. */
  values(name: keyof F & string): Int32Array | Float32Array | Float64Array {
    const { values } = this.column(name)
    const { kind } = this.schema.features[name] as Feature
    if (kind === 'sequence' || kind === 'dense')
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'Dataset.values',
        argument: 'name',
        expected: 'a feature with one value a row',
        got: `${kind} '${name}'`,
      })
    const out = new (values.constructor as Int32ArrayConstructor)(this.rowCount)
    for (let row = 0; row < out.length; row++) out[row] = values[this.storedRow(row)] as number
    return out
  }

  column(name: string): Column {
    const column = this.columns[name]
    if (!column) {
      throw new KairosError('KAIROS_UNKNOWN_NAME', {
        op: 'Dataset.column',
        argument: 'name',
        expected: `one of ${Object.keys(this.columns).join(', ')}`,
        got: `'${name}'`,
      })
    }
    return column
  }

  /** Rows that an embedding of a categorical or sequence feature needs: greatest id + 1. */
  size(name: keyof F & string): number {
    return sizeOf(name, this.schema.features, this.encoding)
  }

  /** Unknown values and nulls, by feature; a walk over all rows that gives way to the event loop. */
  async report(): Promise<Report> {
    const pauseWhenDue = createTimeSlice()
    const report: Record<string, FeatureReport> = {}
    for (const [name, feature] of Object.entries(this.schema.features)) {
      const { values, offsets, missing } = this.column(name)
      const hasVocabulary = vocabularyOf(name, feature) !== undefined
      if (!hasVocabulary && feature.kind !== 'numeric') continue
      const sums = { values: 0, unknown: 0, nulls: 0 }
      for (let row = 0; row < this.rowCount; row++) {
        const stored = this.storedRow(row)
        const begin = offsets ? (offsets[stored] as number) : stored
        const end = offsets ? (offsets[stored + 1] as number) : stored + 1
        sums.values += end - begin
        if (missing) sums.nulls += missing[stored] as number
        for (let i = begin; hasVocabulary && i < end; i++) {
          if (values[i] === UNKNOWN_ID) sums.unknown++
          else if (values[i] === NULL_ID) sums.nulls++
        }
        const pause = row % STRIDE === 0 ? pauseWhenDue() : undefined
        if (pause) await pause
      }
      report[name] = sums
    }
    return report
  }
}

/** Rows that an embedding of a feature's ids needs. */
export function sizeOf(name: string, features: Features, encoding: Encoding): number {
  const feature = features[name]
  if (feature?.kind === 'domain') return feature.values.length
  if (feature?.kind === 'categorical' || feature?.kind === 'sequence') {
    if (feature.size !== undefined) return feature.size
    const values = encoding.vocabularies[vocabularyOf(name, feature) as string]
    if (values) return vocabularySize(values)
  }
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'Dataset.size',
    argument: 'name',
    expected: 'a categorical, sequence or domain feature',
    got: `'${name}'`,
  })
}

const rowRange = (op: string, argument: string, got: number, limit: number): KairosError =>
  new KairosError('KAIROS_ARGUMENT', { op, argument, expected: `an integer from 0 to ${limit - 1}`, got: String(got) })
