import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addDims,
  type Dim,
  evaluateDim,
  multiplyDims,
  normalizeDim,
  subtractDims,
  symbolsOf,
} from '../../lib/core/dim.js'

describe('dims', () => {
  it('keeps one text per polynomial', () => {
    expect(multiplyDims('batch', 50)).toBe('50*batch')
    expect(multiplyDims(50, 'batch')).toBe('50*batch')
    expect(multiplyDims('time', 'batch', 2)).toBe('2*batch*time')
    expect(addDims('b', 'a', 3)).toBe('a+b+3')
    expect(addDims('a', 'a')).toBe('2*a')
    expect(subtractDims('a', 'a')).toBe(0)
    expect(subtractDims(addDims('a', 4), 4)).toBe('a')
    expect(subtractDims(0, 'a')).toBe('-a')
    expect(multiplyDims(0, 'batch')).toBe(0)
    expect(multiplyDims()).toBe(1)
    expect(normalizeDim('time*batch*2')).toBe('2*batch*time')
  })

  it('refuses text that is no polynomial', () => {
    expect(() => normalizeDim('batch/2')).toThrow(/dim 'batch\/2'.*but got 'batch\/2'/)
  })

  it('evaluates as arithmetic does', () => {
    const dim: fc.Arbitrary<Dim> = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom('a', 'b', 'c'))
    const counts = fc.record({ a: fc.nat(20), b: fc.nat(20), c: fc.nat(20) })
    fc.assert(
      fc.property(dim, dim, dim, counts, (x, y, z, given) => {
        // + 0 makes negative zero plain
        const value = (d: Dim) => evaluateDim(d, given) + 0
        expect(value(addDims(x, y, z))).toBe(value(x) + value(y) + value(z))
        expect(value(multiplyDims(x, y, z))).toBe(value(x) * value(y) * value(z))
        const product = multiplyDims(addDims(x, y), subtractDims(y, z))
        expect(value(product)).toBe((value(x) + value(y)) * (value(y) - value(z)) + 0)
        expect(normalizeDim(product)).toBe(product)
      }),
    )
  })

  it('lists symbols once', () => {
    expect(symbolsOf(['2*batch*time', 'batch', 4])).toEqual(['batch', 'time'])
  })
})
