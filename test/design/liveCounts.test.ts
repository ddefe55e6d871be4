/** Sizes are symbols with a capacity and a live count: what lies beyond the count is never read, forward or backward. */
import { describe, expect, it } from 'vitest'
import { all, compile, sgd } from '../../lib/index.js'
import { batchOf, freshParameters, SmallModel, schema, squaredError } from './support.js'

const CAPACITY = 12

function programOver(model: SmallModel, poison: boolean) {
  return compile(
    model,
    (m, b) => {
      const score = m.score(b.ids, b.x)
      return { loss: squaredError(score, b.target), score }
    },
    { schema, poison, updates: [{ loss: 'loss', parameters: all, optimizer: sgd({ lr: 0.1 }) }] },
  )
}

describe('live counts', () => {
  const model = new SmallModel()

  /** Loss, scores and all parameters after one step. */
  async function step(program: ReturnType<typeof programOver>, count: number, capacities?: { batch: number }) {
    const parameters = freshParameters(model)
    const options = { parameters, counts: { batch: count }, ...(capacities ? { capacities } : {}) }
    const { loss, score } = await program.step(batchOf(count), {}, options)
    const names = parameters.entries.map(({ name }) => name)
    const values = Object.values(await parameters.read(names))
    return { loss, score: [...score], parameters: values.flatMap((array) => [...array]) }
  }

  it.each([1, CAPACITY - 1, CAPACITY])(
    'count %i of capacity 12 is the same as a program of that size',
    async (count) => {
      const exact = await step(programOver(model, false), count)
      const poisoned = await step(programOver(model, true), count, { batch: CAPACITY })
      expect(poisoned.score).toEqual(exact.score)
      expect(poisoned.loss).toBe(exact.loss)
      expect(poisoned.parameters.every(Number.isFinite)).toBe(true)
      poisoned.parameters.forEach((value, index) => expect(value).toBeCloseTo(exact.parameters[index] as number, 6))
    },
  )

  it('count 0 moves no parameter and reads nothing', async () => {
    const before = freshParameters(model)
    const names = before.entries.map(({ name }) => name)
    const values = Object.values(await before.read(names)).flatMap((array) => [...array])
    const after = await step(programOver(model, true), 0, { batch: CAPACITY })
    expect(after.score).toEqual([])
    expect(after.loss).toBeNaN() // the mean of nothing, as everywhere
    expect(after.parameters.map(Number.isNaN)).toEqual(values.map(() => false))
    expect(after.parameters).toEqual(values)
  })

  it('grows through counts in any order on one program', async () => {
    const program = programOver(model, true)
    const seen: number[] = []
    for (const count of [1, 12, 3, 40, 0, 17, 61, 40]) {
      const { score, parameters } = await step(program, count)
      const exact = await step(programOver(model, false), count)
      expect(score).toEqual(exact.score)
      if (count > 0) expect(parameters.every(Number.isFinite)).toBe(true)
      seen.push(score.length)
    }
    expect(seen).toEqual([1, 12, 3, 40, 0, 17, 61, 40])
  })

  it('refuses a count above what was fed, in words', async () => {
    const program = programOver(model, false)
    await expect(program.step(batchOf(3), {}, { counts: { batch: 4 } })).rejects.toThrow(/feeds\.(ids|x|target)/)
  })
})
