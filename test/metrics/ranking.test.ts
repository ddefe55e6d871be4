import { describe, expect, it } from 'vitest'
import { hitRate, hits, meanReciprocalRank, ndcg, reciprocalRanks } from '../../lib/metrics/ranking.js'

const ranks = Int32Array.of(0, 1, 2, 9, 10)

describe('metrics of a ranking', () => {
  it('follow their closed forms', () => {
    expect([...hits(ranks, 2)]).toEqual([1, 1, 0, 0, 0])
    expect(hitRate(ranks, 1)).toBe(1 / 5)
    expect(hitRate(ranks, 10)).toBe(4 / 5)
    expect(ndcg(ranks, 3)).toBeCloseTo((1 + 1 / Math.log2(3) + 1 / 2) / 5, 15)
    expect(ndcg(ranks, 10)).toBeCloseTo((1 + 1 / Math.log2(3) + 1 / 2 + 1 / Math.log2(11)) / 5, 15)
    expect(meanReciprocalRank(ranks)).toBeCloseTo((1 + 1 / 2 + 1 / 3 + 1 / 10 + 1 / 11) / 5, 15)
    expect([...reciprocalRanks(Int32Array.of(3))]).toEqual([1 / 4])
  })

  it('are equal at k = 1, and 1 for perfect ranks', () => {
    expect(ndcg(ranks, 1)).toBe(hitRate(ranks, 1))
    const perfect = new Int32Array(7)
    expect([hitRate(perfect, 1), ndcg(perfect, 5), meanReciprocalRank(perfect)]).toEqual([1, 1, 1])
  })

  it('have the expected value of a random ranking', () => {
    // Ranks 0 .. n-1 once each: HR@k = k / n, MRR = H(n) / n.
    const n = 100
    const all = Int32Array.from({ length: n }, (_, rank) => rank)
    let harmonic = 0
    for (let i = 1; i <= n; i++) harmonic += 1 / i
    expect(hitRate(all, 10)).toBeCloseTo(0.1, 15)
    expect(meanReciprocalRank(all)).toBeCloseTo(harmonic / n, 15)
  })

  it('refuse a k below 1 and negative ranks; nobody has the mean NaN', () => {
    expect(() => hitRate(ranks, 0)).toThrow('hits: k should be at least 1 but got 0')
    expect(() => ndcg(ranks, Number.NaN)).toThrow('gains: k should be at least 1 but got NaN')
    expect(() => ndcg(Int32Array.of(0, -1), 10)).toThrow('gains: ranks[1] should be a 0-based rank but got -1')
    expect(hitRate(new Int32Array(0), 10)).toBeNaN()
  })
})
