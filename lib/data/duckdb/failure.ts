/** Failures of DuckDB's readers, in our words: which line of which file, what was expected, what came. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import type { KairosError } from '../../core/errors.js'
import { dataError, plural, type ResolvedFile } from '../dataFile.js'

export async function explainFailure(
  op: string,
  file: ResolvedFile,
  types: ReadonlyMap<string, string>,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof Error)) return error
  const { message } = error
  const which = file.paths.findIndex((path) => message.includes(path))
  const shown = file.shown[Math.max(0, which)] as string
  const path = file.paths[Math.max(0, which)] as string
  const explained =
    (file.format === 'csv' && (explainCsv(op, shown, message) ?? (await explainText(op, shown, path, file.gzip)))) ||
    (file.format === 'jsonl' && (await explainJson(op, shown, path, file.gzip, types))) ||
    dataError(op, shown, `a readable ${file.format} file`, firstLine(message, path, shown))
  explained.cause = error
  return explained
}

const firstLine = (message: string, path: string, shown: string): string =>
  (message.split('\n')[0] as string)
    .replaceAll(path, shown)
    .replace(/^[A-Za-z ]+Error: /, '')
    .replace(/ in file ['"].*?['"]/, '')
    .replace(/\.?\s*$/, '')

function explainCsv(op: string, shown: string, message: string): KairosError | undefined {
  const line = /CSV Error on Line: (\d+)/.exec(message)?.[1]
  const place = line === undefined ? shown : `${shown}, line ${line}`
  const counts = /Expected Number of Columns: (\d+) Found: (\d+)/.exec(message)
  if (counts) return dataError(op, place, plural(Number(counts[1]), 'value'), `${counts[2]}`)
  if (/Invalid unicode|not utf-8/i.test(message))
    return dataError(op, place, 'text in UTF-8', 'other bytes', 'Save it as UTF-8')
  if (/unterminated quote|quote/i.test(message.split('Possible')[0] as string))
    return dataError(op, place, 'every " in a quoted value doubled, and its end quoted', 'an unfinished quote')
  if (/Maximum line size|max_line_size/i.test(message.split('Possible')[0] as string))
    return dataError(op, place, 'lines of at most 2 MB', 'a longer one', 'A quote may be left open')
  if (/invalid state/i.test(message))
    return dataError(op, place, 'CSV whose lines all end alike, in LF or in CR LF', 'different ends, or a stray quote')
  return undefined
}

/** Lines of a file one after the other; undefined where one is not UTF-8. */
async function* linesOf(path: string, gzip: boolean): AsyncGenerator<string | undefined> {
  const bytes = createReadStream(path)
  const input = gzip ? bytes.pipe(createGunzip()) : bytes
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    // As latin1 a line is its bytes, so that broken UTF-8 is seen rather than replaced.
    input.setEncoding('latin1')
    for await (const raw of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      let text: string | undefined
      try {
        text = decoder.decode(Buffer.from(raw, 'latin1'))
      } catch {}
      yield text
    }
  } finally {
    bytes.destroy()
  }
}

const notUtf8 = (op: string, place: string): KairosError =>
  dataError(op, place, 'text in UTF-8', 'other bytes', 'Save it as UTF-8')

async function explainText(op: string, shown: string, path: string, gzip: boolean): Promise<KairosError | undefined> {
  let line = 0
  for await (const text of linesOf(path, gzip)) {
    line++
    if (text === undefined) return notUtf8(op, `${shown}, line ${line}`)
  }
  return undefined
}

/** The first line that is no object, or holds no list where one is read: DuckDB's own line numbers are not reliable. */
export async function explainJson(
  op: string,
  shown: string,
  path: string,
  gzip: boolean,
  types: ReadonlyMap<string, string>,
): Promise<KairosError | undefined> {
  let line = 0
  let rows = 0
  for await (const text of linesOf(path, gzip)) {
    line++
    const place = `${shown}, line ${line}`
    if (text === undefined) return notUtf8(op, place)
    if (text.startsWith('\ufeff'))
      return dataError(op, place, 'no byte order mark', 'one', 'Save it as UTF-8 without one')
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return dataError(op, place, 'a JSON object', `'${text.length > 60 ? `${text.slice(0, 60)}...` : text}'`)
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return dataError(op, place, 'a JSON object', Array.isArray(value) ? 'an array' : JSON.stringify(value))
    for (const [name, type] of types) {
      const item = (value as Record<string, unknown>)[name] ?? null
      if (type.endsWith('[]') && item !== null && !Array.isArray(item))
        return dataError(op, `${place}, column '${name}'`, 'a list', JSON.stringify(item).slice(0, 60))
    }
    rows++
  }
  return rows === 0 ? dataError(op, shown, 'at least one row', 'none') : undefined
}
