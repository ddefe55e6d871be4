/** Parts of a data set. They share its columns; none overlaps another; equal seeds give equal parts. */
import { KairosError } from '../core/errors.js'
import { createRandom, philox4x32 } from '../core/random.js'
import type { Dataset } from './dataset.js'
import type { Features } from './features.js'

/** Shares of the parts by name, such as `{ train: 0.8, validation: 0.1, test: 0.1 }`; they sum to 1. */
export type Fractions = Readonly<Record<string, number>>
export type Parts<F extends Features, P extends Fractions> = { readonly [K in keyof P]: Dataset<F> }

/** The rows before a row, and the others. */
export const splitAtRow = <F extends Features>(data: Dataset<F>, row: number): [Dataset<F>, Dataset<F>] => [
  data.slice(0, row),
  data.slice(row),
]

/** Parts that follow one another in the order of the rows. */
export function splitInOrder<F extends Features, const P extends Fractions>(
  data: Dataset<F>,
  fractions: P,
): Parts<F, P> {
  const ends = endsOf('splitInOrder', fractions, data.rowCount)
  return partsOf(fractions, (i) => data.slice(ends[i - 1] ?? 0, ends[i]))
}

/** Parts whose rows are drawn at random; within a part they keep their order. */
export function splitRandomly<F extends Features, const P extends Fractions>(
  data: Dataset<F>,
  fractions: P,
  seed: number,
): Parts<F, P> {
  const ends = endsOf('splitRandomly', fractions, data.rowCount)
  const rows = createRandom(seed).fork('random split').shuffle(ascending(data.rowCount))
  return partsOf(fractions, (i) => data.select(rows.slice(ends[i - 1] ?? 0, ends[i]).sort()))
}

/** The rows earlier than a moment, and the others: what `time` features hold, in their unit. */
export function splitAtTime<F extends Features>(
  data: Dataset<F>,
  name: keyof F & string,
  moment: number,
): [Dataset<F>, Dataset<F>] {
  const times = timesOf('splitAtTime', data, name)
  const earlier = ascending(data.rowCount).filter((row) => (times[row] as number) < moment)
  const others = ascending(data.rowCount).filter((row) => !((times[row] as number) < moment))
  return [data.select(earlier), data.select(others)]
}

/**
 * Parts that follow one another in time, earliest first; within a part rows keep their order. Rows of one moment stay
 * together, in the later part, so that no part knows the moment that another is asked about.
 */
export function splitByTime<F extends Features, const P extends Fractions>(
  data: Dataset<F>,
  name: keyof F & string,
  fractions: P,
): Parts<F, P> {
  const times = timesOf('splitByTime', data, name)
  const ends = endsOf('splitByTime', fractions, data.rowCount)
  const sorted = Float64Array.from(times).sort()
  const moments = ends.map((end) => (end < sorted.length ? (sorted[end] as number) : Number.POSITIVE_INFINITY))
  return partsOf(fractions, (i) => {
    const from = i === 0 ? Number.NEGATIVE_INFINITY : (moments[i - 1] as number)
    const to = moments[i] as number
    return data.select(
      ascending(data.rowCount).filter((row) => (times[row] as number) >= from && (times[row] as number) < to),
    )
  })
}

/**
 * Parts with different users: all rows of a group go to one part, by a hash of its id and the seed, so a user's part
 * does not depend on who else there is. Shares are those of users, and only nearly met.
 */
export function splitByGroup<F extends Features, const P extends Fractions>(
  data: Dataset<F>,
  name: keyof F & string,
  fractions: P,
  seed: number,
): Parts<F, P> {
  const op = 'splitByGroup'
  if (data.schema.features[name]?.kind !== 'groupId') throw refuse(op, 'name', 'a groupId feature', `'${name}'`)
  if (!Number.isSafeInteger(seed) || seed < 0) throw refuse(op, 'seed', 'an integer from 0 to 2^53 - 1', String(seed))
  checkFractions(op, fractions)
  const groups = data.values(name)
  const bounds = cumulative(fractions)
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]
  const counter = new Uint32Array(4)
  const words = new Uint32Array(4)
  const partOf = new Uint8Array(data.rowCount)
  for (let row = 0; row < partOf.length; row++) {
    counter[0] = groups[row] as number
    const share = (philox4x32(counter, key, words)[0] as number) / 2 ** 32
    let part = 0
    while (part < bounds.length - 1 && share >= (bounds[part] as number)) part++
    partOf[row] = part
  }
  return partsOf(fractions, (i) => data.select(ascending(data.rowCount).filter((row) => partOf[row] === i)))
}

const ascending = (count: number): Int32Array => {
  const rows = new Int32Array(count)
  for (let row = 0; row < count; row++) rows[row] = row
  return rows
}

const partsOf = <F extends Features, P extends Fractions>(fractions: P, part: (i: number) => Dataset<F>) =>
  Object.fromEntries(Object.keys(fractions).map((name, i) => [name, part(i)])) as Parts<F, P>

function cumulative(fractions: Fractions): number[] {
  let sum = 0
  return Object.values(fractions).map((share) => (sum += share))
}

function endsOf(op: string, fractions: Fractions, rowCount: number): number[] {
  checkFractions(op, fractions)
  const ends = cumulative(fractions).map((share) => Math.min(rowCount, Math.round(share * rowCount)))
  ends[ends.length - 1] = rowCount
  return ends
}

/** Parts that a split by group can number. */
const MAX_PARTS = 256

function checkFractions(op: string, fractions: Fractions): void {
  const shares = Object.entries(fractions)
  if (shares.length < 2 || shares.length > MAX_PARTS)
    throw refuse(op, 'fractions', `2 to ${MAX_PARTS} parts`, `${shares.length}`)
  for (const [name, share] of shares) {
    if (!(share > 0 && share < 1)) throw refuse(op, `fractions.${name}`, 'a share between 0 and 1', String(share))
  }
  const sum = shares.reduce((total, [, share]) => total + share, 0)
  if (Math.abs(sum - 1) > 1e-9) throw refuse(op, 'fractions', 'shares that sum to 1', `a sum of ${sum}`)
}

function timesOf<F extends Features>(op: string, data: Dataset<F>, name: keyof F & string) {
  if (data.schema.features[name]?.kind !== 'time') throw refuse(op, 'name', 'a time feature', `'${name}'`)
  return data.values(name)
}

const refuse = (op: string, argument: string, expected: string, got: string): KairosError =>
  new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got })
