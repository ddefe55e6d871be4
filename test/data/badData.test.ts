/** Everything that can be wrong with data, and exactly what is said about it. `FILE` stands for the path. */
import { chmod, mkdir, readdir, readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import {
  categorical,
  type DataFile,
  defineSchema,
  dense,
  domain,
  type Encoding,
  type Features,
  fileBatches,
  groupId,
  isKairosError,
  label,
  loadEncoding,
  numeric,
  readDataset,
  saveEncoding,
  sequence,
  time,
} from '../../lib/index.js'
import { refusalOf, temporaryFolder } from './support.js'

const files = temporaryFolder()

interface Case {
  readonly what: string
  readonly name: string
  readonly content?: string | Uint8Array
  /** Or a query whose rows become a Parquet file. */
  readonly query?: string
  readonly features: Features
  readonly options?: Omit<DataFile, 'path'>
  readonly encoding?: Encoding
  /** Turns over the bits of the byte there. */
  readonly damage?: number
  readonly message: string
}

const x = { x: numeric() }
const ids = { id: categorical({ size: 10 }) }
const list = { h: sequence({ size: 10 }) }

const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')
const swapped = (text: string) => Buffer.from(utf16(text)).swap16()
const long = gzipSync(Array.from({ length: 9000 }, (_, i) => (i * 7919) % 1009).join('\n'))
const flipped = (bytes: Uint8Array, at: number) => Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 0xff : byte))

const csv = (
  what: string,
  content: string | Uint8Array,
  features: Features,
  message: string,
  more: Partial<Case> = {},
): Case => ({
  what,
  name: 'bad.csv',
  content,
  features,
  message,
  ...more,
})
const parquet = (what: string, query: string, features: Features, message: string, more: Partial<Case> = {}): Case => ({
  what,
  name: 'bad.parquet',
  query,
  features,
  message,
  ...more,
})
const json = (what: string, content: string | Uint8Array, features: Features, message: string): Case => ({
  what,
  name: 'bad.jsonl',
  content,
  features,
  message,
})

const cases: Case[] = [
  // Files
  csv('an empty file', '', x, 'FILE should be at least one row but got an empty file'),
  csv('a header alone', 'x\n', x, 'FILE should be at least one row but got none'),
  csv('blank lines', '\n\n\n', x, 'FILE, line 1 should be the names of the columns but got a blank line'),
  csv(
    'blank lines without names',
    '\n\n',
    { x: numeric(), y: label() },
    'FILE, line 1 should be a row but got a blank line',
    { options: { names: ['x', 'y'] } },
  ),
  json('blank lines of JSON', '\n\n', x, 'FILE should be at least one row but got none'),
  parquet('Parquet without rows', 'select 1 as x where false', x, 'FILE should be at least one row but got none'),
  {
    what: 'an unknown ending',
    name: 'bad.xlsx',
    content: 'x',
    features: x,
    message:
      "path should be a file that ends in .csv, .tsv, .parquet, .jsonl or .ndjson, or format given but got 'FILE'",
  },
  {
    what: 'compressed Parquet',
    name: 'bad.parquet.gz',
    content: 'x',
    features: x,
    message: "path should be a Parquet file as it is: its columns are compressed already but got 'FILE'",
  },
  csv('CSV options for Parquet', 'x', x, 'trim should be left out for parquet: it is about CSV but got true', {
    name: 'bad.parquet',
    options: { trim: true },
  }),
  csv(
    'a long delimiter',
    'x\n1\n',
    x,
    'delimiter should be one character, not a quote or the end of a line but got "||"',
    { options: { delimiter: '||' } },
  ),
  // Columns
  csv(
    'a column that is missing, nearly there',
    'user_id,X\n1,2\n',
    { userid: groupId() },
    "FILE should be a column 'userid' but got 2 others. Did you mean 'user_id'?",
  ),
  csv(
    'a column that is missing',
    'a,b\n1,2\n',
    { clicks: label() },
    "FILE should be a column 'clicks' but got 2 others. There are a, b",
  ),
  csv('a name twice', 'x,y,x\n1,2,3\n', x, "FILE, header should be different names but got 'x' twice"),
  csv('a column without a name', 'x,,z\n1,2,3\n', x, 'FILE, header, column 2 should be a name but got an empty text'),
  csv('other numbers of names', '1,2\n', x, 'FILE, line 1 should be 1 value but got 2. A name is given for each', {
    options: { names: ['x'] },
  }),
  csv('names twice', '1,2\n', x, "names should be different names but got 'x' twice", {
    options: { names: ['x', 'x'] },
  }),
  csv('no names', '1,2\n', x, 'names should be a name per column beside header: false but got none', {
    options: { header: false },
  }),
  parquet(
    'a Parquet column that is missing',
    'select 1 as y',
    x,
    "FILE should be a column 'x' but got 1 other. There are y",
  ),
  json(
    'a JSON column that is missing',
    '{"y":1}\n{"z":2}\n',
    x,
    "FILE should be a column 'x' but got 2 others. There are y, z",
  ),
  // Numbers
  csv('text for a number', 'x\n1\nabc\n', x, "FILE, row 2, column 'x' should be a finite float32 but got 'abc'"),
  csv('a comma for a point', 'x\n"1,5"\n', x, "FILE, row 1, column 'x' should be a finite float32 but got '1,5'"),
  csv('NaN', 'x\n1\n2\nNaN\n', x, "FILE, row 3, column 'x' should be a finite float32 but got 'NaN'"),
  csv('infinity', 'x\n-inf\n', x, "FILE, row 1, column 'x' should be a finite float32 but got '-inf'"),
  csv('more than float32', 'x\n1e39\n', x, "FILE, row 1, column 'x' should be a finite float32 but got '1e39'"),
  csv(
    'null where it is an error',
    'x,y\n1,1\n,2\n',
    { x: numeric({ nulls: 'error' }) },
    "FILE, row 2, column 'x' should be a finite float32 but got null",
  ),
  parquet(
    'NaN in Parquet',
    "select * from (values (1.0::double), ('nan'::double)) t(x)",
    x,
    "FILE, row 2, column 'x' should be a finite float32 but got 'nan'",
  ),
  parquet(
    'text in Parquet for a number',
    "select '1' as x",
    x,
    "FILE, column 'x' should be a column of numbers for numeric 'x' but got VARCHAR",
  ),
  parquet(
    'a date for a number',
    "select date '2024-01-01' as x",
    x,
    "FILE, column 'x' should be a column of numbers for numeric 'x' but got DATE",
  ),
  // Ids
  csv('a negative id', 'id\n3\n-1\n', ids, "FILE, row 2, column 'id' should be an integer from 0 to 9 but got '-1'"),
  csv(
    'an id past the table',
    'id\n10\n',
    ids,
    "FILE, row 1, column 'id' should be an integer from 0 to 9 but got '10'",
  ),
  csv(
    'an id beyond int32',
    'id\n4294967297\n',
    ids,
    "FILE, row 1, column 'id' should be an integer from 0 to 9 but got '4294967297'",
  ),
  csv(
    'an id with a fraction',
    'id\n1.5\n',
    ids,
    "FILE, row 1, column 'id' should be an integer from 0 to 9 but got '1.5'",
  ),
  csv('a null id', 'id,b\n1,1\n,1\n', ids, "FILE, row 2, column 'id' should be an integer from 0 to 9 but got null"),
  parquet(
    'an id beyond int32 in Parquet',
    'select * from (values (3::bigint), (4294967297)) t(id)',
    ids,
    "FILE, row 2, column 'id' should be an integer from 0 to 9 but got '4294967297'",
  ),
  parquet(
    'text ids in Parquet',
    "select 'a' as id",
    ids,
    "FILE, column 'id' should be a column of ids for categorical 'id' but got VARCHAR",
  ),
  parquet(
    'a list for a single value',
    'select [1] as c',
    { c: categorical() },
    "FILE, column 'c' should be a column of single values for categorical 'c' but got INTEGER[]",
  ),
  parquet(
    'a structure for a single value',
    "select {'a': 1} as c",
    { c: categorical() },
    "FILE, column 'c' should be a column of single values for categorical 'c' but got STRUCT(a INTEGER)",
  ),
  // Lists
  parquet(
    'a negative id in a list',
    'select * from (values ([1, 2]), ([]), ([3, -4])) t(h)',
    list,
    "FILE, row 3, column 'h' should be integers from 0 to 9 but got '[3, -4]'",
  ),
  parquet(
    'a huge id in a list',
    'select [5, 3000000000] as h',
    list,
    "FILE, row 1, column 'h' should be integers from 0 to 9 but got '[5, 3000000000]'",
  ),
  parquet(
    'a single value for a list',
    'select 5 as h',
    list,
    "FILE, column 'h' should be a column of lists for sequence 'h' but got INTEGER",
  ),
  parquet(
    'lists of lists',
    'select [[5]] as h',
    list,
    "FILE, column 'h' should be a column of lists of numbers for sequence 'h' but got INTEGER[][]",
  ),
  csv(
    'text in a list of ids',
    'h\n1 2\n1 b 3\n',
    list,
    "FILE, row 2, column 'h' should be integers from 0 to 9 but got '1 b 3'",
  ),
  json(
    'a single value for a JSON list',
    '{"h":[1]}\n{"h":5}\n',
    list,
    "FILE, line 2, column 'h' should be a list but got 5",
  ),
  json(
    'text in a JSON list of ids',
    '{"h":[1]}\n{"h":[2,"z"]}\n',
    list,
    "FILE, row 2, column 'h' should be integers from 0 to 9 but got '[2, z]'",
  ),
  // Dense vectors
  parquet(
    'a vector of another width',
    'select * from (values ([1.0, 2.0]), ([1.0])) t(v)',
    { v: dense(2) },
    "FILE, row 2, column 'v' should be 2 numbers but got 1",
  ),
  parquet(
    'a null in a vector',
    'select [1.0, null] as v',
    { v: dense(2) },
    "FILE, row 1, column 'v' should be 2 finite float32 but got '[1.0, NULL]'",
  ),
  csv('a missing vector', 'v,b\n,1\n', { v: dense(2) }, "FILE, row 1, column 'v' should be 2 numbers but got 0"),
  csv(
    'text in a vector',
    'v\n1 x\n',
    { v: dense(2) },
    "FILE, row 1, column 'v' should be 2 finite float32 but got '1 x'",
  ),
  // Labels, groups, times, domains
  csv(
    'a label outside 0 and 1',
    'y\n1\n2\n',
    { y: label() },
    "FILE, row 2, column 'y' should be 0 or 1 but got '2'. Other numbers are labels with label({ real: true })",
  ),
  csv(
    'a label that is text',
    'y\nclick\n',
    { y: label() },
    "FILE, row 1, column 'y' should be 0 or 1 but got 'click'. Other numbers are labels with label({ real: true })",
  ),
  csv('a null label', 'y,b\n,1\n', { y: label() }, "FILE, row 1, column 'y' should be 0 or 1 but got null"),
  csv(
    'a label that is not finite',
    'y\ninf\n',
    { y: label({ real: true }) },
    "FILE, row 1, column 'y' should be a finite float32 but got 'inf'",
  ),
  csv(
    'a group that is text',
    'u\nanna\n',
    { u: groupId() },
    "FILE, row 1, column 'u' should be an int32 but got 'anna'. Ids that are no int32 are text: groupId({ text: true })",
  ),
  csv(
    'a group beyond int32',
    'u\n2147483648\n',
    { u: groupId() },
    "FILE, row 1, column 'u' should be an int32 but got '2147483648'. Ids that are no int32 are text: groupId({ text: true })",
  ),
  csv(
    'a null group',
    'u,b\n,1\n',
    { u: groupId({ text: true }) },
    "FILE, row 1, column 'u' should be an int32 but got null",
  ),
  csv(
    'a date that does not parse',
    'at\n2024-05-01\n2024-13-01\n',
    { at: time() },
    "FILE, row 2, column 'at' should be a date, or a number of at most 2^53 but got '2024-13-01'",
  ),
  csv(
    'a null time',
    'at,b\n,1\n',
    { at: time() },
    "FILE, row 1, column 'at' should be a date, or a number of at most 2^53 but got null",
  ),
  csv(
    'a time beyond 2^53',
    'at\n1e17\n',
    { at: time() },
    "FILE, row 1, column 'at' should be a date, or a number of at most 2^53 but got '1e17'",
  ),
  csv(
    'a value of no domain',
    'd\nweb\ntv\n',
    { d: domain(['phone', 'web']) },
    "FILE, row 2, column 'd' should be one of phone, web but got 'tv'",
  ),
  csv(
    'a null domain',
    'd,b\n,1\n',
    { d: domain(['phone', 'web']) },
    "FILE, row 1, column 'd' should be one of phone, web but got null",
  ),
  // Text
  csv(
    'UTF-16',
    utf16('x\n1\n'),
    x,
    'FILE should be text in UTF-8 but got a byte order mark of UTF-16. Save it as UTF-8',
  ),
  csv(
    'UTF-16, the other way round',
    swapped('x\n1\n'),
    x,
    'FILE should be text in UTF-8 but got a byte order mark of UTF-16. Save it as UTF-8',
  ),
  csv(
    'UTF-16 without a mark',
    Buffer.from('x\n1\n', 'utf16le'),
    x,
    'FILE should be text in UTF-8 but got NUL bytes, as UTF-16 or a binary file has. Save it as UTF-8',
  ),
  csv(
    'bytes that are not UTF-8',
    Buffer.from('x,c\n1,a\n2,\xff\n', 'latin1'),
    { x: numeric(), c: categorical() },
    'FILE, line 3 should be text in UTF-8 but got other bytes. Save it as UTF-8',
  ),
  csv('too few values', 'x,y\n1,2\n3\n', x, 'FILE, line 3 should be 2 values but got 1'),
  csv('too many values', 'x,y\n1,2\n3,4,5\n', x, 'FILE, line 3 should be 2 values but got 3'),
  csv(
    'a quote left open',
    'x,y\n1,"2\n3,4\n',
    x,
    'FILE, line 2 should be every " in a quoted value doubled, and its end quoted but got an unfinished quote',
  ),
  csv(
    'different ends of lines',
    'x,y\n1,2\r\n3,4\n',
    x,
    'FILE should be CSV whose lines all end alike, in LF or in CR LF but got different ends, or a stray quote',
  ),
  csv(
    'a line without end',
    `x,y\n1,${'z'.repeat(3e6)}\n`,
    x,
    'FILE, line 2 should be lines of at most 2 MB but got a longer one. A quote may be left open',
  ),
  json('a broken JSON line', '{"x":1}\n{"x":2\n{"x":3}\n', x, `FILE, line 2 should be a JSON object but got '{"x":2'`),
  json('a JSON line that is no object', '{"x":1}\n7\n', x, 'FILE, line 2 should be a JSON object but got 7'),
  json(
    'bytes of JSON that are not UTF-8',
    Buffer.from('{"x":1}\n{"x":"\xff"}\n', 'latin1'),
    x,
    'FILE, line 2 should be text in UTF-8 but got other bytes. Save it as UTF-8',
  ),
  json(
    'a byte order mark before JSON',
    '\ufeff{"x":1}\n',
    x,
    'FILE, line 1 should be no byte order mark but got one. Save it as UTF-8 without one',
  ),
  // Compression and Parquet
  csv(
    'gzip that is none',
    'x\n1\n',
    x,
    'FILE should be gzip data but got the bytes 78 0a 31 0a. Rename it if it is not compressed',
    { name: 'bad.csv.gz' },
  ),
  csv(
    'gzip by another name',
    gzipSync('x\n1\n'),
    x,
    'FILE should be text but got gzip data. Rename it so that it ends in .gz',
  ),
  csv(
    'gzip that is cut off',
    long.subarray(0, long.length / 2),
    x,
    'FILE should be whole gzip data but got unexpected end of file',
    { name: 'bad.csv.gz' },
  ),
  csv(
    'gzip that is damaged',
    flipped(long, long.length - 6),
    x,
    'FILE should be whole gzip data but got incorrect data check',
    { name: 'bad.csv.gz' },
  ),
  csv('gzip of nothing', gzipSync(''), x, 'FILE should be at least one row but got an empty file, compressed', {
    name: 'bad.csv.gz',
  }),
  csv(
    'UTF-16 in gzip',
    gzipSync(utf16('x\n1\n')),
    x,
    'FILE should be text in UTF-8 but got a byte order mark of UTF-16. Save it as UTF-8',
    { name: 'bad.csv.gz' },
  ),
  csv(
    'CSV by the name of Parquet',
    'x\n1\n',
    x,
    'FILE should be a Parquet file, which begins with PAR1 but got the bytes 78 0a 31 0a',
    { name: 'bad.parquet' },
  ),
  csv(
    'Parquet that is cut off',
    `PAR1${'-'.repeat(50)}`,
    x,
    'FILE should be a whole Parquet file, which ends in PAR1 but got a truncated one',
    { name: 'bad.parquet' },
  ),
  csv(
    'Parquet with a damaged footer',
    `PAR1${'-'.repeat(50)}PAR1`,
    x,
    'FILE should be a readable parquet file but got Footer length error',
    { name: 'bad.parquet' },
  ),
  parquet(
    'Parquet with a damaged page',
    'select i::integer * 7919 % 10007 as x from range(50000) t(i)',
    x,
    "FILE should be a readable parquet file but got don't know what type: \u000f",
    {
      damage: 8,
    },
  ),
  // Encodings
  csv('a vocabulary that is missing', 'c\na\n', { c: categorical() }, "encoding should be a vocabulary 'c' but got d", {
    encoding: { vocabularies: { d: [] }, scales: {} },
  }),
  csv(
    'a scale that is missing',
    'x\n1\n',
    { x: numeric({ standardise: true }) },
    "encoding should be a scale of 'x' but got none",
    {
      encoding: { vocabularies: {}, scales: {} },
    },
  ),
]

async function failureOf({ name, content, query, damage, features, options, encoding }: Case, number: number) {
  const own = `${number}-${name}`
  const path = query === undefined ? await files.write(own, content ?? '') : await files.parquet(own, query)
  if (damage !== undefined) await files.write(own, flipped(await readFile(path), damage))
  const reading = readDataset({ path, ...options }, defineSchema(features), encoding ? { encoding } : {})
  const error = await reading.then(
    () => new Error('it was read'),
    (error: Error) => error,
  )
  expect(isKairosError(error), error.stack).toBe(true)
  return error.message.replaceAll(path, 'FILE').replace(/^readDataset: /, '')
}

describe('a file is refused for', () => {
  it.each(cases.map((one, number) => [one.what, one, number] as const))('%s', async (_, one, number) => {
    expect(await failureOf(one, number)).toBe(one.message)
  })
})

describe('a path is refused when it is', () => {
  const schema = defineSchema(x)

  it('nothing, a folder, or no file', async () => {
    const missing = files.path('missing.csv')
    expect(await refusalOf(readDataset(missing, schema))).toBe(
      `readDataset: ${missing} should be a readable csv file but got no such file`,
    )
    const folder = files.path('folder.parquet')
    await mkdir(folder)
    expect(await refusalOf(readDataset(folder, schema))).toBe(
      `readDataset: ${folder} should be a parquet file but got a directory. Name the files inside it`,
    )
    expect(await refusalOf(readDataset({ path: '/dev/null', format: 'csv' }, schema))).toBe(
      'readDataset: /dev/null should be a csv file but got something that is not a file',
    )
    expect(await refusalOf(readDataset({ path: [] }, schema))).toBe(
      'readDataset: path should be at least one file but got an empty list',
    )
  })

  it.skipIf(process.getuid?.() === 0)('not ours to read', async () => {
    const path = await files.write('secret.csv', 'x\n1\n')
    await chmod(path, 0o000)
    expect(await refusalOf(readDataset(path, schema))).toBe(
      `readDataset: ${path} should be a readable csv file but got no permission to read it`,
    )
  })

  it('one of several that differ', async () => {
    const a = await files.write('a.csv', 'x,y\n1,2\n')
    const b = await files.write('b.csv', 'y,x\n1,2\n')
    expect(await refusalOf(readDataset({ path: [a, b] }, schema))).toBe(
      `readDataset: ${b} should be the columns of ${a}, in that order but got y, x`,
    )
    const c = await files.write('c.csv', 'x,y\n1,2\n5,6\nno,3\n')
    expect(await refusalOf(readDataset({ path: [a, c] }, schema))).toBe(
      `readDataset: ${c}, row 3, column 'x' should be a finite float32 but got 'no'`,
    )
    const whole = await files.parquet('whole.parquet', 'select 1::integer as x')
    const wide = await files.parquet('wide.parquet', 'select 1::double as x')
    expect(await refusalOf(readDataset({ path: [whole, wide] }, schema))).toBe(
      `readDataset: ${wide}, column 'x' should be INTEGER, as in ${whole} but got DOUBLE`,
    )
    expect(await refusalOf(readDataset({ path: [a, whole] }, schema))).toBe(
      `readDataset: path should be files of one format, csv but got ${whole}`,
    )
  })
})

describe('batches of a file', () => {
  it('end with the error of the row that is wrong, after the batches before it', async () => {
    const path = await files.write('late.csv', `x\n${'1\n'.repeat(20_000)}bad\n`)
    const schema = defineSchema(x)
    const source = await fileBatches(path, schema, { batchSize: 64, encoding: { vocabularies: {}, scales: {} } })
    let batches = 0
    const reading = (async () => {
      for await (const _ of source.batches(0)) batches++
    })()
    expect(await refusalOf(reading)).toBe(
      `fileBatches: ${path}, row 20001, column 'x' should be a finite float32 but got 'bad'`,
    )
    expect(batches).toBe(16384 / 64)
  })

  it('say when the file has changed', async () => {
    const path = await files.write('changing.csv', 'x\n1\n2\n')
    const source = await fileBatches(path, defineSchema(x), {
      batchSize: 1,
      encoding: { vocabularies: {}, scales: {} },
    })
    const drain = async () => {
      for await (const _ of source.batches(0));
    }
    await files.write('changing.csv', 'x\n1\n')
    expect(await refusalOf(drain())).toBe(`fileBatches: ${path} should be 2 rows, as when it was opened but got 1`)
    await files.write('changing.csv', 'x\n1\n2\n3\n')
    expect(await refusalOf(drain())).toBe(`fileBatches: ${path} should be 2 rows, as when it was opened but got more`)
  })

  it('need a bound for sequences', async () => {
    const path = await files.parquet('bound.parquet', 'select [1] as h')
    const open = fileBatches(path, defineSchema(list), { batchSize: 1, encoding: { vocabularies: {}, scales: {} } })
    expect(await refusalOf(open)).toBe(
      'fileBatches: h.maxLength should be given for a sequence that is read from a file in batches but got none',
    )
  })
})

it('nothing is left half-written: an encoding that cannot be saved leaves the old file and no other', async () => {
  const folder = files.path('models')
  await mkdir(folder)
  const path = `${folder}/encoding.json`
  const encoding = { vocabularies: { c: ['a'] }, scales: {} }
  await saveEncoding(encoding, path)
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  await expect(saveEncoding({ ...encoding, scales: cyclic as never }, path)).rejects.toThrow()
  expect(await readdir(folder)).toEqual(['encoding.json'])
  expect(await loadEncoding(path)).toEqual(encoding)
})
