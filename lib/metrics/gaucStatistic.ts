/** GAUC of several labels on one order of scores, as sums by user: for the bootstrap, and taken often on the same rows. */
import { createTimeSlice, inSlices } from '../core/timeSlice.js'
import { requireLength } from './accumulator.js'
import { float64s, int32s } from './column.js'
import { USER_GROUPS, type UserStatistic } from './userStatistic.js'

/** Rows sorted by user: made once, read by every `gaucStatistics` of these rows. */
export interface RowsByUser {
  /** Rows, those of a user one after another. */
  readonly order: Int32Array
  /** Where each user's rows begin in `order`, and one more for the end. */
  readonly begins: Int32Array
  readonly users: Int32Array
}

/** Users are numbers from 0 up. */
export async function rowsByUser(users: ArrayLike<number>): Promise<RowsByUser> {
  const pause = createTimeSlice()
  const count = users.length
  const counts = new Map<number, number>()
  await inSlices(count, pause, (begin, end) => {
    for (let row = begin; row < end; row++) {
      const user = users[row] as number
      counts.set(user, (counts.get(user) ?? 0) + 1)
    }
  })
  const begins = int32s(counts.size + 1)
  const named = int32s(counts.size)
  const next = new Map<number, number>()
  let [place, at] = [0, 0]
  for (const [user, size] of counts) {
    named[place] = user
    begins[place++] = at
    next.set(user, at)
    at += size
  }
  begins[place] = at
  const order = int32s(count)
  await inSlices(count, pause, (begin, end) => {
    for (let row = begin; row < end; row++) {
      const user = users[row] as number
      const to = next.get(user) as number
      order[to] = row
      next.set(user, to + 1)
    }
  })
  return { order, begins, users: named }
}

/**
 * GAUC = sum_u n_u AUC_u / sum_u n_u by label, over users with both classes of it, n_u the rows of u (Zhu et al. 2018,
 * "Deep interest network", section 5.3). A user's scores are sorted once; each label then takes a rank sum with midranks.
 * Exact for any draw of users.
 */
export async function gaucStatistics<Name extends string>(
  scores: ArrayLike<number>,
  labels: Readonly<Record<Name, ArrayLike<number>>>,
  { order, begins, users }: RowsByUser,
): Promise<Record<Name, UserStatistic>> {
  requireLength('gaucStatistics', 'scores', scores.length, order.length)
  const names = Object.keys(labels) as Name[]
  const columns = names.map((name) => labels[name])
  const sums = names.map(() => ({
    numerators: new Float64Array(USER_GROUPS),
    denominators: new Float64Array(USER_GROUPS),
  }))
  let most = 0
  for (let u = 0; u < users.length; u++) most = Math.max(most, (begins[u + 1] as number) - (begins[u] as number))
  const [rows, ranks] = [int32s(most), float64s(most)]
  const byScore = (a: number, b: number) => (scores[a] as number) - (scores[b] as number)

  const judge = (u: number) => {
    const [begin, end] = [begins[u] as number, begins[u + 1] as number]
    const n = end - begin
    const sorted = rows.subarray(0, n)
    sorted.set(order.subarray(begin, end))
    sorted.sort(byScore)
    for (let first = 0; first < n; ) {
      let last = first
      while (last + 1 < n && byScore(sorted[first] as number, sorted[last + 1] as number) === 0) last++
      ranks.fill((first + last) / 2 + 1, first, last + 1)
      first = last + 1
    }
    const group = (users[u] as number) % USER_GROUPS
    for (let k = 0; k < columns.length; k++) {
      const column = columns[k] as ArrayLike<number>
      let [positives, rankSum] = [0, 0]
      for (let i = 0; i < n; i++) {
        if (column[sorted[i] as number] !== 1) continue
        positives++
        rankSum += ranks[i] as number
      }
      if (positives === 0 || positives === n) continue
      const auc = (rankSum - (positives * (positives + 1)) / 2) / (positives * (n - positives))
      const { numerators, denominators } = sums[k] as (typeof sums)[number]
      numerators[group] = (numerators[group] as number) + n * auc
      denominators[group] = (denominators[group] as number) + n
    }
  }
  await inSlices(
    users.length,
    createTimeSlice(),
    (begin, end) => {
      for (let u = begin; u < end; u++) judge(u)
    },
    4,
  )
  return Object.fromEntries(names.map((name, k) => [name, { offset: 0, terms: [sums[k]] }])) as never
}
