import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import {
  bootstrapAuc,
  bootstrapAucDifference,
  deLong,
  deLongDifference,
  hanleyMcNeil,
  hitRate,
  meanReciprocalRank,
  NegativeSampler,
  ndcg,
  RankingMetrics,
  rankAmong,
} from '../../lib/metrics/index.js'
import { normalDistribution, normalQuantile } from '../../lib/metrics/normal.js'

describe('ranking metrics', () => {
  it('of one relevant item are the closed forms of its rank', () => {
    const ranks = Int32Array.of(0, 1, 2, 9, 10)
    const metric = new RankingMetrics({ cutoffs: [3, 10] })
    metric.update({ ranks })
    const { at, mrr, users } = metric.value()
    expect(users).toBe(5)
    for (const k of [3, 10]) {
      expect(at[k]?.hitRate).toBeCloseTo(hitRate(ranks, k), 15)
      expect(at[k]?.recall).toBeCloseTo(hitRate(ranks, k), 15)
      expect(at[k]?.precision).toBeCloseTo(hitRate(ranks, k) / k, 15)
      expect(at[k]?.ndcg).toBeCloseTo(ndcg(ranks, k), 15)
    }
    expect(at[3]?.map).toBeCloseTo((1 + 1 / 2 + 1 / 3) / 5, 15)
    expect(mrr).toBeCloseTo(meanReciprocalRank(ranks), 15)
  })

  it('skip users without a relevant item, and count them', () => {
    const metric = new RankingMetrics({ cutoffs: [2] })
    metric.update({
      items: Int32Array.of(7, 8, 9, 3, 3, -1),
      width: 3,
      relevant: { values: Int32Array.of(9, 3, 4), offsets: Int32Array.of(0, 1, 3) },
    })
    metric.update({ ranks: new Int32Array(0), offsets: Int32Array.of(0, 0) })
    const { users, skipped, at, mrr } = metric.value()
    expect([users, skipped]).toEqual([2, 1])
    // User 0 finds 9 third; user 1 finds 3 first, once, and never 4.
    expect(mrr).toBeCloseTo((1 / 3 + 1) / 2, 15)
    expect(at[2]).toEqual({
      hitRate: 0.5,
      recall: 0.25,
      precision: 0.25,
      map: 0.25,
      ndcg: 1 / (1 + 1 / Math.log2(3)) / 2,
    })
    expect(new RankingMetrics().value().mrr).toBeNaN()
  })
})

describe('ranks among negatives', () => {
  const scores = Float32Array.of(2, 5)
  const negatives = Float32Array.of(3, 2, 1, 2, 2, 4, 4, 4, 4, 4)

  it('count the higher ones, and place ties as told', () => {
    expect([...rankAmong(scores, negatives)]).toEqual([1 + 1, 0])
    expect([...rankAmong(scores, negatives, { ties: 'below' })]).toEqual([1, 0])
    expect([...rankAmong(scores, negatives, { ties: 'above' })]).toEqual([4, 0])
    expect(rankAmong(new Float32Array(0), new Float32Array(0))).toHaveLength(0)
  })

  it('refuse uneven lists and NaN', () => {
    expect(() => rankAmong(scores, Float32Array.of(1))).toThrow('negatives should be a multiple of 2 scores but got 1')
    expect(() => rankAmong(scores, Float32Array.of(1, Number.NaN))).toThrow(
      'negatives[1] should be a number but got NaN',
    )
    expect(() => rankAmong(Float32Array.of(Number.NaN), Float32Array.of(1))).toThrow('scores[0] should be a number')
  })
})

describe('sampled negatives', () => {
  it('are different, not excluded, and the same for the same seed and user', () => {
    const sampler = () => new NegativeSampler({ itemCount: 50, seed: 5 })
    const excluded = [1, 2, 3]
    const drawn = sampler().draw('u7', 40, excluded)
    expect(new Set(drawn).size).toBe(40)
    expect([...drawn].every((item) => item >= 4 && item <= 50)).toBe(true)
    const other = sampler()
    other.draw('u1', 40)
    expect(other.draw('u7', 40, excluded)).toEqual(drawn)
    expect(other.draw('u8', 40, excluded)).not.toEqual(drawn)
    expect([...sampler().draw(1, 47, excluded)].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 47 }, (_, i) => i + 4),
    )
  })

  it('are refused when too few are left', () => {
    expect(() => new NegativeSampler({ itemCount: 5 }).draw(0, 5, [1])).toThrow(
      /count should be at most the items that are left, \d more/,
    )
    expect(() => new NegativeSampler({ itemCount: 2, popularity: [1] })).toThrow(
      'popularity should be of 2 items but got 1',
    )
  })

  it('follow popularity', () => {
    const popularity = [0, 1, 2, 5]
    const sampler = new NegativeSampler({ itemCount: 4, popularity, first: 0, seed: 1 })
    const counts = [0, 0, 0, 0]
    const trials = 20_000
    for (let user = 0; user < trials; user++) {
      const [item] = sampler.draw(user, 1) as unknown as [number]
      counts[item] = (counts[item] as number) + 1
    }
    popularity.forEach((weight, item) => {
      expect(Math.abs((counts[item] as number) / trials - weight / 8)).toBeLessThan(0.015)
    })
  })

  it('go on in the same distribution where most items are taken', () => {
    // Of items 3 and 4 alone left, with weights 1 and 3, the first drawn is 4 in three of four.
    const popularity = [1e6, 1e6, 1, 3]
    const sampler = new NegativeSampler({ itemCount: 4, popularity, first: 1, seed: 2 })
    let fours = 0
    for (let user = 0; user < 4000; user++) if (sampler.draw(user, 1, [1, 2])[0] === 4) fours++
    expect(Math.abs(fours / 4000 - 0.75)).toBeLessThan(0.03)
  })
})

describe('intervals of AUC', () => {
  const random = createRandom(4)
  const n = 600
  const labels = Uint8Array.from({ length: n }, () => random.int(2))
  const strong = Float32Array.from(labels, (label) => label + random.normal())
  const weak = strong.map((score) => score + 1.5 * random.normal())

  it('by DeLong, by Hanley and McNeil and by bootstrap are near each other', async () => {
    const positives = labels.reduce((sum, label) => sum + label, 0)
    const exact = await deLong(strong, labels)
    const closed = hanleyMcNeil(exact.auc, positives, n - positives)
    const users = Int32Array.from({ length: n }, (_, i) => i)
    const drawn = await bootstrapAuc(strong, { labels, users }, { resamples: 500 })
    expect(drawn.mean).toBeCloseTo(exact.auc, 13)
    expect(closed.standardError / exact.standardError).toBeCloseTo(1, 0)
    expect((drawn.high - drawn.low) / (exact.high - exact.low)).toBeGreaterThan(0.85)
    expect((drawn.high - drawn.low) / (exact.high - exact.low)).toBeLessThan(1.15)
  })

  it('of a difference see that models share examples', async () => {
    const paired = await deLongDifference(strong, weak, labels)
    expect(paired.low).toBeGreaterThan(0)
    expect(paired.pValue).toBeLessThan(0.001)
    const [a, b] = [await deLong(strong, labels), await deLong(weak, labels)]
    expect(paired.standardError).toBeLessThan(Math.hypot(a.standardError, b.standardError))
    const users = Int32Array.from({ length: n }, (_, i) => i)
    const drawn = await bootstrapAucDifference(strong, weak, { labels, users }, { resamples: 500 })
    expect(drawn.mean).toBeCloseTo(paired.difference, 14)
    expect((drawn.high - drawn.low) / (paired.high - paired.low)).toBeCloseTo(1, 0)
    const same = await deLongDifference(
      strong,
      strong.map((score) => 2 * score),
      labels,
    )
    expect([same.difference, same.z, same.pValue]).toEqual([0, 0, 1])
  })

  it('grow where users repeat their examples', async () => {
    const twice = (values: ArrayLike<number>) => Array.from(values).concat(Array.from(values))
    const once = await bootstrapAuc(
      strong,
      { labels, users: Int32Array.from({ length: n }, (_, i) => i) },
      { resamples: 300 },
    )
    const repeated = await bootstrapAuc(
      Float32Array.from(twice(strong)),
      { labels: twice(labels), users: Int32Array.from({ length: 2 * n }, (_, i) => i % n) },
      { resamples: 300 },
    )
    // Repeated examples tell nothing new, and the users know it.
    expect(repeated).toEqual(once)
  })

  it('are NaN without two of each class, and refuse what makes no sense', async () => {
    expect((await deLong(Float32Array.of(1, 2), [0, 1])).standardError).toBeNaN()
    await expect(deLong(strong, labels, { confidence: 1 })).rejects.toThrow('confidence should be between 0 and 1')
    expect(() => hanleyMcNeil(1.2, 3, 3)).toThrow('auc should be in [0, 1] but got 1.2')
    const perfect = hanleyMcNeil(1, 10, 10)
    expect([perfect.standardError, perfect.low, perfect.high]).toEqual([0, 1, 1])
  })
})

describe('the normal distribution', () => {
  it('and its quantiles', () => {
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 13)
    expect(normalQuantile(0.5)).toBe(0)
    expect(normalQuantile(0.0005)).toBeCloseTo(-3.2905267314919255, 11)
    for (const share of [0.001, 0.2, 0.7, 0.999])
      expect(normalDistribution(normalQuantile(share))).toBeCloseTo(share, 14)
  })
})
