/** From a file to a trained model: what a schema says is what `compile` takes and what a source fills. */
import { expect, it } from 'vitest'
import {
  adam,
  add,
  all,
  binaryCrossEntropy,
  categorical,
  compile,
  datasetBatches,
  defineSchema,
  Embedding,
  encode,
  fitEncoding,
  Linear,
  label,
  mean,
  numeric,
  readDataset,
  reshape,
  sequence,
  splitInOrder,
} from '../../lib/index.js'
import { temporaryFolder } from './support.js'

const files = temporaryFolder()

it('trains on what it reads', async () => {
  const schema = defineSchema({
    colour: categorical(),
    history: sequence('item', { padded: 4 }),
    x: numeric({ standardise: true }),
    click: label(),
  })
  const path = await files.parquet(
    'clicks.parquet',
    `select (['red', 'green', 'blue'])[1 + i % 3] as colour, [(i * 7 + k) % 11 for k in range(i % 5)] as history,
     (i % 10)::double as x, (i % 3 = 0)::integer as click from range(2000) t(i)`,
  )
  const data = await readDataset(path, schema)
  const parts = splitInOrder(data, { train: 0.8, test: 0.2 })
  const encoding = await fitEncoding(parts.train)
  const train = await encode(parts.train, encoding)
  const source = await datasetBatches(train, { batchSize: 128, seed: 1 })

  const model = {
    colour: new Embedding(train.size('colour'), 4),
    item: new Embedding(train.size('history'), 4),
    head: new Linear(4, 1),
  }
  const program = compile(
    model,
    (m, b) => {
      const colour = m.colour.forward(b.colour)
      const history = mean(m.item.forward(b.history), 1)
      const logit = add(reshape(m.head.forward(add(colour, history)), ['batch']), b.x)
      return { loss: binaryCrossEntropy(logit, b.click) }
    },
    { schema: source.schema, updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.05 }) }] },
  )
  const losses: number[] = []
  for (let epoch = 0; epoch < 8; epoch++) {
    for await (const batch of source.batches(epoch)) {
      const lease = await program.lease(source.capacities, batch.counts)
      batch.fill(lease.views)
      losses.push((await program.step(lease)).loss)
    }
  }
  expect(losses).toHaveLength(8 * 13)
  expect(losses.at(-1)).toBeLessThan((losses[0] as number) / 2)
})
