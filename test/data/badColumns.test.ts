/** Columns that a caller made wrong, and exactly what is said about them. */
import { describe, expect, it } from 'vitest'
import {
  type Column,
  categorical,
  Dataset,
  defineSchema,
  dense,
  domain,
  type Features,
  label,
  numeric,
  sequence,
  time,
} from '../../lib/index.js'
import { refusalOf } from './support.js'

const x = { x: numeric() }
const ids = { id: categorical({ size: 10 }) }

describe('columns are refused for', () => {
  const int = (...values: number[]) => Int32Array.from(values)
  const float = (...values: number[]) => Float32Array.from(values)
  const two = { h: sequence({ size: 10 }), y: label() }
  const y = { values: float(0, 1) }
  const ragged = (values: Int32Array, offsets: Int32Array) => ({ h: { values, offsets }, y })

  it.each<[string, Features, Record<string, unknown>, string]>([
    [
      'offsets out of order',
      two,
      ragged(int(1, 2), int(0, 2, 1)),
      "column 'h', row 1 should be offsets that do not decrease but got 2, 1",
    ],
    [
      'offsets that begin later',
      two,
      ragged(int(1, 2), int(1, 1, 2)),
      "column 'h' should be offsets that begin with 0 but got 1",
    ],
    [
      'offsets that end early',
      two,
      ragged(int(1, 2), int(0, 1, 1)),
      "column 'h' should be offsets that end with 2, the number of values but got 1",
    ],
    [
      'offsets past the end',
      two,
      ragged(int(1, 2), int(0, 1, 5)),
      "column 'h' should be offsets that end with 2, the number of values but got 5",
    ],
    ['no offsets', two, { h: { values: int(1) }, y }, "column 'h' should be offsets in an Int32Array but got none"],
    [
      'offsets without an entry',
      two,
      ragged(int(), int()),
      "column 'h' should be offsets, one more than there are rows but got none",
    ],
    [
      'offsets for a label',
      { y: label() },
      { y: { values: float(1), offsets: int(0, 1) } },
      "column 'y' should be no offsets for label but got some",
    ],
    [
      'other numbers of rows',
      two,
      ragged(int(1, 2), int(0, 2)),
      "column 'y' should be 1 row, as the first column has but got 2",
    ],
    [
      'a negative id in a row',
      two,
      ragged(int(1, -2), int(0, 0, 2)),
      "column 'h', row 1 should be an id from 0 to 9 but got -2",
    ],
    [
      'a huge id',
      { c: categorical({ size: 4 }) },
      { c: { values: int(3, 4) } },
      "column 'c', row 1 should be an id from 0 to 3 but got 4",
    ],
    [
      'an id past its vocabulary',
      { c: categorical() },
      { c: { values: int(4, 5) } },
      "column 'c', row 1 should be an id from 0 to 4 but got 5",
    ],
    [
      'no vocabulary',
      { d: categorical() },
      { d: { values: int(1) } },
      "encoding should be a vocabulary 'd' but got none. Ids without one: categorical({ size: ... })",
    ],
    [
      'too many items',
      { h: sequence({ size: 9, maxLength: 1 }) },
      { h: { values: int(1, 2), offsets: int(0, 2) } },
      "column 'h', row 0 should be at most 1 item but got 2",
    ],
    ['another array', x, { x: { values: [1, 2] } }, "column 'x' should be values in a Float32Array but got Array"],
    [
      'doubles for ids',
      ids,
      { id: { values: Float64Array.of(1) } },
      "column 'id' should be values in an Int32Array but got Float64Array",
    ],
    ['NaN', x, { x: { values: float(1, Number.NaN) } }, "column 'x', row 1 should be a finite number but got NaN"],
    [
      'infinity',
      { at: time() },
      { at: { values: Float64Array.of(Number.POSITIVE_INFINITY) } },
      "column 'at', row 0 should be a finite number but got Infinity",
    ],
    [
      'a label outside 0 and 1',
      { y: label() },
      { y: { values: float(1, 0.5) } },
      "column 'y', row 1 should be 0 or 1 but got 0.5",
    ],
    [
      'vectors of another width',
      { v: dense(2) },
      { v: { values: float(1, 2, 3) } },
      "column 'v' should be rows of 2 numbers but got 3 numbers",
    ],
    [
      'a domain that is none',
      { d: domain(['a', 'b']) },
      { d: { values: int(2) } },
      "column 'd', row 0 should be an id from 0 to 1 but got 2",
    ],
    [
      'marks of another length',
      x,
      { x: { values: float(1), missing: new Uint8Array(2) } },
      "column 'x' should be 1 mark of missing values but got 2",
    ],
    ['a column too few', two, { y }, "column 'h' should be given but got nothing"],
    [
      'a column too many',
      x,
      { x: y, xs: y },
      "column 'xs' should be a feature of the schema but got none of that name. Did you mean 'x'?",
    ],
  ])('%s', async (_, features, columns, message) => {
    const encoding = { vocabularies: { c: ['a', 'b'] }, scales: {} }
    const making = Dataset.fromColumns(defineSchema(features), columns as Record<string, Column>, encoding)
    expect(await refusalOf(making)).toBe(`Dataset.fromColumns: ${message}`)
  })
})
