/**
 * A second reading of the program file (see lib/graph/encode.ts): decodes into plain data that mutations may change,
 * writes it back, and tells where its numbers stand.
 */
import { ByteWriter } from '../../lib/graph/byteWriter.js'

export const LENGTH_AT = 16

export interface Term {
  coefficient: bigint
  factors: number[]
}

export interface FileBuffer {
  name: string
  role: number
  dtype: number
  store: number
  dims: number[]
  storage: number
  /** Present for role 3. */
  constant: Uint8Array
}

export type AttributeValue = number | bigint | string | bigint[] | number[]

export interface FileAttribute {
  name: string
  /** 0 bool, 1 int, 2 float, 3 string, 4 ints, 5 floats */
  type: number
  value: AttributeValue
}

export interface FileStep {
  op: string
  inputs: number[]
  outputs: number[]
  attributes: FileAttribute[]
  source: string
}

export interface ProgramFile {
  symbols: string[]
  dims: Term[][]
  storageCount: number
  stores: string[]
  buffers: FileBuffer[]
  steps: FileStep[]
  commitStart: number
  outputs: { name: string; buffer: number }[]
  checks: { buffer: number; dim: number; alsoAllowed: bigint; table: string }[]
  computed: { symbol: number; limit: number; buffer: number }[]
}

export const Role = { temporary: 0, input: 1, state: 2, constant: 3 } as const

/** Where a number stands, and its bytes. */
export interface Field {
  readonly at: number
  readonly size: 1 | 4 | 8
}

class Reader {
  readonly fields: Field[] = []
  private at = 0
  private readonly view: DataView
  constructor(private readonly file: Uint8Array) {
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  }

  u8 = (): number => this.view.getUint8(this.field(1))
  u32 = (): number => this.view.getUint32(this.field(4), true)
  u64 = (): bigint => this.view.getBigUint64(this.field(8), true)
  i64 = (): bigint => this.view.getBigInt64(this.field(8), true)
  f64 = (): number => this.view.getFloat64(this.field(8), true)
  bytes(length: number): Uint8Array {
    if (this.at + length > this.file.length) throw new RangeError(`no ${length} bytes at ${this.at}`)
    this.at += length
    return this.file.slice(this.at - length, this.at)
  }
  string = (): string => new TextDecoder().decode(this.bytes(this.u32()))
  list<T>(read: () => T): T[] {
    const items: T[] = []
    for (let left = this.u32(); left > 0; left--) items.push(read())
    return items
  }

  private field(size: 1 | 4 | 8): number {
    const { at } = this
    this.fields.push({ at, size })
    this.at += size
    return at
  }
}

export function decode(bytes: Uint8Array): { file: ProgramFile; fields: readonly Field[] } {
  const reader = new Reader(bytes)
  reader.bytes(8)
  reader.u32()
  reader.u32()
  reader.u64()
  // Properties are evaluated in this order, which is that of the file.
  const file: ProgramFile = {
    symbols: reader.list(reader.string),
    dims: reader.list(() => reader.list(() => ({ coefficient: reader.i64(), factors: reader.list(reader.u32) }))),
    storageCount: reader.u32(),
    stores: reader.list(reader.string),
    buffers: reader.list(() => readBuffer(reader)),
    steps: reader.list(() => ({
      op: reader.string(),
      inputs: reader.list(reader.u32),
      outputs: reader.list(reader.u32),
      attributes: reader.list(() => readAttribute(reader)),
      source: reader.string(),
    })),
    commitStart: reader.u32(),
    outputs: reader.list(() => ({ name: reader.string(), buffer: reader.u32() })),
    checks: reader.list(() => ({
      buffer: reader.u32(),
      dim: reader.u32(),
      alsoAllowed: reader.i64(),
      table: reader.string(),
    })),
    computed: reader.list(() => ({ symbol: reader.u32(), limit: reader.u32(), buffer: reader.u32() })),
  }
  return { file, fields: reader.fields }
}

function readBuffer(reader: Reader): FileBuffer {
  const [name, role, dtype, store] = [reader.string(), reader.u8(), reader.u8(), reader.u8()]
  const dims = Array.from({ length: reader.u8() }, reader.u32)
  const storage = reader.u32()
  const constant = role === Role.constant ? reader.bytes(Number(reader.u64())) : new Uint8Array()
  return { name, role, dtype, store, dims, storage, constant }
}

function readAttribute(reader: Reader): FileAttribute {
  const [name, type] = [reader.string(), reader.u8()]
  const readers = [
    reader.u8,
    reader.i64,
    reader.f64,
    reader.string,
    () => reader.list(reader.i64),
    () => reader.list(reader.f64),
  ]
  return { name, type, value: (readers[type] as () => AttributeValue)() }
}

export function encode(file: ProgramFile): Uint8Array {
  const writer = new ByteWriter()
  writer.ascii('KAIROSPG').u32(2).u32(0).u64(0)
  writer.list(file.symbols, (symbol) => writer.string(symbol))
  writer.list(file.dims, (terms) => {
    writer.list(terms, ({ coefficient, factors }) => {
      i64(writer, coefficient).list(factors, (symbol) => writer.u32(symbol))
    })
  })
  writer.u32(file.storageCount).list(file.stores, (store) => writer.string(store))
  writer.list(file.buffers, ({ name, role, dtype, store, dims, storage, constant }) => {
    writer.string(name).u8(role).u8(dtype).u8(store).u8(dims.length)
    for (const dim of dims) writer.u32(dim)
    writer.u32(storage)
    if (role === Role.constant) writer.u64(constant.length).bytes(constant)
  })
  writer.list(file.steps, ({ op, inputs, outputs, attributes, source }) => {
    writer.string(op)
    writer.list(inputs, (buffer) => writer.u32(buffer)).list(outputs, (buffer) => writer.u32(buffer))
    writer.list(attributes, (attribute) => writeAttribute(writer, attribute)).string(source)
  })
  writer.u32(file.commitStart)
  writer.list(file.outputs, ({ name, buffer }) => writer.string(name).u32(buffer))
  writer.list(file.checks, ({ buffer, dim, alsoAllowed, table }) => {
    i64(writer.u32(buffer).u32(dim), alsoAllowed).string(table)
  })
  writer.list(file.computed, ({ symbol, limit, buffer }) => writer.u32(symbol).u32(limit).u32(buffer))
  return writer.finish(LENGTH_AT)
}

function writeAttribute(writer: ByteWriter, { name, type, value }: FileAttribute): void {
  writer.string(name).u8(type)
  if (type === 0) writer.u8(Number(value))
  else if (type === 1) i64(writer, value as bigint)
  else if (type === 2) writer.f64(value as number)
  else if (type === 3) writer.string(value as string)
  else if (type === 4) writer.list(value as bigint[], (item) => i64(writer, item))
  else writer.list(value as number[], (item) => writer.f64(item))
}

/** `ByteWriter.i64` goes through doubles, which do not hold every coefficient. */
function i64(writer: ByteWriter, value: bigint): ByteWriter {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigInt64(0, value, true)
  return writer.bytes(bytes)
}

/** The size of a dim for given counts of symbols, exactly. */
export function sizeOf(file: ProgramFile, dim: number, counts: readonly number[]): bigint {
  const terms = file.dims[dim] as Term[]
  return terms.reduce((sum, { coefficient, factors }) => {
    return sum + factors.reduce((product, symbol) => product * BigInt(counts[symbol] as number), coefficient)
  }, 0n)
}

export const elementsOf = (file: ProgramFile, { dims }: FileBuffer, counts: readonly number[]): bigint =>
  dims.reduce((product, dim) => product * sizeOf(file, dim, counts), 1n)

/** A count for every symbol: drawn where it is given, the limit where the run computes it. */
export function countsOf(file: ProgramFile, draw: (symbol: number) => number): number[] {
  const counts = file.symbols.map((_, symbol) => (isComputed(file, symbol) ? 0 : draw(symbol)))
  for (const { symbol, limit } of file.computed) counts[symbol] = Number(sizeOf(file, limit, counts))
  return counts
}

/** Counts by name, as a binding or a run takes them. */
export const namedCounts = (file: ProgramFile, counts: readonly number[]): (readonly [string, number])[] =>
  file.symbols.flatMap((name, symbol) => (isComputed(file, symbol) ? [] : [[name, counts[symbol] as number] as const]))

const isComputed = (file: ProgramFile, symbol: number) => file.computed.some((known) => known.symbol === symbol)
