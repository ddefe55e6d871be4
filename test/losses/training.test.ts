/** Losses over many items inside compiled steps: each learns which item belongs to which user. */
import { describe, expect, it } from 'vitest'
import {
  adam,
  all,
  compile,
  createParameters,
  crossEntropy,
  embedding,
  field,
  infoNCE,
  linear,
  linearCrossEntropyLoss,
  logUniformLogProbability,
  normal,
  normalize,
  parameter,
  sampledSoftmax,
  sampleNegatives,
  type Tensor,
} from '../../lib/index.js'

const [USERS, ITEMS, CHANNELS] = [24, 300, 16] as const

class Factors {
  readonly users = parameter([USERS, CHANNELS], normal(0.3))
  readonly items = parameter([ITEMS, CHANNELS], normal(0.3))
}

const schema = { user: field('int32', 'batch'), item: field('int32', 'batch') }

interface Batch {
  readonly user: Tensor<readonly ['batch'], 'int32'>
  readonly item: Tensor<readonly ['batch'], 'int32'>
}

const losses = {
  linearCrossEntropyLoss: (m: Factors, b: Batch) => linearCrossEntropyLoss(embedding(m.users, b.user), m.items, b.item),
  'sampledSoftmax, log-uniform': (m: Factors, b: Batch) =>
    sampledSoftmax(embedding(m.users, b.user), m.items, b.item, sampleNegatives([64], { classes: ITEMS }), {
      logQ: (ids) => logUniformLogProbability(ids, ITEMS),
    }),
  'sampledSoftmax, uniform, per row': (m: Factors, b: Batch) =>
    sampledSoftmax(
      embedding(m.users, b.user),
      m.items,
      b.item,
      sampleNegatives(['batch', 32], { classes: ITEMS, distribution: 'uniform' }),
    ),
  infoNCE: (m: Factors, b: Batch) =>
    infoNCE(normalize(embedding(m.users, b.user)), normalize(embedding(m.items, b.item)), {
      temperature: 0.1,
      ids: b.item,
      symmetric: true,
    }),
}

const batch = {
  user: Int32Array.from({ length: USERS }, (_, user) => user),
  item: Int32Array.from({ length: USERS }, (_, user) => (user * 37) % ITEMS),
}

describe.each(Object.entries(losses))('%s', (_, build) => {
  it('trains', async () => {
    const model = new Factors()
    const program = compile(
      model,
      (m, b) => ({
        loss: build(m, b),
        whole: crossEntropy(linear(embedding(m.users, b.user), m.items), b.item),
      }),
      { schema, seed: 3, updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.05 }) }] },
    )
    const handles = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
    const curve: number[] = []
    for (let step = 0; step < 60; step++) {
      const { whole } = await program.step(batch, {}, handles)
      curve.push(whole as number)
    }
    expect(curve[0]).toBeGreaterThan(5)
    // Cosines bound what contrast can reach of the softmax over all items.
    expect(curve.at(-1)).toBeLessThan(0.6 * (curve[0] as number))
  })
})
