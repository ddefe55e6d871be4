import { describe, expect, it } from 'vitest'
import { schedules } from '../../lib/index.js'

const { constant, cosine, exponential, inverseSquareRoot, linear, oneCycle, ReduceOnPlateau } = schedules
const { sequence, stepwise, warmup } = schedules

describe('schedules', () => {
  it('follow their closed forms', () => {
    const cos = cosine({ peak: 2, steps: 10, end: 1 })
    expect([0, 5, 10, 99].map(cos)).toEqual([2, expect.closeTo(1.5, 15), 1, 1])
    expect(cos(3)).toBeCloseTo(1 + 0.5 * (1 + Math.cos(0.3 * Math.PI)), 15)
    expect([0, 4, 8, 9].map(linear({ from: 1, to: 0, steps: 8 }))).toEqual([1, 0.5, 0, 0])
    expect([0, 29, 30, 60].map(stepwise({ from: 8, every: 30, factor: 0.5 }))).toEqual([8, 8, 4, 2])
    const decay = exponential({ from: 3, factor: 0.9 })
    expect(decay(7)).toBeCloseTo(3 * 0.9 ** 7, 15)
    expect(exponential({ from: 3, factor: 0.25, every: 10 })(5)).toBeCloseTo(1.5, 15)
    expect(constant(0.1)(1e9)).toBe(0.1)
  })

  it('warm up, then start another from its beginning', () => {
    const schedule = warmup(cosine({ peak: 1, steps: 10 }), 4)
    expect([0, 1, 2, 3, 4].map(schedule)).toEqual([0, 0.25, 0.5, 0.75, 1])
    expect(schedule(9)).toBeCloseTo(0.5, 15)
    expect(schedule(14)).toBe(0)
    expect(warmup(constant(1), 4, { from: 0.5 })(2)).toBe(0.75)
    const both = sequence(constant(1), 5, linear({ from: 0.5, to: 0, steps: 5 }))
    expect([4, 5, 10].map(both)).toEqual([1, 0.5, 0])
  })

  it('warm up to the inverse square root of Vaswani et al.', () => {
    const [width, warm] = [512, 4000]
    const paper = (step: number) => width ** -0.5 * Math.min(step ** -0.5, step * warm ** -1.5)
    const schedule = warmup(inverseSquareRoot({ peak: paper(warm), scale: warm }), warm)
    for (const step of [1, 100, 3999, 4000, 4001, 50_000]) expect(schedule(step) / paper(step)).toBeCloseTo(1, 12)
  })

  it('of one cycle rise and fall as OneCycleLR does', () => {
    const schedule = oneCycle({ peak: 1, steps: 100 })
    // By PyTorch's formula: phases end at steps 0.3 * 100 - 1 and 100 - 1.
    const torch = (step: number) => {
      const between = (a: number, b: number, share: number) => b + ((a - b) / 2) * (1 + Math.cos(Math.PI * share))
      return step <= 29 ? between(1 / 25, 1, step / 29) : between(1, 1 / 25 / 1e4, (step - 29) / 70)
    }
    for (let step = 0; step < 100; step++) expect(schedule(step)).toBeCloseTo(torch(step), 14)
    expect([schedule(0), schedule(29), schedule(99)]).toEqual([expect.closeTo(0.04, 15), 1, expect.closeTo(4e-6, 15)])
  })

  it('refuse what makes no sense', () => {
    expect(() => cosine({ peak: 1, steps: 0 })).toThrow('cosine: steps should be above 0 but got 0')
    expect(() => stepwise({ from: 1, every: -1 })).toThrow('stepwise: every should be above 0 but got -1')
    expect(() => oneCycle({ peak: 1, steps: 2 })).toThrow(
      'oneCycle: rising should be above 1 / 2 and below 1 but got 0.3',
    )
    expect(() => warmup(constant(1), 5, { from: 2 })).toThrow('warmup: from should be in [0, 1] but got 2')
  })
})

describe('reduce on plateau', () => {
  const scales = (plateau: InstanceType<typeof ReduceOnPlateau>, values: readonly number[]) =>
    values.map((value) => plateau.observe(value))

  it('lowers the rate after more than `patience` observations without improvement', () => {
    const plateau = new ReduceOnPlateau({ factor: 0.5, patience: 1 })
    expect(scales(plateau, [1, 0.9, 0.9, 0.90001, 0.9, 0.9])).toEqual([1, 1, 1, 0.5, 0.5, 0.25])
    expect(plateau.over(constant(8))(0)).toBe(2)
  })

  it('judges scores upwards, rests after a reduction, and stops at the minimum', () => {
    const plateau = new ReduceOnPlateau({ mode: 'max', factor: 0.1, patience: 0, cooldown: 2, minimum: 0.05 })
    expect(scales(plateau, [0.5, 0.6, 0.6, 0.1, 0.1, 0.1, Number.NaN])).toEqual([1, 1, 0.1, 0.1, 0.1, 0.05, 0.05])
  })

  it('goes on from its state', () => {
    const options = { patience: 2 }
    const whole = new ReduceOnPlateau(options)
    scales(whole, [1, 1, 1])
    const resumed = new ReduceOnPlateau(options, JSON.parse(JSON.stringify(whole.state)))
    expect(resumed.observe(1)).toBe(whole.observe(1))
    expect(resumed.state).toEqual(whole.state)
  })
})
