/** The first line of a CSV, read by ourselves: DuckDB guesses at it, and renames what stands there twice. */
import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import type { ResolvedFile } from './dataFile.js'

/** Bytes of the longest first line. */
const LONGEST = 2 ** 21

const QUOTE = '"'

/** Values of the first line of a file, in quotes or not; undefined where it is longer than 2 MB. */
export async function readFirstLine(path: string, file: ResolvedFile): Promise<string[] | undefined> {
  const bytes = createReadStream(path)
  const input = file.gzip ? bytes.pipe(createGunzip()) : bytes
  const decoder = new TextDecoder('utf-8')
  let text = ''
  try {
    for await (const chunk of input) {
      text += decoder.decode(chunk as Uint8Array, { stream: true })
      const values = parseLine(text, file.delimiter, false)
      if (values) return values
      if (text.length > LONGEST) return undefined
    }
  } finally {
    bytes.destroy()
  }
  return parseLine(text, file.delimiter, true)
}

/** undefined: the line is not whole yet. */
export function parseLine(text: string, delimiter: string, ended: boolean): string[] | undefined {
  const values: string[] = []
  let value = ''
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string
    if (quoted) {
      if (character !== QUOTE) value += character
      else if (text[i + 1] === QUOTE) value += text[++i]
      else quoted = false
    } else if (character === QUOTE && value === '') {
      quoted = true
    } else if (character === delimiter) {
      values.push(value)
      value = ''
    } else if (character === '\n' || character === '\r') {
      return [...values, value]
    } else {
      value += character
    }
  }
  return ended ? [...values, value] : undefined
}
