/**
 * Reads interaction sequences from text: one user a line, `user item item ...`, oldest item first, ids separated by
 * spaces or tabs. Blank lines, CRLF and a UTF-8 byte order mark are accepted.
 *
 * Bytes are parsed as they arrive, in slices well under a millisecond, so a large file neither blocks the event loop nor
 * ever stands in memory as text.
 */
import { open } from 'node:fs/promises'
import { KairosError } from '../core/errors.js'
import { type SequenceOptions, SequenceParser, type Sequences } from './sequenceParser.js'
import { createTimeSlice } from './timeSlice.js'

export type { SequenceOptions, Sequences } from './sequenceParser.js'

/** Bytes per read, and per look at the clock. */
const CHUNK = 65536
const SLICE = 2048

/** Throws KAIROS_DATA, naming file, line and token, on anything that is not such a text. */
export async function readSequences(path: string, options: SequenceOptions = {}): Promise<Sequences> {
  const parser = new SequenceParser(path, options)
  const pauseWhenDue = createTimeSlice()
  try {
    const file = await open(path)
    try {
      const chunk = new Uint8Array(CHUNK)
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, CHUNK, null)
        if (bytesRead === 0) break
        for (let start = 0; start < bytesRead; start += SLICE) {
          parser.push(chunk.subarray(start, Math.min(start + SLICE, bytesRead)))
          const pause = pauseWhenDue()
          if (pause) await pause
        }
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    throw unreadable(path, error)
  }
  return parser.finish(pauseWhenDue)
}

/** `user item item ...` lines from a string: for tests and small examples. */
export async function parseSequences(text: string, options: SequenceOptions = {}): Promise<Sequences> {
  const parser = new SequenceParser('text', options)
  parser.push(new TextEncoder().encode(text))
  return parser.finish(createTimeSlice())
}

/** Failures of the file system, as sentences; our own errors pass. */
function unreadable(path: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || error instanceof KairosError) return error
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    ENOTDIR: 'no such file',
    EISDIR: 'a directory',
    EACCES: 'no permission to read it',
  }
  return new KairosError(
    'KAIROS_DATA',
    {
      op: 'readSequences',
      argument: path,
      expected: 'a readable text file of `user item item ...` lines',
      got: reasons[String(error.code)] ?? error.message,
    },
    { cause: error },
  )
}
