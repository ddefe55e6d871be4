/** Typed arrays that grow by doubling. Growing copies: for threads that nobody waits on. */
const LEAST = 4096

type Numbers = Int32Array | Float32Array | Float64Array | Uint8Array

export class Growable<A extends Numbers> {
  length = 0
  array: A

  constructor(private readonly make: new (length: number) => A) {
    this.array = new make(0)
  }

  /** Makes room for `count` more and answers the array to write at `length`; the caller moves `length` on. */
  reserve(count: number): A {
    const needed = this.length + count
    if (needed > this.array.length) {
      const grown = new this.make(Math.max(needed, LEAST, 2 * this.array.length))
      grown.set(this.array.subarray(0, this.length) as never)
      this.array = grown
    }
    return this.array
  }

  /** What was written, in an array of its own length; starts anew. */
  take(): A {
    const taken = this.length === this.array.length ? this.array : (this.array.slice(0, this.length) as A)
    this.array = new this.make(0)
    this.length = 0
    return taken
  }
}
