/** Files that are whole or not there: written under another name beside their own, then renamed. */
import { rename, rm, writeFile } from 'node:fs/promises'

/** `make` writes the file under the name that it is given; what it answers is the answer. */
export async function makeWhole<T>(path: string, make: (half: string) => Promise<T>): Promise<T> {
  const half = `${path}.${process.pid}.half`
  try {
    const result = await make(half)
    await rename(half, path)
    return result
  } finally {
    await rm(half, { force: true })
  }
}

export const writeWhole = (path: string, content: string | Uint8Array): Promise<void> =>
  makeWhole(path, (half) => writeFile(half, content))
