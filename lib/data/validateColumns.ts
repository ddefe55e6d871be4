/** Checks of columns that a caller made, before anything indexes with them. */
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import { type Column, type Encoding, vocabularySize } from './columns.js'
import { plural } from './dataFile.js'
import { type Feature, type Features, vocabularyOf } from './features.js'
import { createTimeSlice } from './timeSlice.js'

const OP = 'Dataset.fromColumns'
/** Values between two looks at the clock. */
const STRIDE = 8192

/** Number of rows, if all columns are right. */
export async function checkColumns(
  features: Features,
  columns: Readonly<Record<string, Column>>,
  encoding: Encoding,
): Promise<number> {
  for (const name of Object.keys(columns)) {
    if (name in features) continue
    const near = nearest(name, Object.keys(features))
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op: OP,
      argument: `column '${name}'`,
      expected: 'a feature of the schema',
      got: 'none of that name',
      ...(near ? { hint: `Did you mean '${near}'?` } : {}),
    })
  }
  let rowCount: number | undefined
  const pauseWhenDue = createTimeSlice()
  for (const [name, feature] of Object.entries(features)) {
    const column = columns[name]
    if (!column)
      throw new KairosError('KAIROS_MISSING', {
        op: OP,
        argument: `column '${name}'`,
        expected: 'given',
        got: 'nothing',
      })
    const rows = rowsOf(name, feature, column)
    rowCount ??= rows
    if (rows !== rowCount) throw refuse(name, `${plural(rowCount, 'row')}, as the first column has`, `${rows}`)
    if (column.missing && column.missing.length !== rows)
      throw refuse(name, `${plural(rows, 'mark')} of missing values`, `${column.missing.length}`)
    const { right, expected } = rule(name, feature, encoding)
    const { values, offsets } = column
    const width = feature.kind === 'dense' ? feature.width : 1
    for (let i = 0; i < values.length; i++) {
      if (!right(values[i] as number)) {
        const row = offsets ? rowHolding(offsets, i) : Math.floor(i / width)
        throw refuse(name, expected, String(values[i]), row)
      }
      const pause = i % STRIDE === 0 ? pauseWhenDue() : undefined
      if (pause) await pause
    }
  }
  return rowCount as number
}

const arrays = {
  categorical: Int32Array,
  domain: Int32Array,
  groupId: Int32Array,
  sequence: Int32Array,
  numeric: Float32Array,
  label: Float32Array,
  dense: Float32Array,
  time: Float64Array,
} as const satisfies Record<Feature['kind'], unknown>

function rowsOf(name: string, feature: Feature, { values, offsets }: Column): number {
  const expected = arrays[feature.kind]
  if (!(values instanceof expected)) {
    const got = (values as unknown)?.constructor?.name ?? String(values)
    throw refuse(name, `values in ${expected.name.startsWith('I') ? 'an' : 'a'} ${expected.name}`, got)
  }
  if (feature.kind === 'sequence') {
    if (!(offsets instanceof Int32Array))
      throw refuse(name, 'offsets in an Int32Array', (offsets as unknown as object)?.constructor?.name ?? 'none')
    checkOffsets(name, offsets, values.length, feature.padded ?? feature.maxLength)
    return offsets.length - 1
  }
  if (offsets) throw refuse(name, `no offsets for ${feature.kind}`, 'some')
  if (feature.kind !== 'dense') return values.length
  if (values.length % feature.width !== 0)
    throw refuse(name, `rows of ${feature.width} numbers`, `${values.length} numbers`)
  return values.length / feature.width
}

function checkOffsets(name: string, offsets: Int32Array, count: number, most: number | undefined): void {
  if (offsets.length === 0) throw refuse(name, 'offsets, one more than there are rows', 'none')
  if (offsets[0] !== 0) throw refuse(name, 'offsets that begin with 0', String(offsets[0]))
  for (let row = 0; row + 1 < offsets.length; row++) {
    const length = (offsets[row + 1] as number) - (offsets[row] as number)
    if (length < 0) throw refuse(name, 'offsets that do not decrease', `${offsets[row]}, ${offsets[row + 1]}`, row)
    if (most !== undefined && length > most) throw refuse(name, `at most ${plural(most, 'item')}`, `${length}`, row)
  }
  if (offsets.at(-1) !== count)
    throw refuse(name, `offsets that end with ${count}, the number of values`, `${offsets.at(-1)}`)
}

interface Rule {
  readonly right: (value: number) => boolean
  readonly expected: string
}

function rule(name: string, feature: Feature, encoding: Encoding): Rule {
  const ids = (size: number): Rule => ({
    right: (value) => value >= 0 && value < size,
    expected: `an id from 0 to ${size - 1}`,
  })
  const finite: Rule = { right: Number.isFinite, expected: 'a finite number' }
  switch (feature.kind) {
    case 'categorical':
    case 'sequence': {
      if (feature.size !== undefined) return ids(feature.size)
      const vocabulary = vocabularyOf(name, feature) as string
      const values = encoding.vocabularies[vocabulary]
      if (values) return ids(vocabularySize(values))
      throw new KairosError('KAIROS_MISSING', {
        op: OP,
        argument: 'encoding',
        expected: `a vocabulary '${vocabulary}'`,
        got: 'none',
        hint: `Ids without one: ${feature.kind}({ size: ... })`,
      })
    }
    case 'domain':
      return ids(feature.values.length)
    case 'label':
      return feature.real ? finite : { right: (value) => value === 0 || value === 1, expected: '0 or 1' }
    case 'groupId':
      return { right: () => true, expected: 'an int32' }
    case 'numeric':
    case 'dense':
    case 'time':
      return finite
    default:
      return feature satisfies never
  }
}

function rowHolding(offsets: Int32Array, position: number): number {
  let row = 0
  while ((offsets[row + 1] as number) <= position) row++
  return row
}

function refuse(name: string, expected: string, got: string, row?: number): KairosError {
  const argument = row === undefined ? `column '${name}'` : `column '${name}', row ${row}`
  return new KairosError('KAIROS_DATA', { op: OP, argument, expected, got })
}
