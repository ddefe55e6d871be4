import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import {
  type AnyDataset,
  categorical,
  defineSchema,
  dense,
  domain,
  groupId,
  label,
  numeric,
  readDataset,
  sequence,
  time,
} from '../../lib/data/index.js'
import { temporaryFolder } from './support.js'

const files = temporaryFolder()

const plain = (data: AnyDataset) =>
  Object.fromEntries(
    Object.entries(data.columns).map(([name, { values, offsets, missing }]) => [
      name,
      offsets || missing
        ? { values: [...values], ...(offsets && { offsets: [...offsets] }), ...(missing && { missing: [...missing] }) }
        : [...values],
    ]),
  )

const schema = defineSchema({
  age: numeric(),
  work: categorical(),
  history: sequence('item', { maxLength: 3 }),
  item: categorical({ vocabulary: 'item' }),
  vec: dense(2),
  click: label(),
  user: groupId(),
  at: time(),
  device: domain(['phone', 'web']),
})

/**
 * Items: b 4 times, a and c twice, z once; ids 3, 4, 5, 6. The first row keeps the last three of its history; the last
 * has neither history nor work.
 */
const expected = {
  age: [1.5, 2, -3],
  work: [3, 4, 2],
  history: { values: [5, 3, 3, 4, 5], offsets: [0, 3, 5, 5] },
  item: [3, 6, 3],
  vec: [1, 2, 3, 4, 5, 6.5],
  click: [0, 1, 1],
  user: [7, 7, -9],
  at: [0, 1714521600, 1714557600.5],
  device: [1, 0, 1],
}

const csv = `age,extra,work,history,item,vec,click,user,at,device
1.5,-,x,a c b b,b,1 2,0,7,0,web
2,-,y,a  c,z,3 4,1,7,2024-05-01,phone
-3,-,,,b,5 6.5,1,-9,2024-05-01 10:00:00.5,web
`
const jsonl = `{"age":1.5,"work":"x","history":["a","c","b",null,"b"],"item":"b","vec":[1,2],"click":0,"user":7,"at":0,"device":"web"}
{"age":2,"work":"y","history":["a","c"],"item":"z","vec":[3,4],"click":true,"user":7,"at":"2024-05-01T00:00:00Z","device":"phone"}

{"age":-3,"history":null,"item":"b","vec":[5,6.5],"click":1,"user":-9,"at":1714557600.5,"device":"web"}
`

const parquet = `select * from (values
  (1.5::double, 'x', ['a', 'c', 'b', null, 'b'], 'b', [1, 2]::float[2], false, 7::bigint, timestamp '1970-01-01', 'web'),
  (2, 'y', ['a', 'c'], 'z', [3, 4], true, 7, timestamp '2024-05-01', 'phone'),
  (-3, null, null, 'b', [5, 6.5], true, -9, timestamp '2024-05-01 10:00:00.5', 'web')
) t(age, work, history, item, vec, click, "user", "at", device)`

describe('readDataset', () => {
  it.each([
    ['CSV', () => files.write('rows.csv', csv)],
    ['CSV with CR LF and a byte order mark', () => files.write('crlf.csv', `\ufeff${csv.replaceAll('\n', '\r\n')}`)],
    ['CSV, compressed', () => files.write('rows.csv.gz', gzipSync(csv))],
    ['tabs', () => files.write('rows.tsv', csv.replaceAll(',', '\t'))],
    ['JSON Lines', () => files.write('rows.jsonl', jsonl)],
    ['JSON Lines, compressed', () => files.write('rows.jsonl.gz', gzipSync(jsonl))],
    ['Parquet', () => files.parquet('rows.parquet', parquet)],
    ['a name with pattern characters', () => files.write('ro[w]s*?.csv', csv)],
    ['a name with a quote', () => files.write("ro'ws.csv", csv)],
  ])('reads %s', async (_, write) => {
    const data = await readDataset(await write(), schema)
    expect(data.rowCount).toBe(3)
    expect(plain(data)).toEqual(expected)
    expect(data.encoding.vocabularies).toEqual({ work: ['x', 'y'], item: ['b', 'a', 'c', 'z'] })
    expect(data.size('item')).toBe(7)
    expect(data.size('history')).toBe(7)
    expect(data.size('device')).toBe(2)
    expect(await data.report()).toEqual({
      age: { values: 3, unknown: 0, nulls: 0 },
      work: { values: 3, unknown: 0, nulls: 1 },
      history: { values: 5, unknown: 0, nulls: 0 },
      item: { values: 3, unknown: 0, nulls: 0 },
    })
  })

  it('reads several files one after the other', async () => {
    const lines = csv.trimEnd().split('\n')
    const first = await files.write('part-0.csv', `${lines.slice(0, 2).join('\n')}\n`)
    const second = await files.write('part-1.csv', `${[lines[0], ...lines.slice(2)].join('\n')}\n`)
    expect(plain(await readDataset({ path: [first, second] }, schema))).toEqual(expected)
  })

  it('takes names, a delimiter, blanks and texts for null', async () => {
    const path = await files.write('odd.csv', ' 1; ? ;0\n 2; b ;1\n?; b;0\n')
    const file = { path, names: ['n', 'c', 'y'], delimiter: ';', trim: true, nulls: ['?'] }
    const data = await readDataset(
      file,
      defineSchema({ amount: numeric({ column: 'n' }), c: categorical(), y: label() }),
    )
    expect(plain(data)).toEqual({ amount: { values: [1, 2, 0], missing: [0, 0, 1] }, c: [2, 3, 3], y: [0, 1, 0] })
  })

  it('gives values the ids of an encoding, and counts those that it lacks', async () => {
    const vocabularies = { item: ['c', 'b'], work: [] }
    const data = await readDataset(await files.write('known.csv', csv), schema, {
      encoding: { vocabularies, scales: {} },
    })
    expect(plain(data)).toMatchObject({
      work: [1, 1, 2],
      history: { values: [3, 4, 4, 1, 3], offsets: [0, 3, 5, 5] },
      item: [4, 1, 4],
    })
    expect(await data.report()).toMatchObject({
      work: { values: 3, unknown: 2, nulls: 1 },
      history: { values: 5, unknown: 1 },
      item: { values: 3, unknown: 1 },
    })
  })

  it('looks up integers that fit, far apart or close, and wider ones as text', async () => {
    const path = await files.parquet(
      'integers.parquet',
      `select * from (values
        (5::integer, [5, -2000000000, null, 2000000000], 9007199254740993::bigint, 3::utinyint),
        (-7, [], 9007199254740992, 3), (5, null, 9007199254740993, 4)) t(near, far, wide, small)`,
    )
    const wanted = { near: categorical(), far: sequence('far'), wide: categorical(), small: categorical({ size: 5 }) }
    const data = await readDataset(path, defineSchema(wanted))
    expect(data.encoding.vocabularies).toEqual({
      near: ['5', '-7'],
      far: ['-2000000000', '2000000000', '5'],
      wide: ['9007199254740993', '9007199254740992'],
    })
    expect(plain(data)).toEqual({
      near: [3, 4, 3],
      far: { values: [5, 3, 4], offsets: [0, 3, 3, 3] },
      wide: [3, 4, 3],
      small: [3, 3, 4],
    })
  })

  it('keeps the most recent items, after nulls are left out', async () => {
    const path = await files.parquet(
      'long.parquet',
      'select * from (values ([1, 2, 3, 4]), ([1, null, 2, null, 3]), ([null::integer]), ([9])) t(h)',
    )
    for (const feature of [sequence({ size: 10, maxLength: 2 }), sequence({ size: 10, padded: 2 })]) {
      const data = await readDataset(path, defineSchema({ h: feature }))
      expect(plain(data)).toEqual({ h: { values: [3, 4, 2, 3, 9], offsets: [0, 2, 4, 4, 5] } })
    }
  })

  it('numbers text groups, and takes labels by their text', async () => {
    const path = await files.write('text.csv', 'user,answer\nbo,yes\nanna,no\nbo,maybe\n')
    const wanted = defineSchema({
      user: groupId({ text: true }),
      y: label({ column: 'answer', positive: ['yes', 'maybe'] }),
    })
    expect(plain(await readDataset(path, wanted))).toEqual({ user: [1, 0, 1], y: [1, 0, 1] })
  })

  it('keeps whole milliseconds', async () => {
    const path = await files.write('ms.csv', 'at\n1714521600123\n2024-05-01 00:00:00.123\n')
    const data = await readDataset(path, defineSchema({ at: time({ unit: 'ms' }) }))
    expect([...data.values('at')]).toEqual([1714521600123, 1714521600123])
  })

  it('reads 200 000 rows right', async () => {
    const path = await files.parquet(
      'many.parquet',
      `select (i * 7919 % 1000)::integer as a, (i % 1000 / 8)::float as x, (i % 3 = 0)::integer as y, i::integer as u,
        's' || (i % 50) as s, [((i + k) % 5000)::integer for k in range(i % 20)] as h from range(200000) t(i)`,
    )
    const wanted = defineSchema({
      a: categorical({ size: 1000 }),
      x: numeric(),
      y: label(),
      u: groupId(),
      s: categorical(),
      h: sequence({ size: 5000 }),
    })
    const { columns, rowCount, encoding } = await readDataset(path, wanted)
    expect(rowCount).toBe(200_000)
    const { values: items, offsets } = columns.h as { values: Int32Array; offsets: Int32Array }
    let wrong = 0
    for (let i = 0; i < rowCount; i++) {
      const text = encoding.vocabularies.s?.[(columns.s?.values[i] as number) - 3]
      const right =
        columns.a?.values[i] === (i * 7919) % 1000 &&
        columns.x?.values[i] === (i % 1000) / 8 &&
        columns.y?.values[i] === Number(i % 3 === 0) &&
        columns.u?.values[i] === i &&
        text === `s${i % 50}` &&
        (offsets[i + 1] as number) - (offsets[i] as number) === i % 20
      if (!right) wrong++
      for (let k = 0; k < i % 20; k++) if (items[(offsets[i] as number) + k] !== (i + k) % 5000) wrong++
    }
    expect(wrong).toBe(0)
  })
})
