/** SASRec: shapes, both losses, and what training does to them. */
import { describe, expect, it } from 'vitest'
import { adam, all, compile, createParameters, field, parameterCount } from '../../lib/index.js'
import { SasrecModel, sasrecConfig } from '../../lib/systems/sasrec/index.js'

const ITEMS = 9
const schema = { history: field('int32', 'batch', 6), target: field('int32', 'batch') }
/** Whatever came last, the next item is one higher. */
const batch = {
  history: Int32Array.of(0, 0, 1, 2, 3, 4, 0, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7, 8),
  target: Int32Array.of(5, 9, 3, 9),
}
const modelOf = (settings: Record<string, unknown>) =>
  new SasrecModel(ITEMS, sasrecConfig.parse({ dimensions: 8, maxLength: 6, dropout: 0, ...settings }))

function trainerOf(model: SasrecModel, seed = 0) {
  return compile(model, (m, b) => ({ loss: m.loss(b.history, b.target), scores: m.scores(b.history) }), {
    schema,
    seed,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.02 }) }],
  })
}

describe('sasrec', () => {
  it('has the parameters of its blocks and of the items and positions', () => {
    const block = 4 * (64 * 64 + 64) + 2 * 128 + (64 * 256 + 256) + (256 * 64 + 64)
    const model = new SasrecModel(3646, sasrecConfig.parse({}))
    expect(parameterCount(model)).toBe(3647 * 64 + 50 * 64 + 128 + 2 * block)
  })

  it('with softmax: the loss is the mean negative log-probability of the targets', async () => {
    const model = modelOf({})
    const { loss, scores } = await trainerOf(model).step(batch, {}, { parameters: createParameters(model, 1) })
    const rows = Array.from({ length: 4 }, (_, row) => [...scores.subarray(row * (ITEMS + 1), (row + 1) * (ITEMS + 1))])
    const losses = rows.map((row, i) => {
      const total = row.reduce((sum, score) => sum + Math.exp(score), 0)
      return Math.log(total) - (row[batch.target[i] as number] as number)
    })
    expect(loss).toBeCloseTo(losses.reduce((sum, value) => sum + value, 0) / 4, 5)
  })

  it.each(['softmax', 'binary'])('learns what comes next with the %s loss', async (kind) => {
    const model = modelOf({ loss: kind, negatives: 3 })
    const parameters = createParameters(model, 1)
    const program = trainerOf(model)
    const optimizer = program.createOptimizerState()
    let scores = new Float32Array()
    for (let step = 0; step < 150; step++) {
      scores = (await program.step(batch, {}, { parameters, optimizer })).scores as Float32Array<ArrayBuffer>
    }
    batch.target.forEach((target, row) => {
      const own = [...scores.subarray(row * (ITEMS + 1) + 1, (row + 1) * (ITEMS + 1))]
      expect(own.indexOf(Math.max(...own)) + 1).toBe(target)
    })
  })

  it('draws negatives by seed and step', async () => {
    const losses = async (seed: number) => {
      const model = modelOf({ loss: 'binary' })
      const program = trainerOf(model, seed)
      const state = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
      const found: number[] = []
      for (let step = 0; step < 4; step++) found.push((await program.step(batch, {}, state)).loss)
      return found
    }
    expect(await losses(3)).toEqual(await losses(3))
    expect(await losses(3)).not.toEqual(await losses(4))
  })
})
