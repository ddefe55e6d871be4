/** From column vectors to typed arrays: copies, checks of every value, and vocabularies of integers. */
import type { DuckDBVector } from '@duckdb/node-api'
import { type Column, FIRST_VALUE_ID, NULL_ID, type Scale, UNKNOWN_ID } from '../columns.js'
import { type Feature, vocabularyOf } from '../features.js'
import { Growable } from '../growable.js'
import { isNull, listsOf, scalarsOf } from './vectors.js'

/** A value that a feature does not take; the reader adds file, row and the text that stands there. */
export class Fault extends Error {
  constructor(
    readonly row: number,
    readonly expected: string,
    /** undefined: what the file says there. */
    readonly got?: string,
    readonly hint?: string,
  ) {
    super(expected)
  }
}

/** Takes rows [begin, end) of vectors, and gives what it has as a column. */
export interface Decoder {
  append(vector: DuckDBVector, begin: number, end: number): void
  take(): Column
}

export interface DecodeOptions {
  readonly name: string
  readonly feature: Feature
  readonly scale?: Scale | undefined
  /** Ids of a vocabulary of integers, where the vector holds the integers themselves. */
  readonly lookup?: ((value: number) => number) | undefined
}

const MAX_INT32 = 2 ** 31 - 1

export function decoderOf(options: DecodeOptions): Decoder {
  const { name, feature } = options
  switch (feature.kind) {
    case 'categorical':
      return vocabularyOf(name, feature) === undefined
        ? idDecoder(
            0,
            (feature.size as number) - 1,
            `an integer from 0 to ${(feature.size as number) - 1}`,
            feature.nullId,
          )
        : vocabularyDecoder(options.lookup)
    case 'domain':
      return idDecoder(0, feature.values.length - 1, `one of ${feature.values.join(', ')}`, undefined)
    case 'groupId':
      return idDecoder(
        -(2 ** 31),
        MAX_INT32,
        'an int32',
        undefined,
        'Ids that are no int32 are text: groupId({ text: true })',
      )
    case 'numeric':
      return numericDecoder(feature.nulls ?? 'zero', options.scale)
    case 'label':
      return labelDecoder(feature.real ?? false)
    case 'time':
      return timeDecoder()
    case 'sequence':
      return sequenceDecoder(feature.size, feature.padded ?? feature.maxLength, options.lookup)
    case 'dense':
      return denseDecoder(feature.width)
    default:
      return feature satisfies never
  }
}

function idDecoder(least: number, most: number, expected: string, nullId: number | undefined, hint?: string): Decoder {
  const ids = new Growable(Int32Array)
  return {
    append(vector, begin, end) {
      const { items, validity } = scalarsOf(vector)
      const out = ids.reserve(end - begin)
      let at = ids.length
      for (let row = begin; row < end; row++) {
        if (validity && isNull(validity, row)) {
          if (nullId === undefined) throw new Fault(row, expected, 'null')
          out[at++] = nullId
          continue
        }
        const id = items[row] as number
        if (!(id >= least && id <= most && Number.isInteger(id))) throw new Fault(row, expected, undefined, hint)
        out[at++] = id
      }
      ids.length = at
    },
    take: () => ({ values: ids.take() }),
  }
}

function vocabularyDecoder(lookup: DecodeOptions['lookup']): Decoder {
  const ids = new Growable(Int32Array)
  return {
    append(vector, begin, end) {
      const { items, validity } = scalarsOf(vector)
      const out = ids.reserve(end - begin)
      const shift = ids.length - begin
      if (lookup) for (let row = begin; row < end; row++) out[row + shift] = lookup(items[row] as number)
      else out.set(items.subarray(begin, end), ids.length)
      if (validity) for (let row = begin; row < end; row++) if (isNull(validity, row)) out[row + shift] = NULL_ID
      ids.length += end - begin
    },
    take: () => ({ values: ids.take() }),
  }
}

function numericDecoder(nulls: 'zero' | 'indicator' | 'error', scale: Scale | undefined): Decoder {
  const numbers = new Growable(Float32Array)
  const missing = new Growable(Uint8Array)
  let anyMissing = false
  const { mean, deviation } = scale ?? { mean: 0, deviation: 1 }
  return {
    append(vector, begin, end) {
      const { items, validity } = scalarsOf(vector)
      const out = numbers.reserve(end - begin)
      const marks = missing.reserve(end - begin)
      let at = numbers.length
      for (let row = begin; row < end; row++, at++) {
        if (validity && isNull(validity, row)) {
          if (nulls === 'error') throw new Fault(row, 'a finite float32', 'null')
          out[at] = 0
          marks[at] = 1
          anyMissing = true
          continue
        }
        out[at] = ((items[row] as number) - mean) / deviation
        marks[at] = 0
        if (!Number.isFinite(out[at])) throw new Fault(row, 'a finite float32')
      }
      numbers.length = at
      missing.length = at
    },
    take() {
      const marks = missing.take()
      const column = anyMissing ? { values: numbers.take(), missing: marks } : { values: numbers.take() }
      anyMissing = false
      return column
    },
  }
}

function labelDecoder(real: boolean): Decoder {
  const labels = new Growable(Float32Array)
  const expected = real ? 'a finite float32' : '0 or 1'
  return {
    append(vector, begin, end) {
      const { items, validity } = scalarsOf(vector)
      const out = labels.reserve(end - begin)
      let at = labels.length
      for (let row = begin; row < end; row++, at++) {
        if (validity && isNull(validity, row)) throw new Fault(row, expected, 'null')
        const value = items[row] as number
        out[at] = value
        const right = real ? Number.isFinite(out[at]) : value === 0 || value === 1
        if (!right) {
          throw new Fault(
            row,
            expected,
            undefined,
            real ? undefined : 'Other numbers are labels with label({ real: true })',
          )
        }
      }
      labels.length = at
    },
    take: () => ({ values: labels.take() }),
  }
}

function timeDecoder(): Decoder {
  const times = new Growable(Float64Array)
  const expected = 'a date, or a number of at most 2^53'
  return {
    append(vector, begin, end) {
      const { items, validity } = scalarsOf(vector)
      const out = times.reserve(end - begin)
      let at = times.length
      for (let row = begin; row < end; row++, at++) {
        if (validity && isNull(validity, row)) throw new Fault(row, expected, 'null')
        const value = items[row] as number
        if (!(Math.abs(value) <= Number.MAX_SAFE_INTEGER)) throw new Fault(row, expected)
        out[at] = value
      }
      times.length = at
    },
    take: () => ({ values: times.take() }),
  }
}

function sequenceDecoder(
  size: number | undefined,
  maxLength: number | undefined,
  lookup: DecodeOptions['lookup'],
): Decoder {
  const values = new Growable(Int32Array)
  const offsets = new Growable(Int32Array)
  const limit = maxLength ?? MAX_INT32

  /** One copy for all rows: no nulls, none too long, no gaps. Ids are mapped and checked in place. */
  const appendBlock = (items: ArrayLike<number>, first: number, count: number): number => {
    const out = values.reserve(count)
    const start = values.length
    const block = (items as Int32Array).subarray(first, first + count)
    if (lookup) for (let i = 0; i < count; i++) out[start + i] = lookup(block[i] as number)
    else out.set(block, start)
    if (size !== undefined) {
      for (let i = 0; i < count; i++) {
        const id = block[i] as number
        // Comparing as unsigned refuses negative ids too; doubles may be fractions or huge.
        if (!(id >= 0 && id < size && Number.isInteger(id))) return i
      }
    }
    values.length += count
    return -1
  }

  return {
    append(vector, begin, end) {
      const lists = listsOf(vector)
      const { items, validity } = lists.child
      const ends = offsets.reserve(end - begin + 1)
      if (offsets.length === 0) ends[offsets.length++] = 0
      const faultAt = (row: number): Fault => {
        return new Fault(row, `integers from 0 to ${(size as number) - 1}`)
      }

      let contiguous = validity === null
      let next = begin < end ? lists.start(begin) : 0
      const first = next
      let total = values.length
      const firstEnd = offsets.length
      for (let row = begin; row < end; row++) {
        const length = lists.length(row)
        if ((length > 0 && lists.start(row) !== next) || length > limit) contiguous = false
        if (length > 0) next = lists.start(row) + length
        total += length
        ends[firstEnd + row - begin] = total
      }
      if (total > MAX_INT32) throw new Fault(begin, `at most ${MAX_INT32} items in all rows together`, 'more')
      if (contiguous) {
        const wrong = appendBlock(items, first, next - first)
        if (wrong >= 0) throw faultAt(rowOf(lists, begin, end, first + wrong))
      } else {
        for (let row = begin; row < end; row++) {
          ends[firstEnd + row - begin] = appendRow(lists.start(row), lists.length(row), items, validity, row, faultAt)
        }
      }
      offsets.length += end - begin
    },
    take() {
      const rows = offsets.take()
      return { values: values.take(), offsets: rows.length > 0 ? rows : new Int32Array(1) }
    },
  }

  /** One row: nulls left out, then its last items kept. */
  function appendRow(
    start: number,
    length: number,
    items: ArrayLike<number>,
    validity: Uint8Array | null,
    row: number,
    faultAt: (row: number) => Fault,
  ): number {
    const out = values.reserve(length)
    const from = values.length
    let at = from
    for (let i = start; i < start + length; i++) {
      if (validity && isNull(validity, i)) continue
      const value = items[i] as number
      const id = lookup ? lookup(value) : value
      if (size !== undefined && !(id >= 0 && id < size && Number.isInteger(id))) throw faultAt(row)
      out[at++] = id
    }
    if (at - from > limit) {
      out.copyWithin(from, at - limit, at)
      at = from + limit
    }
    values.length = at
    return at
  }
}

function rowOf(
  lists: { start(row: number): number; length(row: number): number },
  begin: number,
  end: number,
  item: number,
): number {
  for (let row = begin; row < end; row++) {
    if (item >= lists.start(row) && item < lists.start(row) + lists.length(row)) return row
  }
  return begin
}

function denseDecoder(width: number): Decoder {
  const numbers = new Growable(Float32Array)
  return {
    append(vector, begin, end) {
      const lists = listsOf(vector)
      const { items, validity } = lists.child
      const out = numbers.reserve((end - begin) * width)
      let at = numbers.length
      for (let row = begin; row < end; row++) {
        const start = lists.start(row)
        const length = lists.length(row)
        if (length !== width) throw new Fault(row, `${width} numbers`, `${length}`)
        for (let i = start; i < start + width; i++, at++) {
          out[at] = validity && isNull(validity, i) ? Number.NaN : (items[i] as number)
          if (!Number.isFinite(out[at])) throw new Fault(row, `${width} finite float32`)
        }
      }
      numbers.length = at
    },
    take: () => ({ values: numbers.take() }),
  }
}

/** Widest range of integers that is looked up in a plain table: 64 MB. */
const TABLE_RANGE = 2 ** 24

/** Ids of a vocabulary whose values are integers: a table where they lie close together, a map elsewhere. */
export function integerLookup(texts: readonly string[]): (value: number) => number {
  // Only texts that an integer column can produce: '07' and '1.0' are other values.
  const pairs = texts.flatMap((text, i): [number, number][] => {
    const value = Number(text)
    return Number.isInteger(value) && String(value) === text ? [[value, FIRST_VALUE_ID + i]] : []
  })
  if (pairs.length === 0) return () => UNKNOWN_ID
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const [value] of pairs) {
    if (value < least) least = value
    if (value > most) most = value
  }
  if (most - least < TABLE_RANGE) {
    const table = new Int32Array(most - least + 1).fill(UNKNOWN_ID)
    for (const [value, id] of pairs) table[value - least] = id
    return (value) => (value >= least && value <= most ? (table[value - least] as number) : UNKNOWN_ID)
  }
  const map = new Map(pairs)
  return (value) => map.get(value) ?? UNKNOWN_ID
}
