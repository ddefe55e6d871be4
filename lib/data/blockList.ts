/** Integers between two pauses: a megabyte, some tenths of a millisecond to copy. */
const BLOCK = 262144

/** A growing list of int32 that never moves what it holds: it grows by blocks, not by doubling. */
export class BlockList {
  readonly #blocks: Int32Array[] = []
  #block = new Int32Array(0)
  #used = 0
  #full = 0

  get length(): number {
    return this.#full + this.#used
  }

  get last(): number | undefined {
    return this.#block[this.#used - 1]
  }

  push(value: number): void {
    if (this.#used === this.#block.length) {
      this.#full += this.#used
      // The first block is small: most files are.
      this.#block = new Int32Array(this.#blocks.length === 0 ? 4096 : BLOCK)
      this.#blocks.push(this.#block)
      this.#used = 0
    }
    this.#block[this.#used++] = value
  }

  async flatten(pauseWhenDue: () => Promise<void> | undefined): Promise<Int32Array> {
    const flat = new Int32Array(this.length)
    let position = 0
    for (const block of this.#blocks) {
      flat.set(block === this.#block ? block.subarray(0, this.#used) : block, position)
      position += block.length
      const pause = pauseWhenDue()
      if (pause) await pause
    }
    return flat
  }
}
