/** Randomness is counter-based: a function of seed, step and place, and of nothing else. */
import { describe, expect, it } from 'vitest'
import { adam, all, compile, createParameters, Dropout, Executor } from '../../lib/index.js'
import { batchOf, SmallModel, schema, squaredError } from './support.js'

class DroppingModel extends SmallModel {
  readonly drop = new Dropout(0.4)
}

const programOver = (model: DroppingModel, executor: Executor, seed = 7) =>
  compile(
    model,
    (m, b) => {
      const dropped = m.drop.forward(b.x)
      return { loss: squaredError(m.score(b.ids, dropped), b.target), dropped }
    },
    { schema, seed, executor, updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }) }] },
  )

async function train(program: ReturnType<typeof programOver>, model: DroppingModel, steps = 5): Promise<string> {
  const handles = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
  for (let step = 0; step < steps; step++) await program.step(batchOf(64, step), {}, handles)
  const values = Object.values(await handles.parameters.read())
  return values.map((array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')).join()
}

describe('training with dropout', () => {
  it.each([1, 2])('gives equal bits from equal seeds on %i threads', async (threads) => {
    const model = new DroppingModel()
    const executor = new Executor({ threads })
    const [one, two, other] = [
      programOver(model, executor),
      programOver(model, executor),
      programOver(model, executor, 8),
    ]
    const first = await train(one, model)
    expect(await train(two, model)).toBe(first)
    expect(await train(other, model)).not.toBe(first)
    await executor.close()
  })

  it('draws apart for steps in flight together, and alike on every variant and thread count', async () => {
    const model = new DroppingModel()
    const masks = async (executor: Executor) => {
      const program = programOver(model, executor)
      const handles = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
      const results = await Promise.all([1, 2, 3].map(() => program.step(batchOf(64), {}, handles)))
      await executor.close()
      return results.map(({ dropped }) => dropped.map((x) => Number(x !== 0)).join(''))
    }
    const drawn = await masks(new Executor({ threads: 2 }))
    expect(new Set(drawn).size).toBe(3)
    expect(await masks(new Executor({ threads: 1, variant: 'baseline' }))).toEqual(drawn)
    const kept = [...drawn.join('')].filter((mark) => mark === '1').length / (3 * 64 * 8)
    expect(kept).toBeGreaterThan(0.55)
    expect(kept).toBeLessThan(0.65)
  })

  it('draws the same again after a step that failed', async () => {
    const model = new DroppingModel()
    const executor = new Executor({ threads: 1 })
    const [plain, troubled] = [programOver(model, executor), programOver(model, executor)]
    const masksOf = async (program: typeof plain, fail: boolean) => {
      const handles = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
      const masks: string[] = []
      for (let step = 0; step < 3; step++) {
        const bad = { ...batchOf(8), ids: new Int32Array(24).fill(99) }
        if (fail) await expect(program.step(bad, {}, handles)).rejects.toThrow(/ids/)
        masks.push((await program.step(batchOf(8), {}, handles)).dropped.join())
      }
      return masks
    }
    expect(await masksOf(troubled, true)).toEqual(await masksOf(plain, false))
    await executor.close()
  })
})
