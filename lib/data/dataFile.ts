/** Files of rows: what may be said about them, and what can be refused before any reader opens them. */
import { open, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'

export type FileFormat = 'csv' | 'parquet' | 'jsonl'

export interface DataFile {
  /** One file, or several with the same columns that are read one after the other. */
  readonly path: string | readonly string[]
  /** By default from the name: .csv, .tsv, .parquet, .jsonl or .ndjson; text may end in .gz as well. */
  readonly format?: FileFormat
  /** CSV: whether the first line holds names; true by default, false where `names` are given. */
  readonly header?: boolean
  /** CSV without a header: a name per column. */
  readonly names?: readonly string[]
  /** CSV: one character between values; a comma by default, a tab for .tsv. */
  readonly delimiter?: string
  /** CSV: leave out blanks around a value. */
  readonly trim?: boolean
  /** CSV: texts that stand for null; by default the empty text. */
  readonly nulls?: readonly string[]
}

/** A file or files checked and completed: plain data that crosses to the reading thread. */
export interface ResolvedFile {
  /** As the caller wrote them, for messages. */
  readonly shown: readonly string[]
  readonly paths: readonly string[]
  readonly format: FileFormat
  readonly gzip: boolean
  readonly header: boolean
  readonly names: readonly string[] | null
  readonly delimiter: string
  readonly trim: boolean
  readonly nulls: readonly string[]
}

const FORMATS: Readonly<Record<string, FileFormat>> = {
  csv: 'csv',
  tsv: 'csv',
  parquet: 'parquet',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
}

const PARQUET_MAGIC = 'PAR1'
/** Head, footer length and tail of the smallest Parquet file. */
const LEAST_PARQUET = 12

/** Completes and checks a description, and looks at the first bytes. Throws KAIROS_ARGUMENT or KAIROS_DATA. */
export async function resolveFile(op: string, file: string | DataFile): Promise<ResolvedFile> {
  const given: DataFile = typeof file === 'string' ? { path: file } : file
  const shown = typeof given.path === 'string' ? [given.path] : given.path
  const [first] = shown
  if (first === undefined) throw argumentError(op, 'path', 'at least one file', 'an empty list')
  const { format, gzip, tabs } = formatOf(op, first, given.format)
  for (const path of shown.slice(1)) {
    const other = formatOf(op, path, given.format)
    if (other.format !== format || other.gzip !== gzip)
      throw argumentError(op, 'path', `files of one format, ${format}${gzip ? '.gz' : ''}`, path)
  }
  const { names, delimiter = tabs ? '\t' : ',', trim = false, nulls = [''], header = names === undefined } = given
  checkText(op, given, format, header)
  if (delimiter.length !== 1 || /["\r\n]/.test(delimiter))
    throw argumentError(op, 'delimiter', 'one character, not a quote or the end of a line', JSON.stringify(delimiter))
  const paths = shown.map((path) => resolve(path))
  for (const [i, path] of paths.entries()) await inspect(op, path, shown[i] as string, format, gzip)
  return { shown, paths, format, gzip, header, names: names ?? null, delimiter, trim, nulls }
}

function formatOf(op: string, path: string, given: FileFormat | undefined) {
  const gzip = path.toLowerCase().endsWith('.gz')
  const ending = (gzip ? path.slice(0, -3) : path).toLowerCase().split('.').at(-1) as string
  const format = given ?? FORMATS[ending]
  if (format === undefined || !Object.values(FORMATS).includes(format)) {
    const endings = '.csv, .tsv, .parquet, .jsonl or .ndjson, or format given'
    throw argumentError(op, 'path', `a file that ends in ${endings}`, given === undefined ? `'${path}'` : `'${given}'`)
  }
  if (gzip && format === 'parquet') {
    throw argumentError(op, 'path', 'a Parquet file as it is: its columns are compressed already', `'${path}'`)
  }
  return { format, gzip, tabs: ending === 'tsv' }
}

function checkText(op: string, file: DataFile, format: FileFormat, header: boolean): void {
  for (const option of ['header', 'names', 'delimiter', 'trim', 'nulls'] as const) {
    if (format !== 'csv' && file[option] !== undefined)
      throw argumentError(op, option, `left out for ${format}: it is about CSV`, JSON.stringify(file[option]))
  }
  if (format !== 'csv') return
  if (header && file.names !== undefined)
    throw argumentError(op, 'names', 'left out beside header: true', JSON.stringify(file.names))
  if (!header && file.names === undefined)
    throw new KairosError('KAIROS_MISSING', {
      op,
      argument: 'names',
      expected: 'a name per column beside header: false',
      got: 'none',
    })
  const twice = file.names?.find((name, i) => file.names?.indexOf(name) !== i)
  if (twice !== undefined)
    throw new KairosError('KAIROS_DUPLICATE', {
      op,
      argument: 'names',
      expected: 'different names',
      got: `'${twice}' twice`,
    })
}

async function inspect(op: string, path: string, shown: string, format: FileFormat, gzip: boolean): Promise<void> {
  let head: Buffer
  let tail: Buffer
  let size: number
  try {
    const found = await stat(path)
    if (found.isDirectory()) throw dataError(op, shown, `a ${format} file`, 'a directory', 'Name the files inside it')
    if (!found.isFile()) throw dataError(op, shown, `a ${format} file`, 'something that is not a file')
    size = found.size
    const file = await open(path)
    try {
      head = (await file.read(Buffer.alloc(4), 0, 4, 0)).buffer
      tail = (await file.read(Buffer.alloc(4), 0, 4, Math.max(0, size - 4))).buffer
    } finally {
      await file.close()
    }
  } catch (error) {
    throw unreadable(op, shown, format, error)
  }
  if (size === 0) throw dataError(op, shown, 'at least one row', 'an empty file')
  if (gzip && !(head[0] === 0x1f && head[1] === 0x8b))
    throw dataError(op, shown, 'gzip data', `the bytes ${hex(head)}`, 'Rename it if it is not compressed')
  if (format === 'parquet') {
    if (head.toString('latin1') !== PARQUET_MAGIC)
      throw dataError(op, shown, `a Parquet file, which begins with ${PARQUET_MAGIC}`, `the bytes ${hex(head)}`)
    if (size < LEAST_PARQUET || tail.toString('latin1') !== PARQUET_MAGIC)
      throw dataError(op, shown, `a whole Parquet file, which ends in ${PARQUET_MAGIC}`, 'a truncated one')
  } else if (!gzip) {
    checkEncoding(op, shown, head)
  }
}

/** Refuses text whose first bytes say that it is not UTF-8. */
export function checkEncoding(op: string, shown: string, head: Uint8Array): void {
  const [a, b] = head
  const hint = 'Save it as UTF-8'
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff))
    throw dataError(op, shown, 'text in UTF-8', 'a byte order mark of UTF-16', hint)
  if (a === 0x1f && b === 0x8b) throw dataError(op, shown, 'text', 'gzip data', 'Rename it so that it ends in .gz')
  if (a === 0 || b === 0) throw dataError(op, shown, 'text in UTF-8', 'NUL bytes, as UTF-16 or a binary file has', hint)
}

/** Failures of the file system, as sentences; our own errors pass. */
function unreadable(op: string, shown: string, format: FileFormat, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || error instanceof KairosError) return error
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    ENOTDIR: 'no such file',
    EACCES: 'no permission to read it',
    EPERM: 'no permission to read it',
  }
  const got = reasons[String(error.code)] ?? error.message
  return new KairosError(
    'KAIROS_DATA',
    { op, argument: shown, expected: `a readable ${format} file`, got },
    { cause: error },
  )
}

const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')

export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

export const dataError = (op: string, argument: string, expected: string, got: string, hint?: string): KairosError =>
  new KairosError('KAIROS_DATA', { op, argument, expected, got, ...(hint ? { hint } : {}) })

const argumentError = (op: string, argument: string, expected: string, got: string): KairosError =>
  new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got })

/** The error for a column that a file does not have. */
export function missingColumn(op: string, shown: string, column: string, present: readonly string[]): KairosError {
  // Among names of a letter or two every one is near.
  const near = column.length > 2 ? nearest(column, present) : undefined
  const listed = present.length > 12 ? `${present.slice(0, 12).join(', ')}, ...` : present.join(', ')
  return new KairosError('KAIROS_DATA', {
    op,
    argument: shown,
    expected: `a column '${column}'`,
    got: plural(present.length, 'other'),
    hint: near === undefined ? `There are ${listed}` : `Did you mean '${near}'?`,
  })
}
