/** Random graphs with their gradients: passes, plan and kernels together against the float64 interpreter of the traced graph. */
import { describe, expect, it } from 'vitest'
import { createRandom, type Random } from '../../lib/core/random.js'
import { gradients } from '../../lib/graph/autodiff.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { input } from '../../lib/index.js'
import * as ops from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'

const [ROWS, COLUMNS, WIDTH] = [5, 6, 4]
const GRAPHS = 120

/** Tensors of three ranks to draw operands from: [rows, columns], [columns], []. */
interface Pool {
  readonly matrices: Loose[]
  readonly vectors: Loose[]
  readonly scalars: Loose[]
}

function grow(pool: Pool, random: Random, weights: Loose): void {
  const pick = <T>(list: readonly T[]): T => list[random.int(list.length)] as T
  const matrix = () => pick(pool.matrices)
  const vector = () => pick(pool.vectors)
  const steps: (() => void)[] = [
    () => pool.matrices.push(ops.add(matrix(), matrix())),
    () => pool.matrices.push(ops.subtract(matrix(), matrix())),
    () => pool.matrices.push(ops.multiply(matrix(), ops.tanh(matrix()))),
    () => pool.matrices.push(ops.multiply(matrix(), ops.sigmoid(pick(pool.scalars)))),
    () => pool.matrices.push(ops.gelu(matrix())),
    () => pool.matrices.push(ops.add(ops.multiply(matrix(), 0.5), random.normal())),
    () => pool.matrices.push(ops.add(matrix(), ops.broadcast(vector(), 0, [ROWS]) as Loose)),
    () => pool.matrices.push(ops.select(ops.greater(matrix(), 0.1), matrix(), matrix())),
    () => pool.matrices.push(ops.softmax(matrix())),
    () => pool.matrices.push(ops.layerNorm(matrix(), vector(), vector())),
    () =>
      pool.matrices.push(ops.matmul(ops.linear(matrix(), weights, { activation: 'relu' }) as Loose, weights) as Loose),
    () =>
      pool.matrices.push(
        ops.transpose(ops.reshape(ops.transpose(matrix(), [1, 0]) as Loose, [COLUMNS, ROWS]) as Loose, [1, 0]) as Loose,
      ),
    () =>
      pool.matrices.push(
        ops.concat([ops.slice(matrix(), 0, 0, 2), ops.slice(matrix(), 0, 2, ROWS - 2)] as never, 0 as never) as Loose,
      ),
    () => pool.vectors.push(ops.mean(matrix(), 0) as Loose),
    () => pool.vectors.push(ops.tanh(vector())),
    () => pool.vectors.push(ops.multiply(vector(), vector())),
    () => pool.scalars.push(ops.tanh(ops.sum(vector()) as Loose)),
    () => pool.scalars.push(ops.mean(ops.square(matrix())) as Loose),
  ]
  pick(steps)()
}

function randomGraph(seed: number) {
  const random = createRandom(seed).fork('graph')
  const shapes = { a: [ROWS, COLUMNS], b: [ROWS, COLUMNS], v: [COLUMNS], s: [], w: [WIDTH, COLUMNS] }
  const leaves = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, input(name, shape) as Loose]))
  const { a, b, v, s, w } = leaves as Record<keyof typeof shapes, Loose>
  const pool: Pool = { matrices: [a, b], vectors: [v], scalars: [s] }
  const length = 4 + random.int(24)
  for (let step = 0; step < length; step++) grow(pool, random, w)
  const last = pool.matrices.at(-1) as Loose
  const loss = ops.add(
    ops.add(ops.mean(ops.tanh(last)) as Loose, ops.mean(pool.vectors.at(-1) as Loose) as Loose),
    pool.scalars.at(-1) as Loose,
  )
  const wanted = Object.entries(leaves)
  const found = gradients(
    loss,
    wanted.map(([, tensor]) => tensor),
  )
  const outputs: Record<string, Loose> = { loss, last }
  found.forEach((gradient, index) => {
    if (gradient) outputs[`d${wanted[index]?.[0]}`] = gradient as Loose
  })
  const feeds = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1)
      return [name, Float32Array.from({ length: count }, () => random.normal())]
    }),
  )
  return { outputs, feeds, shapes }
}

describe('random graphs', () => {
  it(`${GRAPHS} of them compute what their trace says, gradients included`, async () => {
    for (let seed = 0; seed < GRAPHS; seed++) {
      const { outputs, feeds, shapes } = randomGraph(seed)
      const references = Object.fromEntries(
        Object.entries(feeds).map(([name, data]): [string, ReferenceArray] => [
          name,
          { dtype: 'float32', shape: shapes[name as 'a'], data: Float64Array.from(data) },
        ]),
      )
      const names = Object.keys(outputs)
      const expected = interpret(Object.values(outputs), { feeds: references })
      const runner = new GraphRunner(outputs, { poison: true })
      const used = Object.fromEntries(runner.inputs.map(({ name }) => [name, feeds[name] as Float32Array]))
      const results = (await runner.run({ feeds: used })).outputs
      names.forEach((name, index) => {
        const [got, wanted] = [results[name]?.data as Float32Array, (expected[index] as ReferenceArray).data]
        const largest = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 1)
        got.forEach((x, i) => {
          if (!(Math.abs(x - (wanted[i] as number)) <= 2e-5 * largest)) {
            expect.fail(`seed ${seed}, ${name}[${i}]: ${x}, expected ${wanted[i]}`)
          }
        })
      })
    }
  })
})
