/** Files that must survive a crash: written in pieces, hashed on the way, on the disk before anything relies on them. */
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'

/** Bytes handled at a time: what is hashed between two turns of the event loop, and all that is buffered. */
export const CHUNK_BYTES = 1 << 20

export interface FileFacts {
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

/** Writes a new file from pieces and syncs it. Fails when the file exists. */
export async function writeDurably(
  path: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<FileFacts> {
  const handle = await open(path, 'wx')
  try {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; at += CHUNK_BYTES) {
        const chunk = piece.subarray(at, at + CHUNK_BYTES)
        hash.update(chunk)
        await writeAll(handle, chunk)
        bytes += chunk.length
      }
    }
    await handle.sync()
    return { bytes, sha256: hash.digest('hex') }
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten
}

/** Fills `into` from a place of a file; false when the file ends before. */
export async function readAll(handle: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  for (let at = 0; at < into.length; ) {
    const { bytesRead } = await handle.read(into, at, into.length - at, position + at)
    if (bytesRead === 0) return false
    at += bytesRead
  }
  return true
}

export async function factsOf(path: string): Promise<FileFacts> {
  const handle = await open(path, 'r')
  try {
    const hash = createHash('sha256')
    const chunk = new Uint8Array(CHUNK_BYTES)
    let bytes = 0
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, bytes)
      if (bytesRead === 0) return { bytes, sha256: hash.digest('hex') }
      hash.update(chunk.subarray(0, bytesRead))
      bytes += bytesRead
    }
  } finally {
    await handle.close()
  }
}

/** Makes renames and new files inside a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
