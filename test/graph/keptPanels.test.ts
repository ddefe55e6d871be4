/** Weights that products keep transposed between runs: made anew whenever the weights have changed. */
import { afterAll, describe, expect, it } from 'vitest'
import { compile, createParameters, Executor, field, normal, type ParameterSet, parameter } from '../../lib/index.js'
import { linear } from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'

const executor = new Executor({ threads: 2 })
afterAll(() => executor.close())

const [ROWS, DEPTH, COLUMNS] = [64, 40, 150]
const model = { weight: parameter([COLUMNS, DEPTH], normal(1)) }
const x = Float32Array.from({ length: ROWS * DEPTH }, (_, i) => Math.sin(i))
const program = compile(model, (m, b) => ({ y: linear(b.x as Loose, m.weight as Loose) }) as never, {
  schema: { x: field('float32', 'batch', DEPTH) },
  executor,
})

async function expectProduct(parameters: ParameterSet): Promise<void> {
  const { weight } = (await parameters.read()) as { weight: Float32Array }
  const { y } = (await program.step({ x }, {}, { parameters })) as unknown as { y: Float32Array }
  for (let i = 0; i < y.length; i += 97) {
    const [row, column] = [Math.floor(i / COLUMNS), i % COLUMNS]
    let sum = 0
    for (let k = 0; k < DEPTH; k++) sum += (x[row * DEPTH + k] as number) * (weight[column * DEPTH + k] as number)
    expect(y[i]).toBeCloseTo(sum, 3)
  }
}

describe('a product with a parameter', () => {
  it('follows parameters that are written, cloned and replaced by others', async () => {
    const parameters = createParameters(model, 1)
    await expectProduct(parameters)
    const clone = await parameters.clone()
    await parameters.write({ weight: new Float32Array(COLUMNS * DEPTH).fill(0.5) })
    await expectProduct(parameters)
    await expectProduct(clone)
    await expectProduct(parameters)
    await expectProduct(createParameters(model, 2))
  })

  it('keeps as many bytes as the weight has, in whole panels', async () => {
    await program.step({ x }, {}, { parameters: createParameters(model, 1) })
    const { description } = await program.runner.prepare({ batch: ROWS })
    expect(description.keptBytes).toBeGreaterThanOrEqual(4 * COLUMNS * DEPTH)
    expect(description.keptBytes).toBeLessThan(2 * 4 * COLUMNS * DEPTH)
  })
})
