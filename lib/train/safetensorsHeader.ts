/**
 * The header of a safetensors file, checked as if an enemy had written it.
 *
 *     8 bytes   N, little-endian
 *     N bytes   JSON: { "name": { "dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24] }, "__metadata__": { ... } }
 *     the rest  contents; the ranges of all tensors cover it exactly, without overlap
 */
import { KairosError } from '../core/errors.js'

export const MAX_HEADER_BYTES = 100_000_000
/** Bytes of N. */
export const PREFIX_BYTES = 8
export const METADATA = '__metadata__'

/** Bytes of an element. Tensors here hold F32, I32 and BOOL; the others are converted when they are read. */
export const elementBytes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, BOOL: 1 } as const

export type FileDType = keyof typeof elementBytes

export interface FileTensor {
  readonly name: string
  readonly dtype: FileDType
  readonly shape: readonly number[]
  /** Bytes [begin, end) of the contents. */
  readonly begin: number
  readonly end: number
}

export interface Header {
  readonly metadata: Readonly<Record<string, string>>
  /** In the order of their contents. */
  readonly tensors: ReadonlyMap<string, FileTensor>
}

export const malformed = (path: string, got: string, argument?: string) =>
  new KairosError('KAIROS_DATA', { op: 'safetensors', argument: argument ? `${path}: ${argument}` : path, got })

/** Length of the header, from the first 8 bytes of a file of `fileBytes`. */
export function headerLength(prefix: Uint8Array, fileBytes: number, path: string): number {
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES) {
    throw malformed(path, `a header of ${length} bytes, more than the ${MAX_HEADER_BYTES} that the format allows`)
  }
  if (Number(length) > fileBytes - PREFIX_BYTES) {
    throw malformed(path, `a header of ${length} bytes in a file of ${fileBytes}: cut off, or no safetensors file`)
  }
  return Number(length)
}

/** Reads a header over `contentBytes` of contents. */
export function parseHeader(bytes: Uint8Array, contentBytes: number, path: string): Header {
  if (bytes[0] !== 0x7b) throw malformed(path, "a header that does not start with '{'")
  const json = parseJson(bytes, path)
  const metadata = metadataOf(json[METADATA], path)
  const tensors = Object.entries(json)
    .filter(([name]) => name !== METADATA)
    .map(([name, entry]) => tensorOf(name, entry, contentBytes, path))
    .sort((a, b) => a.begin - b.begin || a.end - b.end)
  checkCover(tensors, contentBytes, path)
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) }
}

function parseJson(bytes: Uint8Array, path: string): Record<string, unknown> {
  let json: Record<string, unknown>
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    json = JSON.parse(text)
  } catch (error) {
    throw malformed(path, `a header that is not JSON (${(error as Error).message})`)
  }
  const twice = repeatedKey(text)
  if (twice !== null) throw malformed(path, `'${twice}' twice in the header`)
  return json
}

/** The first key that an object of valid JSON text has twice, which JSON.parse passes over in silence. */
export function repeatedKey(text: string): string | null {
  const open: (Set<string> | null)[] = []
  // Strings whole, so that braces in them do not count; a key is a string before a colon.
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")\s*(:?)|[[\]{}]/g)) {
    if (string !== undefined) {
      if (!colon) continue
      const key = JSON.parse(string) as string
      const keys = open.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    } else if (token === '{') open.push(new Set())
    else if (token === '[') open.push(null)
    else open.pop()
  }
  return null
}

function metadataOf(entry: unknown, path: string): Record<string, string> {
  if (entry === undefined) return {}
  if (!isObject(entry) || Object.values(entry).some((value) => typeof value !== 'string')) {
    throw malformed(path, 'not a mapping from strings to strings', METADATA)
  }
  return entry as Record<string, string>
}

function tensorOf(name: string, entry: unknown, contentBytes: number, path: string): FileTensor {
  const refuse = (got: string) => malformed(path, got, `tensor '${name}'`)
  if (!isObject(entry)) throw refuse('no object with dtype, shape and data_offsets')
  const extra = Object.keys(entry).find((key) => !['dtype', 'shape', 'data_offsets'].includes(key))
  if (extra !== undefined) throw refuse(`an unknown key '${extra}'`)
  const { dtype, shape, data_offsets: offsets } = entry
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBytes, dtype)) {
    throw refuse(`dtype ${JSON.stringify(dtype)}; known are ${Object.keys(elementBytes).join(', ')}`)
  }
  if (!isSizes(shape)) throw refuse(`shape ${JSON.stringify(shape)}, not a list of whole numbers`)
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw refuse(`data_offsets ${JSON.stringify(offsets)}, not two whole numbers`)
  }
  const [begin, end] = offsets as [number, number]
  if (begin > end) throw refuse(`data_offsets [${begin}, ${end}], which end before they begin`)
  if (end > contentBytes) throw refuse(`data_offsets [${begin}, ${end}], past the ${contentBytes} bytes of contents`)
  const needed = shape.reduce((product, size) => product * size, elementBytes[dtype as FileDType])
  if (needed !== end - begin) {
    throw refuse(`${end - begin} bytes for ${dtype} [${shape.join(', ')}], which takes ${needed}`)
  }
  return { name, dtype: dtype as FileDType, shape, begin, end }
}

/** Sorted ranges follow each other without hole or overlap, from the first byte to the last. */
function checkCover(tensors: readonly FileTensor[], contentBytes: number, path: string): void {
  let covered = 0
  for (const { name, begin, end } of tensors) {
    if (begin < covered) throw malformed(path, `data_offsets that overlap at byte ${begin}`, `tensor '${name}'`)
    if (begin > covered) throw malformed(path, `a hole of ${begin - covered} bytes before it`, `tensor '${name}'`)
    covered = end
  }
  if (covered < contentBytes) throw malformed(path, `${contentBytes - covered} trailing bytes that no tensor covers`)
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0 && !Object.is(size, -0))
