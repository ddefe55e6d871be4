/** Reads and writes safetensors files, in pieces of at most 1 MiB: a table of gigabytes needs no second copy. */
import { type FileHandle, open } from 'node:fs/promises'
import { type ArrayOf, arrayOf, bytesOf, type DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { CHUNK_BYTES, type FileFacts, readAll, writeDurably } from './files.js'
import {
  elementBytes,
  type FileDType,
  type FileTensor,
  type Header,
  headerLength,
  MAX_HEADER_BYTES,
  METADATA,
  malformed,
  PREFIX_BYTES,
  parseHeader,
} from './safetensorsHeader.js'

type Values = ArrayOf<DType>

/** What is to be written under a name: `read` gives elements [begin, end). */
export interface TensorSource {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  read(begin: number, end: number): Values | Promise<Values>
}

const fileDTypes = { float32: 'F32', int32: 'I32', bool: 'BOOL' } as const satisfies Record<DType, FileDType>

/** What the elements of a file become when they are read. */
export const dtypeWhenRead = {
  F64: 'float32',
  F32: 'float32',
  F16: 'float32',
  BF16: 'float32',
  I64: 'int32',
  I32: 'int32',
  BOOL: 'bool',
} as const satisfies Record<FileDType, DType>

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** Elements of one piece. */
export const pieceLength = (dtype: DType): number => CHUNK_BYTES / bytesOf[dtype]

/**
 * Writes a new file, on the disk when the promise resolves. Fails when the file exists.
 *
 * Throws KAIROS_DUPLICATE for a name given twice or reserved by the format.
 */
export function writeTensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<FileFacts> {
  // Wide elements first, so that every tensor stands at a multiple of its element's size.
  const ordered = tensors.toSorted((a, b) => bytesOf[b.dtype] - bytesOf[a.dtype])
  const header = encodeHeader(ordered, metadata)
  return writeDurably(path, piecesOf(header, ordered))
}

async function* piecesOf(header: Uint8Array, tensors: readonly TensorSource[]): AsyncGenerator<Uint8Array> {
  yield header
  for (const { dtype, shape, read } of tensors) {
    const size = sizeOf(shape)
    for (let begin = 0; begin < size; begin += pieceLength(dtype)) {
      const values = await read(begin, Math.min(size, begin + pieceLength(dtype)))
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    }
  }
}

function encodeHeader(tensors: readonly TensorSource[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const names = new Set([METADATA])
  let at = 0
  const fields = tensors.map(({ name, dtype, shape }) => {
    if (names.has(name)) {
      throw new KairosError('KAIROS_DUPLICATE', { op: 'writeTensors', argument: `'${name}'`, got: 'a name in use' })
    }
    names.add(name)
    const begin = at
    at += sizeOf(shape) * bytesOf[dtype]
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype: fileDTypes[dtype], shape, data_offsets: [begin, at] })}`
  })
  if (Object.keys(metadata).length > 0) fields.unshift(`"${METADATA}":${JSON.stringify(metadata)}`)
  const json = new TextEncoder().encode(`{${fields.join(',')}}`)
  if (json.length > MAX_HEADER_BYTES) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'writeTensors',
      argument: 'tensors',
      got: 'too many for one header',
    })
  }
  // Spaces up to a multiple of 8 keep the contents aligned.
  const padded = Math.ceil(json.length / 8) * 8
  const bytes = new Uint8Array(PREFIX_BYTES + padded).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true)
  bytes.set(json, PREFIX_BYTES)
  return bytes
}

/** An open file whose header has been checked against its size. */
export class TensorFile {
  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    private readonly header: Header,
    private readonly contentStart: number,
  ) {}

  /** Throws KAIROS_DATA with the reason for a file that is damaged, cut off or of another kind. */
  static async open(path: string): Promise<TensorFile> {
    const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
      throw new KairosError('KAIROS_DATA', { op: 'safetensors', argument: path, got: error.code ?? error.message })
    })
    try {
      const stat = await handle.stat()
      if (!stat.isFile()) throw malformed(path, 'not a file')
      const prefix = new Uint8Array(PREFIX_BYTES)
      if (!(await readAll(handle, prefix, 0))) throw malformed(path, `only ${stat.size} bytes`)
      const length = headerLength(prefix, stat.size, path)
      const bytes = new Uint8Array(length)
      if (!(await readAll(handle, bytes, PREFIX_BYTES))) throw malformed(path, 'an end within the header')
      const start = PREFIX_BYTES + length
      return new TensorFile(path, handle, parseHeader(bytes, stat.size - start, path), start)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata
  }

  /** In the order of their contents. */
  get tensors(): ReadonlyMap<string, FileTensor> {
    return this.header.tensors
  }

  /**
   * Elements [begin, end) of a tensor: 64- and 16-bit floats as float32, 64-bit integers as int32.
   *
   * Throws KAIROS_DATA for a number that the narrower type does not hold, and for a bool that is neither 0 nor 1.
   */
  async readRange(name: string, begin: number, end: number): Promise<Values> {
    const tensor = this.tensorNamed(name)
    const size = sizeOf(tensor.shape)
    if (!(Number.isInteger(begin) && Number.isInteger(end) && 0 <= begin && begin <= end && end <= size)) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'readRange',
        argument: `${name}[${begin} .. ${end}]`,
        expected: `within its ${size} elements`,
      })
    }
    const width = elementBytes[tensor.dtype]
    const bytes = new Uint8Array((end - begin) * width)
    if (!(await readAll(this.handle, bytes, this.contentStart + tensor.begin + begin * width))) {
      throw malformed(this.path, 'an end within its contents', `tensor '${name}'`)
    }
    return decode(tensor.dtype, bytes, (index, value) =>
      malformed(this.path, `element ${begin + index} is ${value}`, `tensor '${name}' (${tensor.dtype})`),
    )
  }

  /** A whole tensor. */
  async read(name: string): Promise<Values> {
    const { dtype, shape } = this.tensorNamed(name)
    const size = sizeOf(shape)
    const values = arrayOf(dtypeWhenRead[dtype], size)
    const piece = CHUNK_BYTES / elementBytes[dtype]
    for (let begin = 0; begin < size; begin += piece) {
      values.set(await this.readRange(name, begin, Math.min(size, begin + piece)), begin)
    }
    return values
  }

  close(): Promise<void> {
    return this.handle.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private tensorNamed(name: string): FileTensor {
    const tensor = this.tensors.get(name)
    if (tensor) return tensor
    throw new KairosError('KAIROS_UNKNOWN_NAME', { op: 'safetensors', argument: this.path, got: `no tensor '${name}'` })
  }
}

type Refusal = (index: number, value: number | bigint) => KairosError

function decode(dtype: FileDType, bytes: Uint8Array, refuse: Refusal): Values {
  const view = new DataView(bytes.buffer)
  const count = bytes.length / elementBytes[dtype]
  switch (dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer)
    case 'I32':
      return new Int32Array(bytes.buffer)
    case 'BOOL': {
      const wrong = bytes.findIndex((value) => value > 1)
      if (wrong >= 0) throw refuse(wrong, bytes[wrong] as number)
      return bytes
    }
    case 'F64':
      return Float32Array.from({ length: count }, (_, i) => {
        const value = view.getFloat64(8 * i, true)
        if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) throw refuse(i, value)
        return value
      })
    case 'I64':
      return Int32Array.from({ length: count }, (_, i) => {
        const value = view.getBigInt64(8 * i, true)
        if (value !== BigInt.asIntN(32, value)) throw refuse(i, value)
        return Number(value)
      })
    case 'F16':
      return Float32Array.from({ length: count }, (_, i) => halfToNumber(view.getUint16(2 * i, true)))
    case 'BF16':
      return new Float32Array(Uint32Array.from({ length: count }, (_, i) => view.getUint16(2 * i, true) << 16).buffer)
  }
}

/** IEEE 754 binary16. */
function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}
