import { describe, expect, it } from 'vitest'
import { createParameters, initializeParameters, normal, parameter, uniform, xavierUniform } from '../../lib/index.js'

describe('initializeParameters', () => {
  it('draws the same values as createParameters, piece by piece', async () => {
    const model = {
      table: parameter([5000, 7], normal(0.1)),
      odd: parameter([40_001], uniform(-1, 1)),
      small: parameter([3, 4], xavierUniform(3, 4)),
      own: parameter([30_000], (values) => values.forEach((_, index) => (values[index] = index))),
    }
    const whole = await createParameters(model, 9).read()
    const pieces = await (await initializeParameters(model, 9)).read()
    expect(pieces).toEqual(whole)
    expect(whole.table?.[34_999]).not.toBe(0)
  })
})
