/** Stores, piece by piece: a table of gigabytes passes through a megabyte. */
import type { Entry, Executor, NativeArray, Store } from '../runtime/index.js'
import { pieceLength, type TensorSource } from './safetensors.js'

const sizeOf = ({ shape }: Entry): number => shape.reduce((product, dim) => product * dim, 1)

/** The entries of a store as sources of a file. */
export const rangesOf = (store: Store, executor?: Executor): TensorSource[] =>
  store.entries.map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    read: (begin, end) => store.readRange(name, begin, end, executor),
  }))

/** Fills an entry of a store from pieces, or with `at` a part of it that begins there. */
export async function writeRanges(
  store: Store,
  entry: Entry,
  read: (begin: number, end: number) => Promise<NativeArray>,
  { executor, at = 0 }: { readonly executor?: Executor | undefined; readonly at?: number } = {},
): Promise<void> {
  const size = sizeOf(entry)
  const length = pieceLength(entry.dtype)
  for (let begin = 0; begin < size; begin += length) {
    await store.writeRange(entry.name, at + begin, await read(begin, Math.min(size, begin + length)), executor)
  }
}
