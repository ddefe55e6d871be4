/**
 * Seeded random numbers from Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
 * 3", 2011): ten rounds of multiply and exchange turn a counter and a key into four random words. A stream has no state
 * but its counter, so equal seeds give equal numbers on every machine and thread, and forks do not depend on order.
 */
import { KairosError } from './errors.js'

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10
const TWO_32 = 2 ** 32
/** Any non-zero word. */
const FORK_MARKER = 0x666f726b

/** High 32 bits of an unsigned 32 x 32 product, from 16-bit halves: a double holds only 53 bits of it. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const bLow = b & 0xffff
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(((middle % 65536) + aLow * bHigh) / 65536)) >>> 0
}

/** Four random words for a counter of four words and a key of two, written to `out`, which may be the counter. */
export function philox4x32(
  counter: ArrayLike<number>,
  key: ArrayLike<number>,
  out: Uint32Array = new Uint32Array(4),
): Uint32Array {
  let x0 = (counter[0] as number) >>> 0
  let x1 = (counter[1] as number) >>> 0
  let x2 = (counter[2] as number) >>> 0
  let x3 = (counter[3] as number) >>> 0
  let key0 = (key[0] as number) >>> 0
  let key1 = (key[1] as number) >>> 0
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, x0)
    const low0 = Math.imul(MULTIPLIER_0, x0) >>> 0
    const high1 = multiplyHigh(MULTIPLIER_1, x2)
    const low1 = Math.imul(MULTIPLIER_1, x2) >>> 0
    x0 = (high1 ^ x1 ^ key0) >>> 0
    x1 = low1
    x2 = (high0 ^ x3 ^ key1) >>> 0
    x3 = low0
    key0 = (key0 + WEYL_0) >>> 0
    key1 = (key1 + WEYL_1) >>> 0
  }
  out[0] = x0
  out[1] = x1
  out[2] = x2
  out[3] = x3
  return out
}

/** Anything that can be permuted in place. */
export type Shuffleable = { readonly length: number; [index: number]: unknown }

export interface Random {
  /** Uniform over the integers 0 .. 2^32 - 1. */
  uint32(): number
  /** Uniform over [0, 1), a multiple of 2^-53. */
  uniform(): number
  /** Standard normal, by the transform of Box and Muller. */
  normal(): number
  /** Uniform over the integers 0 .. n - 1, without bias; n from 1 to 2^32. */
  int(n: number): number
  /** Permutes in place (Fisher and Yates), all orders equally likely; returns its argument. */
  shuffle<T extends Shuffleable>(items: T): T
  /** An independent stream that depends on this stream's seed and on the name alone, not on numbers drawn so far. */
  fork(name: string | number): Random
}

class PhiloxStream implements Random {
  readonly #key: readonly [number, number]
  readonly #counter = new Uint32Array(4)
  readonly #words = new Uint32Array(4)
  #used = 4
  #spareNormal: number | undefined

  constructor(key: readonly [number, number]) {
    this.#key = key
  }

  uint32(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.#key, this.#words)
      this.#used = 0
      // The array wraps the low word to 0; 64 bits are more than any run can use up.
      this.#counter[0] = (this.#counter[0] as number) + 1
      if (this.#counter[0] === 0) this.#counter[1] = (this.#counter[1] as number) + 1
    }
    return this.#words[this.#used++] as number
  }

  uniform(): number {
    const high = this.uint32() >>> 5
    const low = this.uint32() >>> 6
    return (high * 2 ** 26 + low) * 2 ** -53
  }

  normal(): number {
    const spare = this.#spareNormal
    if (spare !== undefined) {
      this.#spareNormal = undefined
      return spare
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spareNormal = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > TWO_32) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'random.int',
        argument: 'n',
        expected: 'an integer from 1 to 2^32',
        got: String(n),
      })
    }
    // Words at or above the greatest multiple of n would favour small remainders; draw again.
    const limit = TWO_32 - (TWO_32 % n)
    let word = this.uint32()
    while (word >= limit) word = this.uint32()
    return word % n
  }

  shuffle<T extends Shuffleable>(items: T): T {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.int(last + 1)
      const item = items[last]
      items[last] = items[other]
      items[other] = item
    }
    return items
  }

  fork(name: string | number): Random {
    // The name is absorbed one UTF-16 unit at a time. Streams count in words 0 and 1 only, so with the marker in word 3
    // a new key is never a number that the parent draws.
    const text = String(name)
    const words = new Uint32Array([0, 0, text.length, FORK_MARKER])
    for (let i = 0; i <= text.length; i++) {
      words[2] = (words[2] as number) ^ (i < text.length ? text.charCodeAt(i) : 0)
      philox4x32(words, this.#key, words)
      words[3] = FORK_MARKER
    }
    return new PhiloxStream([words[0] as number, words[1] as number])
  }
}

/** A stream of random numbers; equal seeds give equal streams. The seed is an integer from 0 to 2^53 - 1. */
export function createRandom(seed: number): Random {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'createRandom',
      argument: 'seed',
      expected: 'an integer from 0 to 2^53 - 1',
      got: String(seed),
    })
  }
  return new PhiloxStream([seed % TWO_32, Math.floor(seed / TWO_32)])
}
