/** Growing columns and their orders, in slices of time. */
import { inSlices, type Pause } from '../core/timeSlice.js'

/** Elements of a piece of work that goes all over memory, where each may miss every cache. */
export const SCATTERED = 1024

type Elements = Float32Array | Int32Array | Uint8Array

// A typed array made from a length is zeroed at once, milliseconds for millions; a buffer's pages are zeroed when touched.
export const float64s = (length: number) => new Float64Array(new ArrayBuffer(8 * length))
export const float32s = (length: number) => new Float32Array(new ArrayBuffer(4 * length))
export const uint32s = (length: number) => new Uint32Array(new ArrayBuffer(4 * length))
export const int32s = (length: number) => new Int32Array(new ArrayBuffer(4 * length))
export const uint8s = (length: number) => new Uint8Array(new ArrayBuffer(length))

/** Elements of a block: small enough to allocate and copy in microseconds. */
const BLOCK = 65536

/** A growing typed array that never moves what it holds: it grows by blocks, not by doubling. */
export class Column<T extends Elements> {
  /** Blocks that are done. A block is only ever appended to, so columns share them. */
  private readonly closed: T[] = []
  private open: T
  private used = 0
  private count = 0

  constructor(private readonly make: (length: number) => T) {
    this.open = make(0)
  }

  get length(): number {
    return this.count
  }

  push(value: number): void {
    if (this.used === this.open.length) this.grow()
    this.open[this.used++] = value
    this.count++
  }

  append(values: ArrayLike<number>): void {
    for (let i = 0; i < values.length; i++) this.push(values[i] as number)
  }

  /** Takes in another column's elements, without copying. */
  merge(other: Column<T>): void {
    const taken = other.views()
    const added = other.count
    this.close()
    this.closed.push(...taken)
    this.count += added
  }

  async flatten(pauseWhenDue: Pause): Promise<T> {
    const flat = this.make(this.count)
    let position = 0
    for (const view of this.views()) {
      flat.set(view, position)
      position += view.length
      const pause = pauseWhenDue()
      if (pause) await pause
    }
    return flat
  }

  private views(): T[] {
    return [...this.closed, this.open.subarray(0, this.used) as T]
  }

  private close(): void {
    if (this.used > 0) this.closed.push(this.open.subarray(0, this.used) as T)
    this.open = this.make(0)
    this.used = 0
  }

  private grow(): void {
    const isFirst = this.count === 0
    this.close()
    this.open = this.make(isFirst ? 1024 : BLOCK)
  }
}

export const floatColumn = () => new Column(float32s)
export const intColumn = () => new Column(int32s)
export const byteColumn = () => new Column(uint8s)

// Keys ---------------------------------------------------------------------------------------------------------------

/** Whole numbers that are ordered as the floats are; -0 and 0 are one. */
export async function floatKeys(values: Float32Array, pause: Pause): Promise<Uint32Array> {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length)
  const keys = uint32s(values.length)
  await inSlices(values.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) keys[i] = keyOfBits(bits[i] as number)
  })
  return keys
}

const NEGATIVE_ZERO = 0x80000000 | 0

/** Of a float32's bits: negative floats in reverse below, positive ones above. */
export const keyOfBits = (bits: number): number => (bits < 0 && bits !== NEGATIVE_ZERO ? ~bits : bits | NEGATIVE_ZERO)

export async function intKeys(values: Int32Array, pause: Pause): Promise<Uint32Array> {
  const keys = uint32s(values.length)
  await inSlices(values.length, pause, (begin, end) => {
    for (let i = begin; i < end; i++) keys[i] = (values[i] as number) ^ NEGATIVE_ZERO
  })
  return keys
}

/** `keys[order[i]]` for each i. */
export async function gathered(keys: Uint32Array, order: Uint32Array, pause: Pause): Promise<Uint32Array> {
  const result = uint32s(order.length)
  await inSlices(
    order.length,
    pause,
    (begin, end) => {
      for (let i = begin; i < end; i++) result[i] = keys[order[i] as number] as number
    },
    SCATTERED,
  )
  return result
}

export async function identity(count: number, pause: Pause): Promise<Uint32Array> {
  const order = uint32s(count)
  await inSlices(count, pause, (begin, end) => {
    for (let i = begin; i < end; i++) order[i] = i
  })
  return order
}

// Sort ---------------------------------------------------------------------------------------------------------------

const SHIFTS = [0, 11, 22] as const
const DIGITS = 2048

/**
 * Sorts keys ascending, and moves `order` with them where it is given; equal keys keep their order. Both arguments are
 * scratch afterwards. Radix sort by three digits of 11 bits (Knuth, "Sorting and Searching", 5.2.5): a loop that can
 * stop anywhere, unlike the built-in sort.
 */
export async function sortKeys<O extends Uint32Array | null>(
  keys: Uint32Array,
  order: O,
  pause: Pause,
): Promise<{ readonly keys: Uint32Array; readonly order: O }> {
  const count = keys.length
  const counters = SHIFTS.map(() => new Uint32Array(DIGITS))
  await inSlices(count, pause, (begin, end) => {
    const [low, middle, high] = counters as [Uint32Array, Uint32Array, Uint32Array]
    for (let i = begin; i < end; i++) {
      const key = keys[i] as number
      low[key & 2047] = (low[key & 2047] as number) + 1
      middle[(key >>> 11) & 2047] = (middle[(key >>> 11) & 2047] as number) + 1
      high[key >>> 22] = (high[key >>> 22] as number) + 1
    }
  })
  let from = { keys, order: order as Uint32Array | null }
  let to: typeof from | null = null
  for (const [digit, counter] of counters.entries()) {
    const shift = SHIFTS[digit] as number
    if (counter.some((size) => size === count)) continue // one digit throughout: nothing moves
    to ??= { keys: uint32s(count), order: order && uint32s(count) }
    let start = 0
    for (let d = 0; d < DIGITS; d++) {
      const size = counter[d] as number
      counter[d] = start
      start += size
    }
    await inSlices(
      count,
      pause,
      (begin, end) => scatter(from, to as typeof from, shift, counter, begin, end),
      SCATTERED,
    )
    ;[from, to] = [to, from]
  }
  return from as { keys: Uint32Array; order: O }
}

function scatter(
  from: { keys: Uint32Array; order: Uint32Array | null },
  to: { keys: Uint32Array; order: Uint32Array | null },
  shift: number,
  starts: Uint32Array,
  begin: number,
  end: number,
): void {
  for (let i = begin; i < end; i++) {
    const key = from.keys[i] as number
    const digit = (key >>> shift) & 2047
    const place = starts[digit] as number
    starts[digit] = place + 1
    to.keys[place] = key
    if (to.order && from.order) to.order[place] = from.order[i] as number
  }
}
