/**
 * Metrics of a ranking with one relevant item per user.
 *
 * The rank is 0-based: the number of candidates that stand above the target. Each metric is a mean over users of a
 * contribution that depends on the rank alone, so that it can be bootstrapped; an empty list of ranks has the mean NaN.
 */
import { KairosError } from '../core/errors.js'

/** Hit rate: 1 if the target is among the first k, else 0. With one relevant item it is also recall at k. */
export const hits = (ranks: Int32Array, k: number): Float64Array => contributions('hits', ranks, k, () => 1)

/** Normalised discounted cumulative gain: 1 / log2(rank + 2) if the target is among the first k, else 0. The ideal is 1. */
export const gains = (ranks: Int32Array, k: number): Float64Array =>
  contributions('gains', ranks, k, (rank) => 1 / Math.log2(rank + 2))

/** Reciprocal rank: 1 / (rank + 1). */
export const reciprocalRanks = (ranks: Int32Array): Float64Array =>
  contributions('reciprocalRanks', ranks, Number.POSITIVE_INFINITY, (rank) => 1 / (rank + 1))

/** HR@k: mean of `hits`. */
export const hitRate = (ranks: Int32Array, k: number): number => mean(hits(ranks, k))

/** NDCG@k: mean of `gains`. */
export const ndcg = (ranks: Int32Array, k: number): number => mean(gains(ranks, k))

/** MRR: mean of `reciprocalRanks`. */
export const meanReciprocalRank = (ranks: Int32Array): number => mean(reciprocalRanks(ranks))

export function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i] as number
  return sum / values.length
}

function contributions(op: string, ranks: Int32Array, k: number, gain: (rank: number) => number): Float64Array {
  if (!(k >= 1)) {
    throw new KairosError('KAIROS_ARGUMENT', { op, argument: 'k', expected: 'at least 1', got: String(k) })
  }
  const values = new Float64Array(ranks.length)
  for (let i = 0; i < ranks.length; i++) {
    const rank = ranks[i] as number
    if (rank < 0) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op,
        argument: `ranks[${i}]`,
        expected: 'a 0-based rank',
        got: String(rank),
      })
    }
    values[i] = rank < k ? gain(rank) : 0
  }
  return values
}
