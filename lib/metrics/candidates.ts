/**
 * Ranking among some negatives instead of all items.
 *
 * Metrics of such ranks are not those of the full ranking, and need not even order models alike: "On sampled metrics
 * for item recommendation" (Krichene and Rendle 2020). Rank against all items (`targetRank`) wherever that is possible;
 * use these to compare with published numbers that were made so, and where the candidates are given by the task.
 */
import { KairosError } from '../core/errors.js'
import { firstAbove } from '../core/firstAbove.js'
import { createRandom, type Random } from '../core/random.js'
import { refuse } from './accumulator.js'

/**
 * Ranks of each user's target among the user's negatives: how many of them score higher. `scores[u]` is the target's,
 * `negatives[u * n .. (u + 1) * n)` are the negatives', n to a user.
 *
 * Ties: 'below' puts the target before its equals, 'above' behind them, and 'middle', the default, behind half of them,
 * rounded down. A model that scores everything alike looks perfect under 'below'. NaN scores are refused.
 *
 * Sampled metrics mislead: see the head of this file (Krichene and Rendle 2020).
 */
export function rankAmong(
  scores: Float32Array,
  negatives: Float32Array,
  { ties = 'middle' }: { readonly ties?: 'below' | 'middle' | 'above' } = {},
): Int32Array {
  const users = scores.length
  const width = users === 0 ? 0 : negatives.length / users
  if (!Number.isInteger(width)) refuse('rankAmong', 'negatives', `a multiple of ${users} scores`, negatives.length)
  const share = { below: 0, middle: 0.5, above: 1 }[ties]
  if (share === undefined) refuse('rankAmong', 'ties', "'below', 'middle' or 'above'", ties)
  return Int32Array.from(scores, (score, user) => {
    if (Number.isNaN(score)) refuse('rankAmong', `scores[${user}]`, 'a number', score)
    let [higher, equal] = [0, 0]
    for (let i = user * width; i < (user + 1) * width; i++) {
      const other = negatives[i] as number
      if (other > score) higher++
      else if (other === score) equal++
      else if (Number.isNaN(other)) refuse('rankAmong', `negatives[${i}]`, 'a number', other)
    }
    return higher + Math.floor(equal * share)
  })
}

export interface NegativeSamplerOptions {
  /** Negatives are ids in [first, first + itemCount). Default: 1, since id 0 pads. */
  readonly first?: number
  readonly itemCount: number
  /** Popularity of each item, in id order: drawn in proportion. Left out, all are alike. An item of 0 is never drawn. */
  readonly popularity?: ArrayLike<number>
  readonly seed?: number
}

/** Draws that miss before the rest is drawn from an explicit list. */
const PATIENCE = 32

/**
 * Draws negatives for sampled evaluation, each at most once per user. A user's negatives depend on the seed and the
 * user alone, so every model is ranked against the same ones.
 *
 * Sampled metrics mislead: see the head of this file (Krichene and Rendle 2020).
 */
export class NegativeSampler {
  private readonly random: Random
  private readonly first: number
  private readonly itemCount: number
  /** Running sum of popularity, where it is given. */
  private readonly mass: Float64Array | null

  constructor({ first = 1, itemCount, popularity, seed = 0 }: NegativeSamplerOptions) {
    if (!Number.isInteger(itemCount) || itemCount < 1) {
      refuse('NegativeSampler', 'itemCount', 'a positive integer', itemCount)
    }
    if (popularity && popularity.length !== itemCount) {
      refuse('NegativeSampler', 'popularity', `of ${itemCount} items`, popularity.length)
    }
    this.first = first
    this.itemCount = itemCount
    this.random = createRandom(seed).fork('negatives')
    let total = 0
    this.mass = popularity
      ? Float64Array.from(popularity, (weight, i) => {
          if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
            refuse('NegativeSampler', `popularity[${i}]`, 'finite and not negative', weight)
          }
          total += weight
          return total
        })
      : null
  }

  /**
   * `count` different items for a user, none of those excluded (the user's history and target). Throws KAIROS_ARGUMENT
   * when fewer are left.
   */
  draw(user: number | string, count: number, excluded: Iterable<number> = []): Int32Array {
    const random = this.random.fork(user)
    const taken = new Set(excluded)
    const drawn = new Int32Array(count)
    let filled = 0
    // Drawing again what was taken is drawing without replacement, and quick while most items are free.
    for (let misses = 0; filled < count && misses < PATIENCE + 2 * count; ) {
      const item = this.first + this.one(random)
      if (taken.has(item) || this.weightOf(item) === 0) misses++
      else {
        taken.add(item)
        drawn[filled++] = item
      }
    }
    if (filled < count) drawn.set(this.rest(random, count - filled, taken), filled)
    return drawn
  }

  private one(random: Random): number {
    if (!this.mass) return random.int(this.itemCount)
    const { mass } = this
    return firstAbove(mass, random.uniform() * (mass.at(-1) as number))
  }

  private weightOf(item: number): number {
    if (!this.mass) return 1
    const i = item - this.first
    return (this.mass[i] as number) - (i === 0 ? 0 : (this.mass[i - 1] as number))
  }

  /** The same distribution from keys log(u) / weight, the greatest first (Efraimidis and Spirakis 2006). */
  private rest(random: Random, count: number, taken: ReadonlySet<number>): number[] {
    const free: { readonly item: number; readonly key: number }[] = []
    for (let item = this.first; item < this.first + this.itemCount; item++) {
      const weight = this.weightOf(item)
      if (weight > 0 && !taken.has(item)) free.push({ item, key: Math.log(1 - random.uniform()) / weight })
    }
    if (free.length < count) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'NegativeSampler',
        argument: 'count',
        expected: `at most the items that are left, ${free.length} more`,
        got: `${count} more`,
        hint: 'Draw fewer, or rank among all items',
      })
    }
    free.sort((a, b) => b.key - a.key)
    return free.slice(0, count).map(({ item }) => item)
  }
}
