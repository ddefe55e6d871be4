import { describe, expect, it } from 'vitest'
import { createRandom, philox4x32 } from '../../lib/core/random.js'

const words = (n: number, seed: number) => {
  const random = createRandom(seed)
  return Array.from({ length: n }, () => random.uint32())
}

describe('philox4x32', () => {
  // The known answers that Random123 publishes for philox4x32 with ten rounds.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('gives the published words for counter %j and key %j', (counter, key, expected) => {
    expect([...philox4x32(counter, key)]).toEqual(expected)
  })

  it('may write over its counter', () => {
    const counter = new Uint32Array(4)
    expect(philox4x32(counter, [0, 0], counter)).toBe(counter)
    expect(counter[0]).toBe(0x6627e8d5)
  })

  it('takes negative int32 words as their bits', () => {
    expect(philox4x32([-1, -1, -1, -1], [-1, -1])[0]).toBe(0x408f276d)
  })
})

describe('createRandom', () => {
  it('counts up and uses the seed as key, low word first', () => {
    const key = [5, 3]
    const expected = [0, 1].flatMap((block) => [...philox4x32([block, 0, 0, 0], key)])
    expect(words(8, 3 * 2 ** 32 + 5)).toEqual(expected)
  })

  it('gives equal streams for equal seeds only', () => {
    expect(words(100, 7)).toEqual(words(100, 7))
    expect(words(4, 7)).not.toEqual(words(4, 8))
  })

  it('has the moments of a uniform and of a normal variable', () => {
    const random = createRandom(1)
    const n = 200_000
    let sum = 0
    let squares = 0
    let normalSum = 0
    let normalSquares = 0
    let inside = true
    for (let i = 0; i < n; i++) {
      const u = random.uniform()
      inside &&= u >= 0 && u < 1
      sum += u
      squares += u * u
      const z = random.normal()
      normalSum += z
      normalSquares += z * z
    }
    expect(inside).toBe(true)
    // Five standard errors.
    expect(Math.abs(sum / n - 1 / 2)).toBeLessThan(5 * Math.sqrt(1 / 12 / n))
    expect(Math.abs(squares / n - 1 / 3)).toBeLessThan(5 * Math.sqrt(4 / 45 / n))
    expect(Math.abs(normalSum / n)).toBeLessThan(5 / Math.sqrt(n))
    expect(Math.abs(normalSquares / n - 1)).toBeLessThan(5 * Math.sqrt(2 / n))
  })

  it('draws every integer below n alike', () => {
    const random = createRandom(2)
    const counts = new Array(7).fill(0)
    for (let i = 0; i < 70_000; i++) counts[random.int(7)]++
    const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)
    expect(chiSquare).toBeLessThan(22.46) // 0.999 quantile, 6 degrees of freedom
    expect(random.int(1)).toBe(0)
    expect(random.int(2 ** 32)).toBeLessThan(2 ** 32)
  })

  it('shuffles arrays and typed arrays into permutations, all orders alike', () => {
    const counts = new Map<string, number>()
    const random = createRandom(3)
    for (let i = 0; i < 6000; i++) {
      const order = random.shuffle(Int32Array.of(0, 1, 2)).join('')
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect([...counts.keys()].sort()).toEqual(['012', '021', '102', '120', '201', '210'])
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)
    expect(chiSquare).toBeLessThan(20.52) // 0.999 quantile, 5 degrees of freedom
    expect(random.shuffle(['a', 'b', 'c', 'd']).sort()).toEqual(['a', 'b', 'c', 'd'])
    expect(random.shuffle([])).toEqual([])
  })

  it('forks by name, whatever was drawn before', () => {
    const early = createRandom(4)
    const late = createRandom(4)
    for (let i = 0; i < 10; i++) late.normal()
    expect(early.fork('users').uint32()).toBe(late.fork('users').uint32())
    expect(early.fork('users').uint32()).not.toBe(early.fork('items').uint32())
    expect(early.fork('ab').uint32()).not.toBe(early.fork('ba').uint32())
    expect(early.fork('').uint32()).not.toBe(early.fork('\0').uint32())
    expect(early.fork('a').fork('b').uint32()).not.toBe(early.fork('ab').uint32())
  })

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuses the seed %s', (seed) => {
    expect(() => createRandom(seed)).toThrow(
      `createRandom: seed should be an integer from 0 to 2^53 - 1 but got ${seed}`,
    )
  })

  it.each([0, -3, 2.5, 2 ** 32 + 1, Number.NaN])('refuses int(%s)', (n) => {
    expect(() => createRandom(0).int(n)).toThrow(`random.int: n should be an integer from 1 to 2^32 but got ${n}`)
  })
})
