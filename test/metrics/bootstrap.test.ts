import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { bootstrapDifference, bootstrapMean, excludesZero } from '../../lib/metrics/bootstrap.js'

describe('bootstrap intervals', () => {
  it('of a constant have no width', async () => {
    expect(await bootstrapMean([2, 2, 2])).toEqual({ mean: 2, low: 2, high: 2 })
  })

  it('of hits come near the closed form of a proportion', async () => {
    const n = 2000
    const p = 0.1
    const values = Float64Array.from({ length: n }, (_, i) => (i < p * n ? 1 : 0))
    const { mean, low, high } = await bootstrapMean(values, { seed: 3 })
    const halfWidth = 1.96 * Math.sqrt((p * (1 - p)) / n)
    expect(mean).toBeCloseTo(p, 12)
    expect((high - low) / 2 / halfWidth).toBeGreaterThan(0.9)
    expect((high - low) / 2 / halfWidth).toBeLessThan(1.1)
    const narrower = await bootstrapMean(values, { seed: 3, confidence: 0.5 })
    expect(narrower.high - narrower.low).toBeLessThan((high - low) / 2)
  })

  it('of a paired difference see through what users share', async () => {
    const random = createRandom(8)
    const difficulty = Float64Array.from({ length: 500 }, () => 10 * random.normal())
    const a = difficulty.map((value) => value + 0.1 + 0.01 * random.normal())
    const difference = await bootstrapDifference(a, difficulty)
    expect(difference.low).toBeGreaterThan(0.098)
    expect(difference.high).toBeLessThan(0.102)
    expect(excludesZero(difference)).toBe(true)
    const alone = await bootstrapMean(a)
    expect(alone.high - alone.low).toBeGreaterThan(1)
  })

  it('hold the true mean about as often as they promise', async () => {
    const random = createRandom(9)
    let held = 0
    for (let trial = 0; trial < 200; trial++) {
      const values = Float64Array.from({ length: 100 }, () => random.normal())
      const { low, high } = await bootstrapMean(values, { seed: trial, resamples: 200 })
      if (low <= 0 && 0 <= high) held++
    }
    // 0.95 of 200 is 190; three standard deviations are 9, and small samples cover a little less.
    expect(held).toBeGreaterThan(178)
    expect(held).toBeLessThan(200)
  })

  it('are the same for the same seed', async () => {
    const values = Float64Array.from({ length: 50 }, (_, i) => i % 7)
    expect(await bootstrapMean(values, { seed: 1 })).toEqual(await bootstrapMean(values, { seed: 1 }))
    expect(await bootstrapMean(values, { seed: 1 })).not.toEqual(await bootstrapMean(values, { seed: 2 }))
  })

  it('refuse what has no mean or no pairs', async () => {
    await expect(bootstrapMean([])).rejects.toThrow('bootstrap: values should be at least one value but got 0')
    await expect(bootstrapDifference([1, 2], [1])).rejects.toThrow(
      'bootstrap: b should be as long as a, 2 users, but got 1',
    )
    await expect(bootstrapMean([1], { resamples: 0 })).rejects.toThrow(
      'bootstrap: resamples should be a positive integer',
    )
    await expect(bootstrapMean([1], { confidence: 1 })).rejects.toThrow(
      'bootstrap: confidence should be between 0 and 1',
    )
  })
})
