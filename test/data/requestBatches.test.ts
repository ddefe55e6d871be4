/** Batches of requests: rows that share a history are fed with it once. */
import { describe, expect, it } from 'vitest'
import { Dataset } from '../../lib/data/dataset.js'
import { categorical, defineSchema, groupId, label, sequence } from '../../lib/data/index.js'
import { requestBatches } from '../../lib/data/requestBatches.js'

/** Six rows of three requests; the first and the last user have no history and a long one. */
const lengths = [0, 0, 2, 2, 3, 3]
const schema = defineSchema({
  user: groupId({ input: true }),
  item: categorical({ size: 10 }),
  group: categorical({ size: 5 }),
  acts: sequence({ size: 10 }),
  click: label(),
})
const dataset = (of = lengths) => {
  const offsets = Int32Array.from({ length: of.length + 1 }, (_, i) => of.slice(0, i).reduce((a, b) => a + b, 0))
  return Dataset.fromColumns(schema, {
    user: { values: Int32Array.of(4, 4, 7, 7, 9, 9) },
    item: { values: Int32Array.of(1, 2, 3, 4, 5, 6) },
    group: { values: Int32Array.of(1, 1, 2, 2, 3, 3) },
    acts: { values: Int32Array.of(5, 6, 5, 6, 7, 8, 9, 7, 8, 9), offsets },
    click: { values: Float32Array.of(0, 1, 0, 0, 1, 1) },
  }) as unknown as Promise<Dataset>
}
const rows = { each: 2, own: ['item'] }

const arraysFor = (capacities: Readonly<Record<string, number>>) => ({
  user: new Int32Array(3),
  item: new Int32Array(6),
  group: new Int32Array(3),
  'acts.values': new Int32Array(capacities.acts_count as number),
  'acts.offsets': new Int32Array(4),
  click: new Float32Array(6),
})

describe('requestBatches', () => {
  it('gives own features and labels a row each, and all others one to a request', async () => {
    const source = await requestBatches(await dataset(), { batchSize: 4 }, rows)
    expect(source.schema.item?.shape).toEqual(['2*batch'])
    expect(source.schema.click?.shape).toEqual(['2*batch'])
    expect(source.schema.group?.shape).toEqual(['batch'])
    expect([source.batchCount, source.exampleCount]).toEqual([2, 6])
    const seen = []
    for await (const batch of source.batches(1)) {
      const views = arraysFor(source.capacities)
      batch.fill(views)
      const { batch: requests = 0, acts_count: acts = 0 } = batch.counts
      seen.push({
        examples: batch.examples,
        user: [...views.user.subarray(0, requests)],
        item: [...views.item.subarray(0, 2 * requests)],
        acts: [...views['acts.values'].subarray(0, acts)],
        offsets: [...views['acts.offsets'].subarray(0, requests + 1)],
        click: [...views.click.subarray(0, 2 * requests)],
      })
    }
    expect(seen).toEqual([
      { examples: 4, user: [4, 7], item: [1, 2, 3, 4], acts: [5, 6], offsets: [0, 0, 2], click: [0, 1, 0, 0] },
      { examples: 2, user: [9], item: [5, 6], acts: [7, 8, 9], offsets: [0, 3], click: [1, 1] },
    ])
  })

  it('keeps requests whole where it shuffles, in an order of seed and epoch', async () => {
    const orderOf = async (seed: number, epoch: number) => {
      const source = await requestBatches(await dataset(), { batchSize: 6, seed }, rows)
      const views = arraysFor(source.capacities)
      for await (const batch of source.batches(epoch)) batch.fill(views)
      for (let i = 0; i < 6; i += 2) expect(views.item[i + 1]).toBe((views.item[i] as number) + 1)
      return [...views.item]
    }
    expect(await orderOf(1, 1)).toEqual(await orderOf(1, 1))
    const orders = await Promise.all([1, 2, 3, 4, 5, 6].map((epoch) => orderOf(1, epoch)))
    expect(new Set(orders.map(String)).size).toBeGreaterThan(1)
  })

  it('is datasetBatches where a request is a row', async () => {
    const source = await requestBatches(await dataset(), { batchSize: 4 }, { each: 1, own: ['item'] })
    expect(source.schema).toEqual(schema.fields)
  })

  it('refuses rows that are no whole requests, and histories that differ', async () => {
    await expect(requestBatches(await dataset(), { batchSize: 4 }, { each: 4, own: [] })).rejects.toThrow(
      'requestBatches: data should be whole requests of 4 rows but got 6 rows',
    )
    await expect(requestBatches(await dataset([0, 0, 2, 2, 2, 4]), { batchSize: 4 }, rows)).rejects.toThrow(
      'requestBatches: acts should be one history for each 2 rows but got another length in row 6',
    )
  })
})
