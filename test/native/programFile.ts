/** A program file written by hand, so that tests can damage any part of it. */

export interface Term {
  coefficient: number
  factors: number[]
}
export interface FileBuffer {
  name: string
  role: number
  dtype: number
  store: number
  dims: number[]
  storage: number
  constant?: Uint8Array
}
export type FileAttribute =
  | { name: string; type: 0 | 1 | 2; value: number }
  | { name: string; type: 3; value: string }
  | { name: string; type: 4 | 5; value: number[] }
export interface FileStep {
  op: string
  inputs: number[]
  outputs: number[]
  attributes: FileAttribute[]
  source: string
}
export interface ProgramFile {
  magic: string
  version: number
  symbols: string[]
  dims: Term[][]
  storageCount: number
  stores: string[]
  buffers: FileBuffer[]
  steps: FileStep[]
  commitStart: number
  outputs: { name: string; buffer: number }[]
  checks: { buffer: number; dim: number; alsoAllowed: number; table: string }[]
  computed: { symbol: number; limit: number; buffer: number }[]
  trailing: number[]
}

export const TEMPORARY = 0
export const INPUT = 1
export const STATE = 2
export const CONSTANT = 3

export function encodeFile(file: ProgramFile): Uint8Array {
  const bytes: number[] = []
  const raw = (value: ArrayBufferLike) => bytes.push(...new Uint8Array(value))
  const u8 = (value: number) => bytes.push(value & 255)
  const u32 = (value: number) => raw(Uint32Array.of(value).buffer)
  const i64 = (value: number) => raw(BigInt64Array.of(BigInt(value)).buffer)
  const f64 = (value: number) => raw(Float64Array.of(value).buffer)
  const text = (value: string) => {
    const utf8 = new TextEncoder().encode(value)
    u32(utf8.length)
    bytes.push(...utf8)
  }
  const list = <T>(items: readonly T[], write: (item: T) => void) => {
    u32(items.length)
    items.forEach(write)
  }
  const attribute = ({ name, type, value }: FileAttribute) => {
    text(name)
    u8(type)
    if (type === 0) u8(value)
    else if (type === 1) i64(value)
    else if (type === 2) f64(value)
    else if (type === 3) text(value)
    else list(value as number[], type === 4 ? i64 : f64)
  }

  bytes.push(...new TextEncoder().encode(file.magic))
  u32(file.version)
  u32(0)
  const lengthAt = bytes.length
  i64(0)
  list(file.symbols, text)
  list(file.dims, (dim) =>
    list(dim, ({ coefficient, factors }) => {
      i64(coefficient)
      list(factors, u32)
    }),
  )
  u32(file.storageCount)
  list(file.stores, text)
  list(file.buffers, ({ name, role, dtype, store, dims, storage, constant }) => {
    text(name)
    for (const byte of [role, dtype, store, dims.length]) u8(byte)
    dims.forEach(u32)
    u32(storage)
    if (!constant) return
    i64(constant.length)
    bytes.push(...constant)
  })
  list(file.steps, ({ op, inputs, outputs, attributes, source }) => {
    text(op)
    list(inputs, u32)
    list(outputs, u32)
    list(attributes, attribute)
    text(source)
  })
  u32(file.commitStart)
  list(file.outputs, ({ name, buffer }) => {
    text(name)
    u32(buffer)
  })
  list(file.checks, ({ buffer, dim, alsoAllowed, table }) => {
    u32(buffer)
    u32(dim)
    i64(alsoAllowed)
    text(table)
  })
  list(file.computed, ({ symbol, limit, buffer }) => [symbol, limit, buffer].forEach(u32))
  bytes.push(...file.trailing)
  const result = Uint8Array.from(bytes)
  new DataView(result.buffer).setBigUint64(lengthAt, BigInt(result.length), true)
  return result
}

const literal = (size: number): Term[] => [{ coefficient: size, factors: [] }]
const symbol = (): Term[] => [{ coefficient: 1, factors: [0] }]

/** One elementwise instruction over float32 operands that are all as large as the result. */
const elementwise = (opcode: number, inputs: number[], output: number): FileStep => ({
  op: 'elementwise',
  inputs,
  outputs: [output],
  attributes: [
    { name: 'code', type: 4, value: [opcode, 0, inputs.length, 0, inputs.length - 1, 0] },
    { name: 'operands', type: 4, value: inputs.flatMap(() => [0, 0]) },
    { name: 'results', type: 4, value: [inputs.length] },
  ],
  source: 'model.ts:7',
})
const ADD = 10
const MULTIPLY = 12

/**
 * A small step with everything in it:
 *
 *     rows = gather(weight[4, 2], ids[batch])      ids are range-checked before anything runs
 *     y = rows * x[batch, 2]                       written over rows
 *     total = sum(y)
 *     last = gather(weight, other[batch])          checked by the kernel alone
 *     weight = weight + weight                     the commit
 */
export const stepFile = (): ProgramFile => ({
  magic: 'KAIROSPG',
  version: 2,
  symbols: ['batch'],
  dims: [symbol(), literal(4), literal(2)],
  storageCount: 7,
  stores: ['parameters'],
  buffers: [
    { name: 'ids', role: INPUT, dtype: 1, store: 0, dims: [0], storage: 0 },
    { name: 'x', role: INPUT, dtype: 0, store: 0, dims: [0, 2], storage: 1 },
    { name: 'weight', role: STATE, dtype: 0, store: 0, dims: [1, 2], storage: 2 },
    { name: 'rows', role: TEMPORARY, dtype: 0, store: 0, dims: [0, 2], storage: 3 },
    { name: 'y', role: TEMPORARY, dtype: 0, store: 0, dims: [0, 2], storage: 3 },
    { name: 'total', role: TEMPORARY, dtype: 0, store: 0, dims: [], storage: 4 },
    { name: 'other', role: INPUT, dtype: 1, store: 0, dims: [0], storage: 5 },
    { name: 'last', role: TEMPORARY, dtype: 0, store: 0, dims: [0, 2], storage: 6 },
  ],
  steps: [
    { op: 'gather', inputs: [2, 0], outputs: [3], attributes: [], source: 'model.ts:3' },
    elementwise(MULTIPLY, [3, 1], 4),
    {
      op: 'sum',
      inputs: [4],
      outputs: [5],
      attributes: [
        { name: 'axis', type: 1, value: 0 },
        { name: 'count', type: 1, value: 2 },
      ],
      source: 'model.ts:5',
    },
    { op: 'gather', inputs: [2, 6], outputs: [7], attributes: [], source: 'model.ts:6' },
    elementwise(ADD, [2, 2], 2),
  ],
  commitStart: 4,
  outputs: [
    { name: 'y', buffer: 4 },
    { name: 'total', buffer: 5 },
    { name: 'last', buffer: 7 },
    { name: 'before', buffer: 2 },
  ],
  checks: [{ buffer: 0, dim: 1, alsoAllowed: -1, table: 'items' }],
  computed: [],
  trailing: [],
})

/** `steps` products of `size` x `size` matrices, one after another: something that takes a while. */
export function slowFile(size: number, steps: number): ProgramFile {
  const product = (_: unknown, index: number): FileStep => ({
    op: 'matmul',
    inputs: [index === 0 ? 0 : 1 + ((index - 1) % 2), 0],
    outputs: [1 + (index % 2)],
    attributes: [
      { name: 'transposeA', type: 0, value: 0 },
      { name: 'transposeB', type: 0, value: 0 },
      { name: 'activation', type: 3, value: 'none' },
    ],
    source: 'slow.ts:1',
  })
  const buffer = (name: string, role: number, storage: number): FileBuffer => ({
    name,
    role,
    dtype: 0,
    store: 0,
    dims: [0, 0],
    storage,
  })
  return {
    ...stepFile(),
    symbols: [],
    dims: [literal(size)],
    storageCount: 3,
    stores: [],
    buffers: [buffer('a', INPUT, 0), buffer('p', TEMPORARY, 1), buffer('q', TEMPORARY, 2)],
    steps: Array.from({ length: steps }, product),
    commitStart: steps,
    outputs: [{ name: 'product', buffer: 1 + ((steps - 1) % 2) }],
    checks: [],
    computed: [],
  }
}

/** The spectrum of x[n, 2] with room for five frequencies: what a compiler would refuse, since n is a symbol. */
export function spectrumFile(): ProgramFile {
  return {
    magic: 'KAIROSPG',
    version: 2,
    symbols: ['n'],
    dims: [[{ coefficient: 1, factors: [0] }], literal(2), literal(5)],
    storageCount: 2,
    stores: [],
    buffers: [
      { name: 'x', role: INPUT, dtype: 0, store: 0, dims: [0, 1], storage: 0 },
      { name: '', role: TEMPORARY, dtype: 0, store: 0, dims: [2, 1, 1], storage: 1 },
    ],
    steps: [{ op: 'rfft', inputs: [0], outputs: [1], attributes: [], source: 'model.ts:1' }],
    commitStart: 1,
    outputs: [{ name: 'y', buffer: 1 }],
    checks: [],
    computed: [],
    trailing: [],
  }
}
