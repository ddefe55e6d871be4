/**
 * Figures of a model as sums over users, so that they can be taken again for any draw of users: paired bootstrap of
 * several models over several seeds without keeping their predictions.
 *
 *     figure = offset + sum over terms of (sum of w_u numerator_u) / (sum of w_u denominator_u)
 *
 * with w_u how often user u was drawn. A mean of rows is one term. AUC is two, by its placements (DeLong et al. 1988,
 * for clustered data Obuchowski 1997): of positives and of negatives, less the AUC itself; exact for the users as they
 * are, and to first order for a draw.
 */
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import { refuse, requireLength } from './accumulator.js'
import { placements } from './aucInterval.js'
import { float32s, intColumn, uint8s } from './column.js'
import { withinGroups } from './gauc.js'

/** Users are gathered in at most so many groups, which are then what is drawn: enough that an interval does not notice. */
export const USER_GROUPS = 1024

export interface UserTerm {
  /** By group of users: user modulo USER_GROUPS. */
  readonly numerators: Float64Array
  readonly denominators: Float64Array
}

export interface UserStatistic {
  readonly offset: number
  readonly terms: readonly UserTerm[]
}

/** The figure for users drawn so often; without `times`, as they are. NaN where a denominator is 0. */
export function statisticValue({ offset, terms }: UserStatistic, times?: ArrayLike<number>): number {
  let value = offset
  for (const { numerators, denominators } of terms) {
    let [above, below] = [0, 0]
    for (let group = 0; group < numerators.length; group++) {
      const weight = times ? (times[group] as number) : 1
      above += weight * (numerators[group] as number)
      below += weight * (denominators[group] as number)
    }
    value += above / below
  }
  return value
}

/** A figure without users behind it: its interval is that over seeds alone. */
export const plainStatistic = (value: number): UserStatistic => ({ offset: value, terms: [] })

export interface RatioRows {
  readonly count: number
  /** The user of each row: not negative. */
  readonly users: ArrayLike<number>
  readonly numerator: (row: number) => number
  /** Default: 1, for a mean. */
  readonly denominator?: (row: number) => number
  /** Rows that count; all unless told. */
  readonly where?: (row: number) => boolean
}

/** Sum of numerators over sum of denominators: means, PCOC, relative bias. */
export async function ratioStatistic({
  count,
  users,
  numerator,
  denominator = () => 1,
  where = () => true,
}: RatioRows): Promise<UserStatistic> {
  requireLength('ratioStatistic', 'users', users.length, count)
  const term = emptyTerm()
  await inSlices(count, createTimeSlice(), (begin, end) => {
    for (let row = begin; row < end; row++) {
      if (where(row)) addTo(term, users[row] as number, numerator(row), denominator(row))
    }
  })
  return { offset: 0, terms: [term] }
}

/** AUC of the rows that count. NaN where they hold one class. */
export async function aucStatistic(
  scores: Float32Array,
  labels: ArrayLike<number>,
  users: ArrayLike<number>,
  where: (row: number) => boolean = () => true,
): Promise<UserStatistic> {
  requireLength('aucStatistic', 'users', users.length, scores.length)
  const { rows, kept, pause } = await rowsThatCount(scores, labels, where)
  const [placed] = await placements('aucStatistic', [kept.scores], kept.labels, pause)
  const terms = [emptyTerm(), emptyTerm()] as const
  await inSlices(rows.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) {
      addTo(terms[kept.labels[i] as 0 | 1], users[rows[i] as number] as number, placed?.[i] as number, 1)
    }
  })
  const auc = statisticValue({ offset: 0, terms: [terms[1]] })
  return { offset: -auc, terms }
}

/**
 * AUC within users: GAUC, where each weighs as many as its rows, or with `even` UAUC, their plain mean. Users of one
 * class are left out.
 */
export async function withinUsersStatistic(
  scores: Float32Array,
  labels: ArrayLike<number>,
  users: ArrayLike<number>,
  { even = false, where = () => true }: { readonly even?: boolean; readonly where?: (row: number) => boolean } = {},
): Promise<UserStatistic> {
  requireLength('withinUsersStatistic', 'users', users.length, scores.length)
  const { rows, kept, pause } = await rowsThatCount(scores, labels, where)
  const of = new Int32Array(rows.length)
  await inSlices(rows.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) of[i] = users[rows[i] as number] as number
  })
  const term = emptyTerm()
  await withinGroups(kept.scores, kept.labels, of, pause, (auc, size, row) => {
    if (!Number.isNaN(auc)) addTo(term, of[row] as number, (even ? 1 : size) * auc, even ? 1 : size)
  })
  return { offset: 0, terms: [term] }
}

async function rowsThatCount(scores: Float32Array, labels: ArrayLike<number>, where: (row: number) => boolean) {
  const pause = createTimeSlice()
  const column = intColumn()
  await inSlices(scores.length, pause, (begin, end) => {
    for (let row = begin; row < end; row++) if (where(row)) column.push(row)
  })
  const rows = await column.flatten(pause)
  const kept = { scores: float32s(rows.length), labels: uint8s(rows.length) }
  await inSlices(rows.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) {
      kept.scores[i] = scores[rows[i] as number] as number
      kept.labels[i] = labels[rows[i] as number] as number
    }
  })
  return { rows, kept, pause }
}

const emptyTerm = (): UserTerm => ({
  numerators: new Float64Array(USER_GROUPS),
  denominators: new Float64Array(USER_GROUPS),
})

function addTo({ numerators, denominators }: UserTerm, user: number, numerator: number, denominator: number): void {
  if (!(user >= 0)) refuse('UserStatistic', 'users', 'numbers from 0 up', user)
  const group = user % USER_GROUPS
  numerators[group] = (numerators[group] as number) + numerator
  denominators[group] = (denominators[group] as number) + denominator
}
