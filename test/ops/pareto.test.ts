/** Weights of task gradients against independent solutions, and where gradients vanish, agree, differ hugely or break. */
import { afterAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { Executor, input } from '../../lib/index.js'
import {
  alignedMtlWeights,
  caGradWeights,
  imtlGWeights,
  minNormWeights,
  nashMtlWeights,
  pcGradWeights,
  upGradWeights,
} from '../../lib/ops/index.js'

type Matrix = readonly (readonly number[])[]

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

const methods = {
  minNorm: (gram: never, tasks: readonly string[]) => minNormWeights(gram, { tasks }).weights,
  pcGrad: (gram: never, tasks: readonly string[]) => pcGradWeights(gram, { tasks, salt: 3 }),
  caGrad: (gram: never, tasks: readonly string[]) => caGradWeights(gram, { tasks, radius: RADIUS }),
  imtlG: (gram: never, tasks: readonly string[]) => imtlGWeights(gram, { tasks }),
  nashMtl: (gram: never, tasks: readonly string[]) => nashMtlWeights(gram, { tasks }),
  upGrad: (gram: never, tasks: readonly string[]) => upGradWeights(gram, { tasks }),
  alignedMtl: (gram: never, tasks: readonly string[]) => alignedMtlWeights(gram, { tasks }),
}
const RADIUS = 0.4
const names = Object.keys(methods) as (keyof typeof methods)[]

async function run(method: keyof typeof methods, gram: Matrix, seed = [1, 2]): Promise<number[]> {
  const count = gram.length
  const weights = methods[method](input('gram', [count, count]) as never, ['click', 'buy', 'share'])
  const runner = new GraphRunner({ weights }, { executor })
  const feeds = {
    gram: Float32Array.from(gram.flat()),
    ...(method === 'pcGrad' ? { random: Int32Array.from(seed) } : {}),
  }
  return Array.from((await runner.run({ feeds })).outputs.weights?.data ?? [])
}

/** The Gram matrix of rows, rounded as the op takes it. */
const gramOf = (rows: Matrix): number[][] => rows.map((a) => rows.map((b) => Math.fround(dot(a, b))))
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0)
const times = (matrix: Matrix, x: readonly number[]) => matrix.map((row) => dot(row, x))
const energy = (gram: Matrix, w: readonly number[]) => dot(w, times(gram, w))
const squares = (gram: Matrix) => gram.map((row, i) => row[i] as number)

function gradients(seed: number, count: number, width = 2 * count + 3): number[][] {
  const random = createRandom(seed)
  const shared = Array.from({ length: width }, () => random.normal())
  return Array.from({ length: count }, () => {
    const [pull, length] = [1.5 * random.normal(), 2 ** random.normal()]
    return shared.map((x) => length * (pull * x + random.normal()))
  })
}

/** The simplex' nearest point (Duchi et al. 2008). */
function project(x: readonly number[]): number[] {
  const sorted = [...x].sort((a, b) => b - a)
  let [sum, shift] = [0, 0]
  sorted.forEach((value, i) => {
    sum += value
    if (value - (sum - 1) / (i + 1) > 0) shift = (sum - 1) / (i + 1)
  })
  return x.map((value) => Math.max(value - shift, 0))
}

/** Projected gradient with backtracking, accelerated with restarts, until a step moves nothing. */
function descend(
  value: (x: readonly number[]) => number,
  slope: (x: readonly number[]) => readonly number[],
  onto: (x: readonly number[]) => number[],
  start: readonly number[],
): number[] {
  let x = onto(start)
  let y = x
  let momentum = 1
  let step = 1
  for (let i = 0; i < 20_000; i++) {
    const [at, down] = [value(y), slope(y)]
    let next = x
    for (step *= 1.2; step > 1e-40; step /= 2) {
      next = onto(y.map((value, k) => value - step * (down[k] as number)))
      const move = next.map((value, k) => value - (y[k] as number))
      if (value(next) <= at + dot(down, move) + dot(move, move) / (2 * step) + 1e-16 * Math.abs(at)) break
    }
    const moved = next.map((value, k) => value - (x[k] as number))
    if (dot(moved, moved) <= 1e-31 * dot(next, next)) return next
    const restart = dot(down, moved) > 0
    const faster = restart ? 1 : (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2
    const push = restart ? 0 : (momentum - 1) / faster
    y = next.map((value, k) => value + push * (moved[k] as number))
    x = next
    momentum = faster
  }
  return x
}

function inverse(matrix: Matrix): number[][] {
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))])
  for (const [k, pivot] of rows.entries()) {
    const by = pivot[k] as number
    pivot.forEach((x, j) => {
      pivot[j] = x / by
    })
    for (const row of rows) {
      if (row === pivot) continue
      const factor = row[k] as number
      row.forEach((x, j) => {
        row[j] = x - factor * (pivot[j] as number)
      })
    }
  }
  return rows.map((row) => row.slice(matrix.length))
}

const cases = [2, 3, 5, 8].flatMap((count) => [1, 2, 3].map((seed) => [count, seed] as const))

describe('against independent solutions', () => {
  it.each(cases)('min-norm of %i tasks, draw %i: projected gradient', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const weights = await run('minNorm', gram)
    const best = descend(
      (w) => energy(gram, w) / 2,
      (w) => times(gram, w),
      project,
      gram.map(() => 1 / count),
    )
    // In float32 the sum is 1 but for rounding, which is not the solver's.
    const sum = weights.reduce((total, x) => total + x, 0)
    const found = weights.map((x) => x / sum)
    expect(Math.abs(energy(gram, found) - energy(gram, best))).toBeLessThan(1e-8 * energy(gram, best))
    expect(Math.min(...weights)).toBeGreaterThanOrEqual(0)
    expectNear(weights, best, 2e-6)
    const { gap } = (
      await new GraphRunner({ gap: minNormWeights(input('gram', [count, count])).gap }, { executor }).run({
        feeds: { gram: Float32Array.from(gram.flat()) },
      })
    ).outputs
    expect(gap?.data[0]).toBeLessThan(1e-10 * Math.max(...squares(gram)))
  })

  it.each(cases)('CAGrad of %i tasks, draw %i: projected gradient on the dual', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const equal = gram.map(() => 1 / count)
    const toward = times(gram, equal)
    const s = RADIUS * Math.sqrt(energy(gram, equal))
    const value = (w: readonly number[]) => dot(toward, w) + s * Math.sqrt(energy(gram, w))
    const slope = (w: readonly number[]) => {
      const length = Math.sqrt(energy(gram, w))
      return times(gram, w).map((x, i) => (toward[i] as number) + (s * x) / length)
    }
    const best = descend(value, slope, project, equal)
    const weights = await run('caGrad', gram)
    const added = weights.map((x) => x - Math.fround(1 / count))
    const total = added.reduce((sum, x) => sum + x, 0)
    const w = project(added.map((x) => x / total))
    expect(value(w) - value(best)).toBeLessThan(1e-8 * s * Math.sqrt(energy(gram, best)))
    // The added direction has length s.
    expect(Math.sqrt(energy(gram, added)) / s).toBeCloseTo(1, 5)
  })

  it.each(cases)('UPGrad of %i tasks, draw %i: projected gradient per task', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const projections = gram.map((_, i) => {
      const least = (v: readonly number[]) => v.map((x, k) => Math.max(x, k === i ? 1 : 0))
      return descend(
        (v) => energy(gram, v) / 2,
        (v) => times(gram, v),
        least,
        gram.map((_, k) => (k === i ? 1 : 0)),
      )
    })
    const best = gram.map((_, k) => projections.reduce((sum, v) => sum + (v[k] as number), 0) / count)
    const weights = await run('upGrad', gram)
    expectNear(weights, best, 1e-6)
    // It conflicts with no task.
    const along = times(gram, weights)
    expect(Math.min(...along)).toBeGreaterThan(-1e-6 * Math.max(...squares(gram)))
  })

  it.each(cases)('Nash-MTL of %i tasks, draw %i: alpha (G alpha) = 1', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const weights = await run('nashMtl', gram)
    times(gram, weights).forEach((x, i) => expect(x * (weights[i] as number)).toBeCloseTo(1, 4))
    expect(Math.min(...weights)).toBeGreaterThan(0)
  })

  it.each(cases)('IMTL-G of %i tasks, draw %i: equal projections, sum 1', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const weights = await run('imtlG', gram)
    const norms = squares(gram).map(Math.sqrt)
    const along = times(gram, weights).map((x, i) => x / (norms[i] as number))
    const size = Math.sqrt(Math.max(...squares(gram)))
    for (const x of along)
      expect(Math.abs(x - (along[0] as number))).toBeLessThan(1e-5 * size * Math.max(...weights.map(Math.abs)))
    expect(weights.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 4)
  })

  it.each(cases)('Aligned-MTL of %i tasks, draw %i: sigma G^-1/2 1 by Denman and Beavers', async (count, seed) => {
    const gram = gramOf(gradients(seed, count))
    const half = (a: Matrix, b: Matrix) => a.map((row, i) => row.map((x, j) => (x + (b[i]?.[j] as number)) / 2))
    let root: Matrix = gram
    let inverseRoot: Matrix = gram.map((row, i) => row.map((_, j) => (i === j ? 1 : 0)))
    for (let i = 0; i < 60; i++)
      [root, inverseRoot] = [half(root, inverse(inverseRoot)), half(inverseRoot, inverse(root))]
    let vector: readonly number[] = gram.map((_, i) => 1 + i / 7)
    for (let i = 0; i < 3000; i++) {
      vector = times(inverseRoot, vector)
      const length = Math.sqrt(dot(vector, vector))
      vector = vector.map((x) => x / length)
    }
    const sigma = 1 / dot(vector, times(inverseRoot, vector))
    const best = inverseRoot.map((row) => sigma * row.reduce((sum, x) => sum + x, 0))
    expectNear(await run('alignedMtl', gram), best, 1e-6)
  })

  it.each(cases)('PCGrad of %i tasks, draw %i: projections of the gradients themselves', async (count, seed) => {
    const rows = gradients(seed, count)
    const gram = gramOf(rows)
    const weights = await run('pcGrad', gram)
    const combined = (w: readonly number[]) =>
      (rows[0] as number[]).map((_, i) =>
        dot(
          w,
          rows.map((row) => row[i] as number),
        ),
      )
    if (count > 2) {
      expect(await run('pcGrad', gram)).toEqual(weights)
      return
    }
    const projected = rows.map((row, i) => {
      const other = rows[1 - i] as number[]
      const product = dot(row, other)
      return product < 0 ? row.map((x, k) => x - (product / dot(other, other)) * (other[k] as number)) : row
    })
    combined(weights).forEach((x, k) =>
      expect(x).toBeCloseTo((projected[0]?.[k] as number) + (projected[1]?.[k] as number), 4),
    )
  })

  it('PCGrad takes an order from seed and step', async () => {
    const gram = gramOf(gradients(2, 6).map((row, i) => row.map((x) => (i % 2 ? -x : x) + 1)))
    const some = await Promise.all([1, 2, 3, 4].map((step) => run('pcGrad', gram, [7, step])))
    expect(new Set(some.map((weights) => weights.join())).size).toBeGreaterThan(1)
    expect(await run('pcGrad', gram, [7, 3])).toEqual(some[2])
  })
})

describe('at the edges', () => {
  it.each(names)('%s of one task', async (method) => {
    const [weight] = await run(method, [[4]])
    expect(weight).toBeCloseTo(method === 'nashMtl' ? 0.5 : method === 'caGrad' ? 1 + RADIUS : 1, 6)
  })

  it.each(names)('%s of equal gradients weighs them so that the direction is theirs', async (method) => {
    const weights = await run(
      method,
      [1, 2, 3].map(() => [9, 9, 9]),
    )
    const total = weights.reduce((sum, x) => sum + x, 0)
    const expected = {
      minNorm: 1,
      pcGrad: 3,
      caGrad: 1 + RADIUS,
      imtlG: 1,
      nashMtl: 1 / Math.sqrt(3),
      upGrad: 1,
      alignedMtl: 3,
    }
    expect(total).toBeCloseTo(expected[method], 5)
    if (method !== 'minNorm' && method !== 'caGrad')
      expect(Math.max(...weights) - Math.min(...weights)).toBeLessThan(1e-6)
  })

  it.each(names)('%s of a vanishing gradient is finite', async (method) => {
    const weights = await run(method, [
      [4, 0, -1],
      [0, 0, 0],
      [-1, 0, 2],
    ])
    expect(weights.every(Number.isFinite)).toBe(true)
    if (method === 'minNorm') expect(weights).toEqual([0, 1, 0])
    if (method === 'imtlG' || method === 'nashMtl') expect(weights[1]).toBe(0)
  })

  it.each(names)('%s of vanishing gradients alone is finite', async (method) => {
    const weights = await run(method, [
      [0, 0],
      [0, 0],
    ])
    expect(weights.every(Number.isFinite)).toBe(true)
  })

  it.each(names)('%s of gradients 1e10 and 1e-10 long beside one of length 1', async (method) => {
    const lengths = [1e10, 1, 1e-10]
    const cosines = [
      [1, -0.5, 0.25],
      [-0.5, 1, -0.5],
      [0.25, -0.5, 1],
    ]
    const gram = cosines.map((row, i) => row.map((x, j) => x * (lengths[i] as number) * (lengths[j] as number)))
    const weights = await run(method, gram)
    expect(weights.every(Number.isFinite)).toBe(true)
    // The shortest is nearest to zero: it alone is the min-norm point.
    if (method === 'minNorm') expect(weights[2]).toBeCloseTo(1, 9)
    // Bargaining does not see lengths.
    if (method === 'nashMtl') {
      const alone = await run('nashMtl', cosines)
      weights.forEach((x, i) => expect(x * (lengths[i] as number)).toBeCloseTo(alone[i] as number, 5))
    }
  })

  it.each(names)('%s of opposite gradients stays finite, and cancels where the method does', async (method) => {
    const gram = [
      [1, -2],
      [-2, 4],
    ]
    const weights = await run(method, gram)
    expect(weights.every(Number.isFinite)).toBe(true)
    expect(energy(gram, weights)).toBeLessThan(4)
    if (method === 'minNorm') expectNear(weights, [2 / 3, 1 / 3], 1e-6)
  })

  it.each(names)('%s refuses a gradient that is not finite, by the name of its task', async (method) => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const gram = [
        [1, bad],
        [bad, bad],
      ]
      await expect(run(method, gram)).rejects.toMatchObject({
        code: 'KAIROS_NON_FINITE',
        message: expect.stringMatching(
          new RegExp(
            `^${method}Weights: gradient of task 1 \\('buy'\\) should be finite but got a squared norm of ${bad} .*The step changed nothing`,
          ),
        ),
      })
    }
  })

  it('solves 64 tasks', async () => {
    const gram = gramOf(gradients(4, 64))
    for (const method of names) expect((await run(method, gram)).every(Number.isFinite)).toBe(true)
  })
})

function expectNear(got: readonly number[], expected: readonly number[], tolerance: number): void {
  const greatest = Math.max(...expected.map(Math.abs))
  got.forEach((x, i) =>
    expect(Math.abs(x - (expected[i] as number)), `${got} and ${expected}`).toBeLessThan(tolerance * greatest),
  )
}
