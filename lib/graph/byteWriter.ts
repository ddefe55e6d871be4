/** Appends little-endian values to a buffer that grows. */
export class ByteWriter {
  private buffer = new Uint8Array(1024)
  private view = new DataView(this.buffer.buffer)
  private size = 0

  get length(): number {
    return this.size
  }

  u8(value: number): this {
    const at = this.reserve(1)
    this.view.setUint8(at, value)
    return this
  }
  u32(value: number): this {
    const at = this.reserve(4)
    this.view.setUint32(at, value, true)
    return this
  }
  u64(value: number): this {
    const at = this.reserve(8)
    this.view.setBigUint64(at, BigInt(value), true)
    return this
  }
  i64(value: number): this {
    const at = this.reserve(8)
    this.view.setBigInt64(at, BigInt(value), true)
    return this
  }
  f64(value: number): this {
    const at = this.reserve(8)
    this.view.setFloat64(at, value, true)
    return this
  }
  bytes(bytes: Uint8Array): this {
    const at = this.reserve(bytes.length)
    this.buffer.set(bytes, at)
    return this
  }
  ascii(text: string): this {
    return this.bytes(new TextEncoder().encode(text))
  }
  string(text: string): this {
    const bytes = new TextEncoder().encode(text)
    return this.u32(bytes.length).bytes(bytes)
  }
  list<T>(items: readonly T[], write: (item: T, index: number) => void): this {
    this.u32(items.length)
    items.forEach(write)
    return this
  }

  finished(): Uint8Array {
    return this.buffer.slice(0, this.size)
  }

  /** The bytes written, with their total put at `lengthAt` as u64. */
  finish(lengthAt: number): Uint8Array {
    this.view.setBigUint64(lengthAt, BigInt(this.size), true)
    return this.finished()
  }

  /** Room for so many bytes; grows the buffer, and so replaces it and its view, when it is full. */
  private reserve(bytes: number): number {
    const at = this.size
    this.size += bytes
    if (this.size > this.buffer.length) {
      const grown = new Uint8Array(Math.max(this.size, 2 * this.buffer.length))
      grown.set(this.buffer)
      this.buffer = grown
      this.view = new DataView(grown.buffer)
    }
    return at
  }
}
