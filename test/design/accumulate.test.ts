/** Several batches that count as one: the same parameters as one step over all of them. */
import { describe, expect, it } from 'vitest'
import { adam, all, compile, createParameters, Embedding, field, normal, parameter } from '../../lib/index.js'
import { add, embedding, mean as meanOf, merge, multiply, square, subtract, sum } from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'

const schema = { ids: field('int32', 'batch', 2), target: field('float32', 'batch') }

class Model {
  readonly items = new Embedding(7, 3, 0)
  readonly words = parameter([7, 3], normal(1), { sparse: true })
  readonly weight = parameter([3, 1], normal(1))

  loss(b: { ids: Loose; target: Loose }): Loose {
    const rows = add(sum(this.items.forward(b.ids) as Loose, 1), sum(embedding(this.words, b.ids) as Loose, 1)) as Loose
    const weights = merge(this.weight as Loose, 0, 2)
    const score = sum(multiply(rows, rows) as Loose, 1) as Loose
    return meanOf(square(subtract(add(score, meanOf(weights)), b.target) as Loose)) as Loose
  }
}

const batches = [
  { ids: Int32Array.of(1, 2, 3, 3), target: Float32Array.of(1, 2) },
  { ids: Int32Array.of(5, 2, 2, 1), target: Float32Array.of(0, -1) },
  { ids: Int32Array.of(6, 6, 0, 1), target: Float32Array.of(3, 1) },
]
const whole = {
  ids: Int32Array.from(batches.flatMap(({ ids }) => [...ids])),
  target: Float32Array.from(batches.flatMap(({ target }) => [...target])),
}

function programOf(model: Model, accumulate: number, clipNorm?: number) {
  return compile(model, (m, b) => ({ loss: m.loss(b) }), {
    schema,
    accumulate,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam(), ...(clipNorm ? { clipNorm } : {}) }],
  })
}

describe.each([undefined, 0.7])('accumulation, clipped to %s', (clipNorm) => {
  it('moves the parameters as one step over all batches would, window after window', async () => {
    const model = new Model()
    const [parts, one] = [createParameters(model, 2), createParameters(model, 2)]
    const [adding, plain] = [programOf(model, 3, clipNorm), programOf(model, 1, clipNorm)]
    const state = { parameters: parts, optimizer: adding.createOptimizerState() }
    const plainState = { parameters: one, optimizer: plain.createOptimizerState() }
    for (let window = 0; window < 3; window++) {
      // In flight together: a window waits for the one before by itself.
      const losses = await Promise.all(batches.map((batch) => adding.step(batch, { lr: 0.05 }, state)))
      const { loss } = await plain.step(whole, { lr: 0.05 }, plainState)
      const mean = losses.reduce((total, step) => total + (step.loss as number) / 3, 0)
      expect(mean / (loss as number)).toBeCloseTo(1, 5)
      const [got, expected] = [await parts.read(), await one.read()]
      for (const name of Object.keys(expected)) {
        got[name]?.forEach((value, index) => expect(value).toBeCloseTo(expected[name]?.[index] as number, 4))
      }
    }
  })

  it('changes nothing before the last of the batches', async () => {
    const model = new Model()
    const parameters = createParameters(model, 2)
    const program = programOf(model, 3, clipNorm)
    const before = await parameters.read()
    const state = { parameters, optimizer: program.createOptimizerState() }
    await program.step(batches[0] as never, { lr: 0.05 }, state)
    await program.step(batches[1] as never, { lr: 0.05 }, state)
    expect(await parameters.read()).toEqual(before)
    await program.step(batches[2] as never, { lr: 0.05 }, state)
    expect(await parameters.read()).not.toEqual(before)
  })
})

it('refuses a number of batches that is none', () => {
  expect(() => programOf(new Model(), 0)).toThrow(/accumulate should be a whole number of at least 1 but got 0/)
})
