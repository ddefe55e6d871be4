/** Ops that are made of others: closed forms in float64, and the device against the interpreter, gradients included. */
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { gradients } from '../../lib/graph/autodiff.js'
import { interpret } from '../../lib/graph/interpret.js'
import { input } from '../../lib/graph/leaf.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import {
  argmax,
  clamp,
  constant,
  leakyRelu,
  logSoftmax,
  logSumExp,
  logUniformLogProbability,
  min,
  multiply,
  normalize,
  prelu,
  sampleNegatives,
  squeeze,
  stack,
  sum,
  unsqueeze,
  variance,
} from '../../lib/index.js'
import { floats, type Loose, toTyped } from '../../lib/ops/support.js'
import { errorOf, SYMBOL } from './harness.js'

const WIDTH = 5
const x = input('x', [SYMBOL, WIDTH])
const w = input('w', [SYMBOL, WIDTH])
const slope = input('slope', [WIDTH])

type Row = readonly number[]
const total = (row: Row) => row.reduce((a, b) => a + b, 0)
const lse = (row: Row) => Math.log(total(row.map(Math.exp)))
const spread = (row: Row) => {
  const mean = total(row) / row.length
  return total(row.map((value) => (value - mean) ** 2))
}

/** Each gives a row's results from the row, and from the fixed slope. */
const composites: Readonly<Record<string, readonly [Tensor, (row: Row, slope: Row) => Row]>> = {
  leakyRelu: [leakyRelu(x, 0.125), (row) => row.map((value) => (value > 0 ? value : 0.125 * value))],
  prelu: [prelu(x, slope), (row, s) => row.map((value, i) => (value > 0 ? value : value * (s[i] as number)))],
  clamp: [clamp(x, -1, 0.5), (row) => row.map((value) => Math.min(Math.max(value, -1), 0.5))],
  logSumExp: [logSumExp(x), (row) => [lse(row)]],
  logSoftmax: [logSoftmax(x), (row) => row.map((value) => value - lse(row))],
  normalize: [normalize(x), (row) => row.map((value) => value / Math.hypot(...row))],
  variance: [variance(x, 1), (row) => [spread(row) / (WIDTH - 1)]],
  'variance of the population': [variance(x, 1, 1, { correction: 0 }), (row) => [spread(row) / WIDTH]],
  min: [min(x, 1), (row) => [Math.min(...row)]],
  stack: [stack([x, w], 1), (row) => [...row, ...row.map((value) => value / 2)]],
  unsqueeze: [unsqueeze(x, 2), (row) => row],
  squeeze: [squeeze(unsqueeze(x, 0), 0), (row) => row],
}

describe.each(Object.entries(composites))('%s', (_, [result, closed]) => {
  // Not the square: the length of a normalised row is constant.
  const loss: Loose = sum(multiply(multiply(result as Loose, result as Loose) as Loose, result as Loose) as Loose)
  const outputs = { result, gradient: gradients(loss, [x])[0] as Tensor }
  const runner = new GraphRunner(outputs, { poison: true, check: true })
  const random = createRandom(4)

  it.each([7, 0, 1, 9])('of %i rows', async (rows) => {
    const values = floats(random, [rows, WIDTH])
    const feeds = {
      x: values,
      w: { ...values, data: values.data.map((value) => value / 2) },
      slope: floats(random, [WIDTH], 0, 1),
    }
    const counts = { [SYMBOL]: rows }
    const expected = interpret(Object.values(outputs), { feeds, counts })
    const byRow = Array.from({ length: rows }, (_, row) =>
      closed([...feeds.x.data.subarray(row * WIDTH, (row + 1) * WIDTH)], [...feeds.slope.data]),
    )
    expect(errorOf([...(expected[0]?.data ?? [])], byRow.flat())).toBeLessThan(1e-9)
    const given = Object.fromEntries(
      runner.inputs.map(({ name }) => [name, toTyped(feeds[name as keyof typeof feeds])]),
    )
    const run = await runner.run({ feeds: given, counts })
    Object.keys(outputs).forEach((name, index) => {
      expect(errorOf(run.outputs[name]?.data ?? [], expected[index]?.data ?? []), name).toBeLessThan(1e-5)
    })
  })
})

describe('composites', () => {
  it('argmax takes the first of equals and passes over NaN', async () => {
    const rows = Float32Array.of(1, 3, 3, Number.NaN, -1, -1, Number.NaN, Number.NaN, Number.NaN)
    expect([...(await argmax(constant(rows, [3, 3])).data())]).toEqual([1, 1, 0])
  })

  it('normalize leaves zeros, with a finite gradient', async () => {
    const zeros = constant(new Float32Array(4), [1, 4])
    expect([...(await normalize(zeros).data())]).toEqual([0, 0, 0, 0])
    const [gradient] = gradients(sum(normalize(zeros)) as Loose, [zeros])
    expect([...((await gradient?.data()) ?? [])].every(Number.isFinite)).toBe(true)
  })

  it('refuse what does not fit', () => {
    expect(() => clamp(x, 1, 0)).toThrow(/^clamp: low and high should be numbers in order but got 1 and 0/)
    expect(() => normalize(x, { epsilon: 0 })).toThrow(/^normalize: epsilon should be above 1e-18 but got 0/)
    expect(() => unsqueeze(x as Loose, 3)).toThrow(
      /^unsqueeze: axis should be in \[0, 2\] for shape \[n, 5\] but got 3/,
    )
    expect(() => squeeze(x as Loose, 1)).toThrow(/^squeeze: axis should be one of size 1 but got 1 of \[n, 5\]/)
    expect(() => stack([x, slope] as never, 0 as never)).toThrow(
      /^stack: tensors\[1\] should be of shape \[n, 5\] but got \[5\]/,
    )
    expect(() => sampleNegatives([3], { classes: 5, distribution: 'zipf' as never })).toThrow(
      /^sampleNegatives: distribution should be 'uniform' or 'logUniform' but got zipf/,
    )
  })
})

describe('sampleNegatives', () => {
  const CLASSES = 20
  const COUNT = 200_000
  const random = constant(Int32Array.of(3, 1), [2])

  it.each(['uniform', 'logUniform'] as const)('draws %s ids as often as it says', async (distribution) => {
    const ids = await sampleNegatives([COUNT], { classes: CLASSES, distribution, random, salt: 1 }).data()
    const seen = new Float64Array(CLASSES)
    for (const id of ids) seen[id] = (seen[id] as number) + 1
    const all = constant(
      Int32Array.from({ length: CLASSES }, (_, id) => id),
      [CLASSES],
    )
    const logQ =
      distribution === 'uniform'
        ? new Float32Array(CLASSES).fill(-Math.log(CLASSES))
        : await logUniformLogProbability(all, CLASSES).data()
    expect(total([...logQ].map(Math.exp))).toBeCloseTo(1, 5)
    seen.forEach((count, id) => {
      const p = Math.exp(logQ[id] as number)
      // Five standard deviations of a binomial count.
      expect(Math.abs(count - COUNT * p)).toBeLessThan(5 * Math.sqrt(COUNT * p * (1 - p)))
    })
  })

  it('draws apart by salt, seed and step', async () => {
    const draw = async (seed: number, step: number, salt: number) =>
      (
        await sampleNegatives([50], { classes: 1e6, random: constant(Int32Array.of(seed, step), [2]), salt }).data()
      ).join()
    const drawn = await Promise.all([draw(1, 1, 1), draw(2, 1, 1), draw(1, 2, 1), draw(1, 1, 2), draw(1, 1, 1)])
    expect(new Set(drawn).size).toBe(4)
    expect(drawn[4]).toBe(drawn[0])
  })
})
