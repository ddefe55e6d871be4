/**
 * Metrics of rankings with any number of relevant items per user, from ranks or from lists.
 *
 * A rank is 0-based: the number of candidates above the item. With R relevant items of a user, of which those within
 * the first k stand at ranks r1 < r2 < ..., found = how many they are:
 *
 *     hit rate    1 if found > 0
 *     recall      found / R
 *     precision   found / k
 *     ndcg        sum 1 / log2(ri + 2), over the same sum for ranks 0 .. min(k, R) - 1 (Jarvelin and Kekalainen 2002)
 *     map         sum i / (ri + 1), over min(k, R)
 *     mrr         1 / (r1 + 1), without a cutoff
 *
 * Each is the mean over users with a relevant item; others are left out and counted. How scores become ranks, ties
 * included, is decided where they are ranked: `targetRank` and `rankAmong` say so.
 */
import type { Ragged } from '../core/ragged.js'
import { type Accumulator, refuse } from './accumulator.js'
import { ExactSum } from './exactSum.js'

export type RankBatch =
  /** One relevant item per user. */
  | { readonly ranks: Int32Array; readonly offsets?: undefined }
  /** Ranks of each user's relevant items, in any order: user u has ranks[offsets[u] .. offsets[u + 1]). */
  | { readonly ranks: Int32Array; readonly offsets: Int32Array }
  /**
   * The first `width` items of each user's ranking, best first, and the user's relevant items. An item below 0 is
   * none; one that stands in a list twice counts where it stands first. What is not listed is not found.
   */
  | { readonly items: Int32Array; readonly width: number; readonly relevant: Ragged }

export interface RankingAt {
  readonly hitRate: number
  readonly ndcg: number
  readonly recall: number
  readonly precision: number
  readonly map: number
}

/** Means are NaN without users. */
export interface RankingResult {
  readonly users: number
  /** Users without a relevant item. */
  readonly skipped: number
  readonly mrr: number
  /** By cutoff. */
  readonly at: Readonly<Record<number, RankingAt>>
}

const NAMES = ['hitRate', 'ndcg', 'recall', 'precision', 'map'] as const

export class RankingMetrics implements Accumulator<RankBatch, RankingResult> {
  private readonly cutoffs: readonly number[]
  private readonly reciprocals = new ExactSum()
  private readonly sums: readonly Readonly<Record<keyof RankingAt, ExactSum>>[]
  private users = 0
  private skipped = 0

  constructor({ cutoffs = [1, 5, 10, 20] }: { readonly cutoffs?: readonly number[] } = {}) {
    cutoffs.forEach((k, i) => {
      if (!Number.isInteger(k) || k < 1) refuse('RankingMetrics', `cutoffs[${i}]`, 'a positive integer', k)
    })
    this.cutoffs = [...new Set(cutoffs)].sort((a, b) => a - b)
    this.sums = this.cutoffs.map(() => ({
      hitRate: new ExactSum(),
      ndcg: new ExactSum(),
      recall: new ExactSum(),
      precision: new ExactSum(),
      map: new ExactSum(),
    }))
  }

  update(batch: RankBatch): void {
    if ('items' in batch) this.updateLists(batch)
    else if (batch.offsets) this.updateRanks(batch.ranks, batch.offsets)
    else this.updateRanks(batch.ranks, null)
  }

  value(): RankingResult {
    const means = (sums: Readonly<Record<keyof RankingAt, ExactSum>>) =>
      Object.fromEntries(NAMES.map((name) => [name, sums[name].value / this.users])) as unknown as RankingAt
    return {
      users: this.users,
      skipped: this.skipped,
      mrr: this.reciprocals.value / this.users,
      at: Object.fromEntries(this.cutoffs.map((k, i) => [k, means(this.sums[i] as (typeof this.sums)[number])])),
    }
  }

  merge(other: RankingMetrics): void {
    if (String(other.cutoffs) !== String(this.cutoffs)) {
      refuse('RankingMetrics', 'other', `of the cutoffs ${this.cutoffs.join(', ')}`, other.cutoffs.join(', '))
    }
    this.reciprocals.merge(other.reciprocals)
    this.sums.forEach((sums, i) => {
      for (const name of NAMES) sums[name].merge((other.sums[i] as typeof sums)[name])
    })
    this.users += other.users
    this.skipped += other.skipped
  }

  private updateRanks(ranks: Int32Array, offsets: Int32Array | null): void {
    if (offsets) checkOffsets('offsets', offsets, ranks.length)
    const bad = ranks.findIndex((rank) => rank < 0)
    if (bad >= 0) refuse('RankingMetrics', `ranks[${bad}]`, 'a 0-based rank', ranks[bad])
    const users = offsets ? offsets.length - 1 : ranks.length
    const rowOf = (user: number) =>
      offsets ? ranks.slice(offsets[user], offsets[user + 1]).sort() : ranks.subarray(user, user + 1)
    if (offsets) for (let user = 0; user < users; user++) refuseTwice(rowOf(user), user)
    for (let user = 0; user < users; user++) {
      const row = rowOf(user)
      this.addUser(row, row.length)
    }
  }

  private updateLists({ items, width, relevant: { values, offsets } }: Extract<RankBatch, { items: unknown }>): void {
    checkOffsets('relevant.offsets', offsets, values.length)
    const users = offsets.length - 1
    if (!Number.isInteger(width) || width < 1) refuse('RankingMetrics', 'width', 'a positive integer', width)
    if (items.length !== users * width) {
      refuse('RankingMetrics', 'items', `of ${users} users by ${width}`, `${items.length} elements`)
    }
    for (let user = 0; user < users; user++) {
      const missing = new Set(values.subarray(offsets[user], offsets[user + 1]))
      const relevant = missing.size
      const found: number[] = []
      for (let rank = 0; rank < width && missing.size > 0; rank++) {
        const item = items[user * width + rank] as number
        if (item >= 0 && missing.delete(item)) found.push(rank)
      }
      this.addUser(found, relevant)
    }
  }

  /** `ranks` ascend. */
  private addUser(ranks: ArrayLike<number>, relevant: number): void {
    if (relevant === 0) {
      this.skipped++
      return
    }
    this.users++
    if (ranks.length > 0) this.reciprocals.add(1 / ((ranks[0] as number) + 1))
    this.cutoffs.forEach((k, i) => {
      const metrics = rankingAt(ranks, relevant, k)
      for (const name of NAMES) this.sums[i]?.[name].add(metrics[name])
    })
  }
}

/** The metrics of one user at a cutoff, from ascending ranks of relevant items, of which there are `relevant` in all. */
export function rankingAt(ranks: ArrayLike<number>, relevant: number, k: number): RankingAt {
  let [found, gain, precisions, ideal] = [0, 0, 0, 0]
  for (; found < ranks.length && (ranks[found] as number) < k; found++) {
    const rank = ranks[found] as number
    gain += 1 / Math.log2(rank + 2)
    precisions += (found + 1) / (rank + 1)
  }
  const most = Math.min(k, relevant)
  for (let rank = 0; rank < most; rank++) ideal += 1 / Math.log2(rank + 2)
  return {
    hitRate: found > 0 ? 1 : 0,
    ndcg: gain / ideal,
    recall: found / relevant,
    precision: found / k,
    map: precisions / most,
  }
}

function checkOffsets(argument: string, offsets: Int32Array, count: number): void {
  if (offsets[0] !== 0) refuse('RankingMetrics', `${argument}[0]`, '0', offsets[0])
  for (let i = 1; i < offsets.length; i++) {
    if ((offsets[i] as number) < (offsets[i - 1] as number)) {
      refuse('RankingMetrics', `${argument}[${i}]`, `at least ${offsets[i - 1]}, the offset before it,`, offsets[i])
    }
  }
  if (offsets.at(-1) !== count) refuse('RankingMetrics', argument, `ending with ${count}`, offsets.at(-1))
}

function refuseTwice(ascending: Int32Array, user: number): void {
  const twice = ascending.findIndex((rank, i) => i > 0 && rank === ascending[i - 1])
  if (twice > 0) refuse('RankingMetrics', `ranks of user ${user}`, 'all different', `${ascending[twice]} twice`)
}
