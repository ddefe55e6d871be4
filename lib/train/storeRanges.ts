/** Stores, piece by piece. */
import type { Entry, NativeArray, Store } from '../runtime/index.js'
import { pieceLength, type TensorSource } from './safetensors.js'

/** The entries of a store as sources of a file. */
export function rangesOf(store: Store): TensorSource[] {
  return store.entries.map(({ name, dtype, shape }) => {
    let values: NativeArray | null = null
    const size = shape.reduce((product, dim) => product * dim, 1)
    return {
      name,
      dtype,
      shape,
      async read(begin, end) {
        values ??= (await store.read([name]))[name] as NativeArray
        const piece = values.subarray(begin, end)
        if (end === size) values = null
        return piece
      },
    }
  })
}

/** Fills an entry of a store from pieces. */
export async function writeRanges(
  store: Store,
  { name, dtype, shape }: Entry,
  read: (begin: number, end: number) => Promise<NativeArray>,
): Promise<void> {
  const size = shape.reduce((product, dim) => product * dim, 1)
  const pieces: NativeArray[] = []
  for (let begin = 0; begin < size; begin += pieceLength(dtype)) {
    pieces.push(await read(begin, Math.min(size, begin + pieceLength(dtype))))
  }
  await store.write({ [name]: joined(pieces, size, dtype) })
}

function joined(pieces: readonly NativeArray[], size: number, dtype: Entry['dtype']): NativeArray {
  const [first] = pieces
  if (pieces.length === 1 && first) return first
  const all =
    dtype === 'float32' ? new Float32Array(size) : dtype === 'int32' ? new Int32Array(size) : new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
