import { describe, expect, it } from 'vitest'
import {
  Dataset,
  defineSchema,
  groupId,
  numeric,
  splitAtRow,
  splitAtTime,
  splitByGroup,
  splitByTime,
  splitInOrder,
  splitRandomly,
  time,
} from '../../lib/data/index.js'

const schema = defineSchema({ row: numeric(), user: groupId(), at: time() })
const COUNT = 1000

const make = () =>
  Dataset.fromColumns(schema, {
    row: { values: Float32Array.from({ length: COUNT }, (_, i) => i) },
    user: { values: Int32Array.from({ length: COUNT }, (_, i) => ((i * 31) % 100) - 50) },
    at: { values: Float64Array.from({ length: COUNT }, (_, i) => Math.floor(((i * 617) % COUNT) / 10)) },
  })

const rowsOf = (data: Dataset<(typeof schema)['features']>) => [...data.values('row')]
const sorted = (rows: number[]) => rows.sort((a, b) => a - b)
const all = Array.from({ length: COUNT }, (_, i) => i)
const shares = { train: 0.8, validation: 0.1, test: 0.1 }

describe('splits', () => {
  it('by rows', async () => {
    const data = await make()
    const [head, tail] = splitAtRow(data, 10)
    expect(rowsOf(head)).toEqual(all.slice(0, 10))
    expect(rowsOf(tail)).toEqual(all.slice(10))
    const { train, validation, test } = splitInOrder(data, shares)
    expect([train, validation, test].flatMap(rowsOf)).toEqual(all)
    expect([train.rowCount, validation.rowCount, test.rowCount]).toEqual([800, 100, 100])
    expect(train.columns).toBe(data.columns)
  })

  it('at random, alike for a seed, without overlap', async () => {
    const data = await make()
    const parts = splitRandomly(data, shares, 3)
    expect(sorted(Object.values(parts).flatMap(rowsOf))).toEqual(all)
    expect(rowsOf(parts.train)).toEqual(sorted(rowsOf(parts.train)))
    expect(rowsOf(splitRandomly(data, shares, 3).test)).toEqual(rowsOf(parts.test))
    expect(rowsOf(splitRandomly(data, shares, 4).test)).not.toEqual(rowsOf(parts.test))
  })

  it('by time, moments undivided', async () => {
    const data = await make()
    const [before, after] = splitAtTime(data, 'at', 40)
    expect(Math.max(...before.values('at'))).toBe(39)
    expect(Math.min(...after.values('at'))).toBe(40)
    expect(before.rowCount + after.rowCount).toBe(COUNT)
    const { train, test } = splitByTime(data, 'at', { train: 0.755, test: 0.245 })
    // The boundary falls amid the ten rows of moment 75, which all go to the later part.
    expect(Math.max(...train.values('at'))).toBe(74)
    expect(Math.min(...test.values('at'))).toBe(75)
    expect(sorted([train, test].flatMap(rowsOf))).toEqual(all)
  })

  it('by user, whatever other users there are', async () => {
    const data = await make()
    const { train, test } = splitByGroup(data, 'user', { train: 0.7, test: 0.3 }, 5)
    const [trainUsers, testUsers] = [new Set(train.values('user')), new Set(test.values('user'))]
    expect([...trainUsers].filter((user) => testUsers.has(user))).toEqual([])
    expect(trainUsers.size + testUsers.size).toBe(100)
    expect(testUsers.size).toBeGreaterThan(15)
    expect(testUsers.size).toBeLessThan(45)
    const half = splitByGroup(data.slice(0, 500), 'user', { train: 0.7, test: 0.3 }, 5)
    expect([...half.test.values('user')].every((user) => testUsers.has(user))).toBe(true)
    const other = splitByGroup(data, 'user', { train: 0.7, test: 0.3 }, 6)
    expect(new Set(other.test.values('user'))).not.toEqual(testUsers)
  })

  it('of splits', async () => {
    const [, tail] = splitAtRow(splitAtRow(await make(), 500)[0], 100)
    const picked = tail.select(Int32Array.of(5, 0, 399))
    expect(rowsOf(picked)).toEqual([105, 100, 499])
    expect(rowsOf(picked.slice(1))).toEqual([100, 499])
    expect(rowsOf(picked.select(Int32Array.of(2, 2)))).toEqual([499, 499])
  })

  it('refuse what cannot be', async () => {
    const data = await make()
    expect(() => splitInOrder(data, { train: 0.8, test: 0.3 })).toThrow(
      'splitInOrder: fractions should be shares that sum to 1 but got a sum of 1.1',
    )
    expect(() => splitInOrder(data, { train: 1 })).toThrow('splitInOrder: fractions should be 2 to 256 parts but got 1')
    expect(() => splitByTime(data, 'row', shares)).toThrow("splitByTime: name should be a time feature but got 'row'")
    expect(() => splitByGroup(data, 'at', shares, 0)).toThrow(
      "splitByGroup: name should be a groupId feature but got 'at'",
    )
    expect(() => splitByGroup(data, 'user', shares, -1)).toThrow(
      'splitByGroup: seed should be an integer from 0 to 2^53',
    )
    expect(() => splitAtRow(data, 1001)).toThrow('Dataset.slice: end should be an integer from 0 to 1000 but got 1001')
    expect(() => data.select(Int32Array.of(0, 1000))).toThrow(
      'Dataset.select: rows[1] should be an integer from 0 to 999 but got 1000',
    )
  })
})
