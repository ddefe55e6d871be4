/** `tensor.data()` and `compile` are one mechanism. */
import { describe, expect, it } from 'vitest'
import { programCache } from '../../lib/graph/data.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import {
  add,
  constant,
  createParameters,
  input,
  matmul,
  multiply,
  normal,
  parameter,
  relu,
  sum,
} from '../../lib/index.js'

const matrix = (rows: number, columns: number, scale: number) =>
  constant(
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i) * scale),
    [rows, columns],
  )

describe('data()', () => {
  it('computes what the tensor says', async () => {
    const x = constant(Float32Array.of(1, -2, 3), [3])
    expect([...(await relu(multiply(x, 2)).data())]).toEqual([2, 0, 6])
    expect([...(await add(constant(Int32Array.of(1, 2), [2]), 1).data())]).toEqual([2, 3])
  })

  it('shares a program between structurally equal graphs', async () => {
    const build = (scale: number) => sum(matmul(matrix(4, 6, scale), matrix(6, 2, scale)))
    const before = { ...programCache }
    const results = []
    for (const scale of [1, 2, 3]) results.push((await build(scale).data())[0] as number)
    expect(programCache.misses - before.misses).toBe(1)
    expect(programCache.hits - before.hits).toBe(2)
    expect(results[1]).toBeCloseTo(4 * (results[0] as number), 4)
    expect(results[2]).toBeCloseTo(9 * (results[0] as number), 4)
  })

  it('gives the bits of a compiled program', async () => {
    const [a, b] = [matrix(5, 7, 1), matrix(7, 3, 1)]
    const runner = new GraphRunner({ y: matmul(input('a', [5, 7]), input('b', [7, 3])) })
    const leafOf = (tensor: typeof a | typeof b) => (tensor.value.node.leaf as { data: Float32Array }).data
    const { outputs } = await runner.run({ feeds: { a: leafOf(a), b: leafOf(b) } })
    expect(await matmul(a, b).data()).toEqual(outputs.y?.data)
  })

  it('needs parameters only where the tensor depends on them, and says so', async () => {
    const model = { weight: parameter([2, 2], normal(1)) }
    const parameters = createParameters(model)
    const weight = (await parameters.read(['weight'])).weight as Float32Array
    expect([...(await multiply(model.weight, 2).data({ parameters }))]).toEqual([...weight].map((x) => 2 * x))
    await expect(multiply(model.weight, 2).data()).rejects.toThrow(
      /data: stores\.parameters should be a parameters handle but got nothing/,
    )
  })

  it('refuses a tensor that must be fed', async () => {
    await expect(relu(input('x', ['batch'])).data()).rejects.toThrow(
      /data: input 'x': a tensor that must be fed\. Use compile\(\)/,
    )
  })
})
