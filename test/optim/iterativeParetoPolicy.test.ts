import { describe, expect, it } from 'vitest'
import { IterativeParetoPolicy } from '../../lib/optim/index.js'

const margins = [0.01, 0.01, 0.01]
const base = [0.6, 0.6, 0.6]
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

describe('IterativeParetoPolicy', () => {
  it('raises the weight of the objective most behind by 0.1 / N on the scale of 1 / N, and keeps the sum', () => {
    const policy = new IterativeParetoPolicy(['click', 'like', 'gift'])
    expect(policy.weights).toEqual([1, 1, 1])
    const round = policy.observe({ reference: [0.7, 0.59, 0.5], base, margins })
    expect(round).toMatchObject({ round: 1, weights: [1, 1, 1], accepted: false, raised: 'gift' })
    const [click, like, gift] = policy.weights as [number, number, number]
    expect(gift / click).toBeCloseTo(1.1, 12)
    expect(like).toBe(click)
    expect(sum(policy.weights)).toBeCloseTo(3, 12)
  })

  it('accepts only where all lead beyond their margins, and leaves the weights then', () => {
    const policy = new IterativeParetoPolicy(['click', 'like', 'gift'])
    expect(policy.observe({ reference: [0.7, 0.7, 0.605], base, margins })).toMatchObject({
      accepted: false,
      raised: 'gift',
    })
    const before = policy.weights
    expect(policy.observe({ reference: [0.62, 0.62, 0.62], base, margins })).toMatchObject({
      accepted: true,
      raised: null,
    })
    expect(policy.weights).toEqual(before)
  })

  it('accepts nothing where rows do not tell, and raises what they tell of', () => {
    const policy = new IterativeParetoPolicy(['click', 'like', 'gift'])
    const untold = {
      reference: [0.7, 0.65, Number.NaN],
      base: [0.6, 0.6, Number.NaN],
      margins: [0.01, 0.01, Number.NaN],
    }
    expect(policy.observe(untold)).toMatchObject({ accepted: false, raised: 'like' })
  })

  it('ends after rounds without a new base', () => {
    const policy = new IterativeParetoPolicy(['a', 'b', 'c'], { patience: 2 })
    policy.observe({ reference: [0.7, 0.7, 0.7], base, margins })
    policy.observe({ reference: base, base, margins })
    expect(policy.finished).toBe(false)
    policy.observe({ reference: base, base, margins })
    expect(policy.finished).toBe(true)
  })

  it('caps the ratio of two weights, and then raises the next', () => {
    const policy = new IterativeParetoPolicy(['a', 'b', 'c'], { cap: 2 })
    const raised = Array.from(
      { length: 30 },
      () => policy.observe({ reference: [0.6, 0.5, 0.4], base, margins }).raised,
    )
    const weights = policy.weights
    expect(Math.max(...weights) / Math.min(...weights)).toBeLessThanOrEqual(2 + 1e-9)
    expect(new Set(raised)).toEqual(new Set(['c', 'b', 'a']))
  })

  it('goes on from its state', () => {
    const policy = new IterativeParetoPolicy(['a', 'b', 'c'])
    policy.observe({ reference: [0.6, 0.5, 0.4], base, margins })
    const state = JSON.parse(JSON.stringify(policy.state))
    const again = new IterativeParetoPolicy(['a', 'b', 'c'], { state })
    const next = { reference: [0.5, 0.6, 0.6], base, margins }
    expect(again.observe(next)).toEqual(policy.observe(next))
    expect(again.weights).toEqual(policy.weights)
  })

  it('refuses what does not fit', () => {
    expect(() => new IterativeParetoPolicy(['a'], { cap: 0.5 })).toThrow(/cap should be at least 1/)
    expect(() => new IterativeParetoPolicy(['a', 'b'], { weights: [1, 0] })).toThrow(
      /weights should be 2 finite numbers above 0/,
    )
    expect(() =>
      new IterativeParetoPolicy(['a']).observe({ reference: [Number.POSITIVE_INFINITY], base: [1], margins: [0] }),
    ).toThrow(/reference should be 1 finite/)
  })
})
