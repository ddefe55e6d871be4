import { describe, expect, it } from 'vitest'
import { countItems, leaveOneOut, targetPosition } from '../../lib/data/leaveOneOut.js'
import { createEvaluationBatches, createPrefixBatches } from '../../lib/data/prefixBatches.js'
import { parseSequences } from '../../lib/data/sequences.js'

// Users 1 and 3 are evaluated; user 2 has too few items.
const text = '1 10 11 12 13 14\n2 20 21\n3 30 31 32\n'
const split = async () => leaveOneOut(await parseSequences(text))

describe('leaveOneOut', () => {
  it('keeps the last two items of users with three or more', async () => {
    const parts = await split()
    expect([...parts.trainEnds]).toEqual([3, 7, 8])
    expect([...parts.evaluated]).toEqual([0, 2])
    expect(parts.trainOnlyCount).toBe(1)
    const { values } = parts.sequences
    expect([0, 2].map((row) => values[targetPosition(parts, 'validation', row)])).toEqual([13, 31])
    expect([0, 2].map((row) => values[targetPosition(parts, 'test', row)])).toEqual([14, 32])
  })

  it('counts training items, or all', async () => {
    const parts = await split()
    const present = (counts: Int32Array) => [...counts.keys()].filter((item) => counts[item] === 1)
    expect(present(countItems(parts, 'train'))).toEqual([10, 11, 12, 20, 21, 30])
    expect(present(countItems(parts, 'all'))).toEqual([10, 11, 12, 13, 14, 20, 21, 30, 31, 32])
  })

  it('refuses data in which nobody can be evaluated', async () => {
    const sequences = await parseSequences('1 2 3\n')
    expect(() => leaveOneOut(sequences)).toThrow(
      'leaveOneOut: text should be at least one user with 3 items or more but got 1 users with fewer',
    )
  })
})

async function examples(batchSize: number, epoch?: number, length = 2) {
  const batches = createPrefixBatches(await split(), { length, batchSize, seed: 5 })
  if (epoch !== undefined) await batches.shuffle(epoch)
  const found: string[] = []
  for (let batch = 0; batch < batches.batchCount; batch++) {
    const history = new Int32Array(batchSize * length).fill(-9)
    const target = new Int32Array(batchSize).fill(-9)
    const count = batches.fill(batch, { history, target })
    for (let i = 0; i < count; i++) {
      found.push(`${history.subarray(i * length, (i + 1) * length).join(' ')} -> ${target[i]}`)
    }
    expect(target.subarray(count).every((item) => item === -9)).toBe(true)
  }
  return found
}

describe('createPrefixBatches', () => {
  const all = ['0 10 -> 11', '10 11 -> 12', '0 20 -> 21']

  it.each([1, 2, 3, 8])('lists every prefix of the training items, %i at a time', async (batchSize) => {
    expect(await examples(batchSize)).toEqual(all)
  })

  it('keeps the last L items', async () => {
    expect(await examples(2, undefined, 1)).toEqual(['10 -> 11', '11 -> 12', '20 -> 21'])
  })

  it('orders an epoch by seed and epoch alone', async () => {
    const orders = await Promise.all([0, 1, 2, 3, 4, 5].map((epoch) => examples(2, epoch)))
    for (const order of orders) expect([...order].sort()).toEqual([...all].sort())
    expect(new Set(orders.map(String)).size).toBeGreaterThan(1)
    expect(await examples(2, 4)).toEqual(orders[4])

    const batches = createPrefixBatches(await split(), { length: 2, batchSize: 3, seed: 5 })
    for (const epoch of [3, 0, 4]) await batches.shuffle(epoch)
    const target = new Int32Array(3)
    batches.fill(0, { history: new Int32Array(6), target })
    expect([...target]).toEqual(orders[4]?.map((example) => Number(example.split(' ').at(-1))))
  })

  it('can keep to the latest targets of every user', async () => {
    const latest = async (latestTargets: number) => {
      const batches = createPrefixBatches(await split(), { length: 2, batchSize: 8, seed: 0, latestTargets })
      const target = new Int32Array(8)
      return [...target.subarray(0, batches.fill(0, { history: new Int32Array(16), target }))]
    }
    expect(await latest(1)).toEqual([12, 21])
    expect(await latest(2)).toEqual([11, 12, 21])
    expect(await latest(1e9)).toEqual(await latest(0))
    await expect(latest(1.5)).rejects.toThrow(
      'createPrefixBatches: latestTargets should be a positive integer but got 1.5',
    )
  })

  it('can start from an empty history', async () => {
    const batches = createPrefixBatches(await split(), { length: 2, batchSize: 8, seed: 0, minimumHistory: 0 })
    expect(batches.exampleCount).toBe(6)
  })

  it('refuses wrong sizes, short views and batches that are not there', async () => {
    const parts = await split()
    expect(() => createPrefixBatches(parts, { length: 0, batchSize: 1, seed: 0 })).toThrow(
      'createPrefixBatches: length should be a positive integer but got 0',
    )
    const batches = createPrefixBatches(parts, { length: 2, batchSize: 2, seed: 0 })
    const views = { history: new Int32Array(3), target: new Int32Array(2) }
    expect(() => batches.fill(0, views)).toThrow(
      'PrefixBatches.fill: history should be an Int32Array of at least 4 elements but got 3',
    )
    expect(() => batches.fill(2, views)).toThrow('PrefixBatches.fill: batch should be an integer from 0 to 1 but got 2')
    const single = leaveOneOut(await parseSequences('1 2 3 4\n'))
    expect(() => createPrefixBatches(single, { length: 2, batchSize: 2, seed: 0 })).toThrow(
      'createPrefixBatches: text should be a user with more than 1 training items but got none',
    )
  })
})

describe('createEvaluationBatches', () => {
  it('gives history, target and everything the user had before', async () => {
    const batches = createEvaluationBatches(await split(), { length: 3, batchSize: 4, part: 'test' })
    expect(batches).toMatchObject({ userCount: 2, batchCount: 1, excludeWidth: 5 })
    const history = new Int32Array(12)
    const target = new Int32Array(4)
    const exclude = new Int32Array(20)
    expect(batches.fill(0, { history, target, exclude })).toBe(2)
    expect([...history.subarray(0, 6)]).toEqual([11, 12, 13, 0, 30, 31])
    expect([...target.subarray(0, 2)]).toEqual([14, 32])
    expect([...exclude.subarray(0, 10)]).toEqual([0, 10, 11, 12, 13, 0, 30, 31, -1, -1])
  })

  it('does not show the validation item when it is the target', async () => {
    const batches = createEvaluationBatches(await split(), { length: 3, batchSize: 1, part: 'validation' })
    expect(batches.excludeWidth).toBe(4)
    const views = { history: new Int32Array(3), target: new Int32Array(1), exclude: new Int32Array(4) }
    batches.fill(0, views)
    expect([...views.history, ...views.target, ...views.exclude]).toEqual([10, 11, 12, 13, 0, 10, 11, 12])
    batches.fill(1, views)
    expect([...views.history, ...views.target, ...views.exclude]).toEqual([0, 0, 30, 31, 0, 30, -1, -1])
  })
})
