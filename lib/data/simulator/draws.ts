/**
 * Random numbers by counter: what entity i of a stream draws depends on (seed, stream, i) alone, not on who drew before,
 * so that any thread may make any part of the events.
 */
import { philox4x32 } from '../../core/random.js'

const TWO_32 = 2 ** 32
/** Any non-zero word: the counters of keys are never those of numbers. */
const KEY_MARKER = 0x73696d75

export class Draws {
  readonly #key: readonly [number, number]
  readonly #counter = new Uint32Array(4)
  readonly #words = new Uint32Array(4)
  #used = 4
  #spare = Number.NaN

  /** `stream` names what is drawn: 'users', 'events test'. */
  constructor(seed: number, stream: string) {
    const key = [seed % TWO_32, Math.floor(seed / TWO_32)]
    const words = new Uint32Array([0, 0, stream.length, KEY_MARKER])
    for (let i = 0; i < stream.length; i++) {
      words[2] = (words[2] as number) ^ stream.charCodeAt(i)
      philox4x32(words, key, words)
      words[3] = KEY_MARKER
    }
    this.#key = [words[0] as number, words[1] as number]
  }

  /** Goes to the first number of an entity; `sub` counts within it, as a place in a request. */
  at(entity: number, sub = 0): this {
    const counter = this.#counter
    counter[0] = entity % TWO_32
    counter[1] = Math.floor(entity / TWO_32)
    counter[2] = sub
    counter[3] = 0
    this.#used = 4
    this.#spare = Number.NaN
    return this
  }

  /** Uniform over (0, 1), an odd multiple of 2^-33. */
  uniform(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.#key, this.#words)
      this.#counter[3] = (this.#counter[3] as number) + 1
      this.#used = 0
    }
    return ((this.#words[this.#used++] as number) + 0.5) / TWO_32
  }

  /** Standard normal. */
  normal(): number {
    const spare = this.#spare
    if (!Number.isNaN(spare)) {
      this.#spare = Number.NaN
      return spare
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** Exponential with mean 1. */
  exponential(): number {
    return -Math.log(this.uniform())
  }

  /** Uniform over 0 .. n - 1. */
  int(n: number): number {
    return Math.floor(this.uniform() * n)
  }

  /** `count` standard normals at `begin`. */
  normals(out: Float64Array, begin: number, count: number): void {
    for (let i = begin; i < begin + count; i++) out[i] = this.normal()
  }
}
