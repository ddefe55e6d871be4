import { describe, expect, it } from 'vitest'
import {
  Dataset,
  datasetBatches,
  defineSchema,
  dense,
  domain,
  fileBatches,
  groupId,
  label,
  numeric,
  readDataset,
  sequence,
  time,
} from '../../lib/data/index.js'
import { epochOf, fieldsOf, refusalOf, temporaryFolder } from './support.js'

const files = temporaryFolder()
const none = { vocabularies: {}, scales: {} }

const schema = defineSchema({
  x: numeric({ nulls: 'indicator' }),
  h: sequence({ size: 100, maxLength: 4 }),
  recent: sequence({ size: 100, padded: 3, column: 'h' }),
  v: dense(2),
  y: label(),
  user: groupId({ input: true }),
  team: groupId({ column: 'user' }),
  at: time(),
  d: domain(['a', 'b']),
})

const query = (rows: number) => `select case when i % 3 = 0 then null else i::float end as x,
  [(k + 1)::integer for k in range(i % 7)] as h, [i, -i]::float[] as v, i % 2 as y, i::integer as "user", i as "at",
  case when i % 5 = 0 then 'b' else 'a' end as d from range(${rows}) t(i)`

/** The batch that rows have to make, worked out plainly. */
function batchOf(rows: readonly number[]) {
  const items = (i: number) => Array.from({ length: i % 7 }, (_, k) => k + 1)
  const offsets = [0]
  for (const i of rows) offsets.push((offsets.at(-1) as number) + items(i).slice(-4).length)
  return {
    x: rows.map((i) => (i % 3 === 0 ? 0 : i)),
    'x.missing': rows.map((i) => Number(i % 3 === 0)),
    'h.values': rows.flatMap((i) => items(i).slice(-4)),
    'h.offsets': offsets,
    recent: rows.flatMap((i) => [...items(i).slice(-3), 0, 0, 0].slice(0, 3)),
    'recent.length': rows.map((i) => Math.min(3, i % 7)),
    v: rows.flatMap((i) => [i, i === 0 ? -0 : -i]),
    y: rows.map((i) => i % 2),
    user: [...rows],
    d: rows.map((i) => Number(i % 5 === 0)),
  }
}

const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown

const read = async (name: string, rows = 23) => readDataset(await files.parquet(name, query(rows)), schema)
const usersOf = (epoch: readonly Record<string, number[]>[]) => epoch.map(({ user }) => user as number[])

describe('datasetBatches', () => {
  it('gives the rows in order without a seed, and copies every field', async () => {
    const source = await datasetBatches(await read('order.parquet'), { batchSize: 10 })
    expect(source).toMatchObject({ exampleCount: 23, batchCount: 3 })
    // The ten longest rows: nine of four items, and one of three.
    expect(source.capacities).toEqual({ batch: 10, h_count: 39 })
    const rows = Array.from({ length: 23 }, (_, i) => i)
    const expected = [rows.slice(0, 10), rows.slice(10, 20), rows.slice(20)].map(batchOf)
    expect(plain(await epochOf(source))).toEqual(plain(expected))
    expect(await epochOf(source, 1)).toEqual(await epochOf(source, 0))
  })

  it('shuffles by seed and epoch alone, and goes on from any batch', async () => {
    const data = await read('shuffled.parquet', 200)
    const source = await datasetBatches(data, { batchSize: 16, seed: 4 })
    const [first, second] = [await epochOf(source, 0), await epochOf(source, 1)]
    expect(plain(first)).toEqual(plain(usersOf(first).map(batchOf)))
    const users = usersOf(first).flat()
    expect([...users].sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i))
    expect(users).not.toEqual([...users].sort((a, b) => a - b))
    expect(usersOf(second)).not.toEqual(usersOf(first))

    const again = await datasetBatches(data, { batchSize: 16, seed: 4 })
    expect(await epochOf(again, 1, 5)).toEqual(second.slice(5))
    expect(await epochOf(again, 1)).toEqual(second)
    expect(await epochOf(again, 0)).toEqual(first)
    expect(await epochOf(again, 0, 13)).toEqual([])
    const other = await datasetBatches(data, { batchSize: 16, seed: 5 })
    expect(usersOf(await epochOf(other))).not.toEqual(usersOf(first))
  })

  it('never needs more than its capacities', async () => {
    const data = await read('capacities.parquet', 300)
    const source = await datasetBatches(data, { batchSize: 7, seed: 1 })
    for (let epoch = 0; epoch < 5; epoch++) {
      for await (const { counts } of source.batches(epoch)) {
        expect(counts.h_count).toBeLessThanOrEqual(source.capacities.h_count as number)
        expect(counts.batch).toBeLessThanOrEqual(7)
      }
    }
  })

  it('leaves out a short last batch when asked', async () => {
    const source = await datasetBatches(await read('drop.parquet'), { batchSize: 10, dropLast: true })
    expect(source).toMatchObject({ exampleCount: 20, batchCount: 2 })
    expect(usersOf(await epochOf(source)).map((users) => users.length)).toEqual([10, 10])
  })

  it('serves a part of a data set', async () => {
    const data = (await read('part.parquet')).select(Int32Array.of(20, 3, 4)).slice(1)
    const source = await datasetBatches(data, { batchSize: 5 })
    expect(source.capacities.batch).toBe(2)
    expect(plain(await epochOf(source))).toEqual(plain([batchOf([3, 4])]))
  })

  it('writes nothing when a view does not fit', async () => {
    const source = await datasetBatches(await read('views.parquet'), { batchSize: 4 })
    for await (const batch of source.batches(0)) {
      const x = new Float32Array(4).fill(-7)
      expect(() => batch.fill({ x, 'x.missing': new Float32Array(3) })).toThrow(
        "PreparedBatch.fill: views['x.missing'] should be Float32Array of at least 4 but got Float32Array of 3",
      )
      expect(() => batch.fill({ x: new Int32Array(4) })).toThrow(
        "PreparedBatch.fill: views['x'] should be Float32Array of at least 4 but got Int32Array of 4",
      )
      expect([...x]).toEqual([-7, -7, -7, -7])
      break
    }
  })

  it('refuses sizes that are none, no rows, and numbers that are not standardised', async () => {
    const data = await read('refuse.parquet')
    expect(await refusalOf(datasetBatches(data, { batchSize: 0 }))).toBe(
      'datasetBatches: batchSize should be a positive integer but got 0',
    )
    expect(await refusalOf(datasetBatches(data.slice(0, 0), { batchSize: 1 }))).toBe(
      'datasetBatches: data should be at least one row but got 0',
    )
    const source = await datasetBatches(data, { batchSize: 10 })
    expect(await refusalOf(epochOf(source, 0, 4))).toBe(
      'datasetBatches.batches: from should be an integer from 0 to 3 but got 4',
    )
    const raw = defineSchema({ x: numeric({ standardise: true }) })
    const unscaled = await Dataset.fromColumns(raw, { x: { values: Float32Array.of(5) } })
    expect(await refusalOf(datasetBatches(unscaled, { batchSize: 1 }))).toContain("should be 'x' standardised but got")
  })
})

describe('fileBatches', () => {
  it('gives what a data set in memory gives, in the order of the file', async () => {
    const path = await files.parquet('stream.parquet', query(40_000))
    const data = await readDataset(path, schema)
    const memory = await datasetBatches(data, { batchSize: 1000 })
    const source = await fileBatches(path, schema, { batchSize: 1000, encoding: none })
    expect(source).toMatchObject({ exampleCount: 40_000, batchCount: 40, capacities: { batch: 1000, h_count: 4000 } })
    const all = await epochOf(source)
    expect(all).toEqual(await epochOf(memory))
    expect(source.report()).toEqual({ x: { values: 40_000, unknown: 0, nulls: 13_334 } })
    expect(await epochOf(source, 0, 37)).toEqual(all.slice(37))
    expect(await epochOf(source, 0, 40)).toEqual([])
  })

  it('shuffles within windows, by seed and epoch', async () => {
    const path = await files.parquet('windows.parquet', query(1000))
    const options = { batchSize: 16, encoding: none, shuffleWindow: 200, seed: 2 }
    const source = await fileBatches(path, schema, options)
    const first = usersOf(await epochOf(source))
    expect(first.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
    // Windows are whole batches: 13 of 16 rows.
    const window = first.slice(0, 13).flat()
    expect([...window].sort((a, b) => a - b)).toEqual(Array.from({ length: 208 }, (_, i) => i))
    expect(window).not.toEqual([...window].sort((a, b) => a - b))
    expect(usersOf(await epochOf(source, 1))).not.toEqual(first)
    const again = await fileBatches(path, schema, options)
    expect(usersOf(await epochOf(again, 0, 20))).toEqual(first.slice(20))
  })

  it('can be left early, often', async () => {
    const path = await files.parquet('early.parquet', query(100_000))
    const source = await fileBatches(path, schema, { batchSize: 100, encoding: none })
    for (let round = 0; round < 5; round++) {
      let count = 0
      for await (const batch of source.batches(round)) {
        expect(fieldsOf(source, batch).user).toHaveLength(100)
        if (++count === round * 60 + 1) break
      }
    }
    expect(usersOf(await epochOf(source, 9, 999))).toEqual([Array.from({ length: 100 }, (_, i) => 99_900 + i)])
  })
})
