import { describe, expect, it } from 'vitest'
import { DynamicWeightAverage } from '../../lib/index.js'

describe('DynamicWeightAverage', () => {
  it('weighs tasks by how slowly their losses fall, from the third epoch on', () => {
    const weights = new DynamicWeightAverage(['click', 'buy'], { temperature: 2 })
    expect(weights.weights).toEqual([1, 1])
    weights.observe({ click: 1, buy: 2 })
    expect(weights.weights).toEqual([1, 1])
    weights.observe({ click: 0.5, buy: 1.8 })
    const [a, b] = [Math.exp(0.5 / 2), Math.exp(0.9 / 2)]
    expect(weights.of('click')).toBeCloseTo((2 * a) / (a + b), 12)
    expect(weights.of('buy')).toBeCloseTo((2 * b) / (a + b), 12)
  })

  it('goes on from a state', () => {
    const first = new DynamicWeightAverage(['a', 'b', 'c'])
    for (const losses of [
      { a: 3, b: 2, c: 1 },
      { a: 2, b: 1, c: 0.9 },
      { a: 1, b: 0.9, c: 0.1 },
    ])
      first.observe(losses)
    const state = JSON.parse(JSON.stringify(first.state))
    expect(new DynamicWeightAverage(['a', 'b', 'c'], { state }).weights).toEqual(first.weights)
  })

  it('refuses what it cannot compare', () => {
    const weights = new DynamicWeightAverage(['a'])
    expect(() => weights.observe({ a: 0 })).toThrow(/losses.a should be finite and above 0 but got 0/)
    expect(() => weights.observe({})).toThrow(/losses.a should be finite and above 0 but got NaN/)
    expect(() => weights.of('b')).toThrow(/task should be one of a but got 'b'/)
    expect(() => new DynamicWeightAverage([], { temperature: 0 })).toThrow(/temperature should be above 0/)
  })
})
