/** Feeds, stores and counts that fit a program file, whatever it says. */
import type { Random } from '../../lib/core/random.js'
import type { NativeArray, StoreEntry } from '../../lib/runtime/index.js'
import { elementsOf, type FileBuffer, type ProgramFile, Role, sizeOf } from './fileFormat.js'

const dtypes = ['float32', 'int32', 'bool'] as const
const oddFloats = [0, -0, 1, 1e30, -1e30, 1e-40, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]

/** An object that takes any name, `__proto__` included. */
export function recordOf<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const record = {}
  for (const [name, value] of entries) {
    Object.defineProperty(record, name, { value, enumerable: true, writable: true, configurable: true })
  }
  return record
}

/** Bytes that all buffers take together: what a run would touch, at most. */
export const bytesOf = (file: ProgramFile, counts: readonly number[]): bigint =>
  file.buffers.reduce((sum, buffer) => sum + 4n * elementsOf(file, buffer, counts), 0n)

/** Random contents; `limit` is the number of ids that fit. */
function contents(random: Random, dtype: number, length: number, limit: number): NativeArray {
  const wild = random.uniform() < 0.1
  if (dtype === 0) {
    const draw = () =>
      wild && random.int(4) === 0 ? (oddFloats[random.int(oddFloats.length)] as number) : random.normal()
    return Float32Array.from({ length }, draw)
  }
  if (dtype === 1) return Int32Array.from({ length }, () => (wild ? random.uint32() : random.int(limit)))
  return Uint8Array.from({ length }, () => random.int(wild ? 256 : 2))
}

/** Ids that pass the file's checks, as far as that is possible; without a check any small number. */
function limitOf(file: ProgramFile, index: number, counts: readonly number[], random: Random): number {
  const limits = file.checks.filter(({ buffer }) => buffer === index).map(({ dim }) => sizeOf(file, dim, counts))
  const limit = limits.length > 0 ? Math.min(...limits.map(Number)) : 1 + random.int(6)
  return Math.min(2 ** 31, Math.max(1, limit))
}

/** One array per input, in the order of the file. */
export function feedsOf(file: ProgramFile, counts: readonly number[], random: Random): NativeArray[] {
  const inputs = [...file.buffers.keys()].filter((index) => file.buffers[index]?.role === Role.input)
  return inputs.map((index) => {
    const buffer = file.buffers[index] as FileBuffer
    const length = Number(elementsOf(file, buffer, counts))
    return contents(random, buffer.dtype, length, limitOf(file, index, counts, random))
  })
}

/** Entries of each store slot that has state. */
export function storeEntriesOf(file: ProgramFile, random: Random): (StoreEntry[] | null)[] {
  return file.stores.map((_, slot) => {
    const buffers = file.buffers.filter(({ role, store }) => role === Role.state && store === slot)
    const entries = buffers.map((buffer) => ({
      name: buffer.name,
      dtype: dtypes[buffer.dtype] as (typeof dtypes)[number],
      shape: buffer.dims.map((dim) => Number(sizeOf(file, dim, []))),
      data: contents(random, buffer.dtype, Number(elementsOf(file, buffer, [])), 9),
    }))
    return entries.length > 0 ? entries : null
  })
}
