/** What the registry's cases cannot say of attention: refusals of data, symbols for offsets, bits at any thread count. */
import { afterAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { interpret } from '../../lib/graph/interpret.js'
import type { Tensor } from '../../lib/graph/node.js'
import { attention, Executor, GraphRunner, gradients, input, sum, targetAttention } from '../../lib/index.js'
import { floats, toTyped, typed } from '../../lib/ops/support.js'
import { errorOf } from './harness.js'

const random = createRandom(17)
const executors = [1, 2].map((threads) => new Executor({ threads }))
afterAll(async () => {
  await Promise.all(executors.map((executor) => executor.close()))
})

const [batch, length, heads, width] = [5, 70, 2, 24]
const shape = [batch, length, heads, width] as const
const [q, k, v] = [input('q', shape), input('k', shape), input('v', shape)]
const heads3 = { q: floats(random, shape), k: floats(random, shape), v: floats(random, shape) }
const range = input('range', [batch, 2], 'int32')
const rangeOf = (edges: number[]) => typed('int32', [batch, 2], (index) => edges[index] as number)

const typedFeeds = (feeds: Record<string, Parameters<typeof toTyped>[0]>) =>
  Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, toTyped(array)]))

describe('attention', () => {
  it('gives the same bits at any number of threads', async () => {
    // Five heads in all are few for two threads and not for one: their queries are cut into other chunks.
    const [rows, time] = [5, 50]
    const [a, b, c] = ['q', 'k', 'v'].map((name) => input(name, [rows, time, 1, width]))
    const bias = input('bias', [1, time, time])
    const y = attention(a as typeof q, b as typeof q, c as typeof q, {
      causal: true,
      range,
      bias,
      dropout: { rate: 0.2, random: input('random', [2], 'int32') },
    })
    const [dq, dk, dv, dbias] = gradients(sum(y), [a, b, c, bias] as Tensor[]) as Tensor[]
    const feeds = typedFeeds({
      ...Object.fromEntries(['q', 'k', 'v'].map((name) => [name, floats(random, [rows, time, 1, width])])),
      range: rangeOf([0, 50, 3, 50, 49, 50, 0, 1, 7, 7]),
      bias: floats(random, [1, time, time]),
      random: typed('int32', [2], (index) => 7 + index),
    })
    const outputs = { y, dq, dk, dv, dbias } as Record<string, Tensor>
    const runs = await Promise.all(executors.map((executor) => new GraphRunner(outputs, { executor }).run({ feeds })))
    for (const name of Object.keys(outputs)) expect(runs[1]?.outputs[name]?.data).toEqual(runs[0]?.outputs[name]?.data)
  })

  it.each([
    ['an end beyond the keys', [0, 70, 0, 71, 0, 70, 0, 70, 0, 70], /range bound 3 .*in \[0, 71\).*71/],
    ['a negative start', [0, 70, 0, 70, -1, 70, 0, 70, 0, 70], /range bound 4 .*in \[0, 71\).*-1/],
    ['a negative end', [0, -(2 ** 31), 0, 70, 0, 70, 0, 70, 0, 70], /range bound 1 .*in \[0, 71\).*-2147483648/],
    ['a start beyond the end', [0, 70, 0, 70, 0, 70, 9, 5, 0, 70], /range bound 6 .*in \[0, 6\).*9/],
    [
      'huge numbers',
      [2 ** 31 - 1, 2 ** 31 - 1, 0, 70, 0, 70, 0, 70, 0, 70],
      /range bound 1 .*in \[0, 71\).*2147483647/,
    ],
  ])('refuses %s', async (_, edges, message) => {
    const y = attention(q, k, v, { range })
    const [dk] = gradients(sum(y), [k]) as Tensor[]
    const feeds = { ...heads3, range: rangeOf(edges) }
    for (const executor of executors) {
      const runner = new GraphRunner({ y, dk: dk as Tensor }, { executor })
      await expect(runner.run({ feeds: typedFeeds(feeds) })).rejects.toThrow(message)
    }
    expect(() => interpret([y], { feeds })).toThrow(/attention: range, element \d/)
  })

  it('gives 0, and no gradient, where a bias hides every key', async () => {
    const bias = input('bias', [heads, length, length])
    const y = attention(q, k, v, { bias })
    const [dq, dk] = gradients(sum(y), [q, k]) as Tensor[]
    const hidden = typed('float32', [heads, length, length], (index) =>
      Math.floor(index / length) % length === 3 ? Number.NEGATIVE_INFINITY : index % 3,
    )
    const feeds = { ...heads3, bias: hidden }
    const outputs = { y, dq: dq as Tensor, dk: dk as Tensor }
    const run = await new GraphRunner(outputs, { executor: executors[0] as Executor }).run({ feeds: typedFeeds(feeds) })
    const expected = interpret(Object.values(outputs), { feeds })
    for (const [index, name] of Object.keys(outputs).entries()) {
      const data = run.outputs[name]?.data as Float32Array
      expect(errorOf(data, expected[index]?.data ?? [])).toBeLessThan(1e-5)
      if (name === 'dk') continue
      const row = data.slice(3 * heads * width, 4 * heads * width)
      expect(row.every((value) => value === 0)).toBe(true)
    }
  })

  it('lets a number that is none through', async () => {
    const y = attention(q, k, v)
    const broken = { ...heads3.q, data: heads3.q.data.slice() }
    broken.data[0] = Number.NaN
    const feeds = typedFeeds({ ...heads3, q: broken })
    const { outputs } = await new GraphRunner({ y }, { executor: executors[0] as Executor }).run({ feeds })
    expect(outputs.y?.data[0]).toBeNaN()
    expect(outputs.y?.data[width]).not.toBeNaN()
  })

  it('asks for a scale where heads have no literal width', () => {
    const open = input('open', ['batch', 5, 2, 'width'])
    expect(() => attention(open, open, open)).toThrow(
      /^attention: q should be of a literal number of channels a head, or the scale given but got width/,
    )
    expect(attention(open, open, open, { scale: 1 }).shape).toEqual(['batch', 5, 2, 'width'])
  })
})

describe('targetAttention', () => {
  const [queries, keys, values] = [
    input('q', ['batch', 1, 2, 16]),
    input('k', ['count', 2, 16]),
    input('v', ['count', 2, 16]),
  ]
  const offsets = input('offsets', ['batch+1'], 'int32')
  const y = targetAttention(queries, keys, values, offsets)
  const [dq, dk, dv] = gradients(sum(y), [queries, keys, values]) as Tensor[]
  const outputs = { y, dq, dk, dv } as Record<string, Tensor>

  const feedsOf = (lengths: readonly number[], rows: number) => {
    const sums = [0]
    for (const size of lengths) sums.push((sums.at(-1) as number) + size)
    return {
      q: floats(random, [lengths.length, 1, 2, 16]),
      k: floats(random, [rows, 2, 16]),
      v: floats(random, [rows, 2, 16]),
      offsets: typed('int32', [sums.length], (index) => sums[index] as number),
    }
  }

  it('follows live counts of users and rows below a capacity', async () => {
    const capacities = { batch: 20, count: 900 }
    for (const executor of executors) {
      const runner = new GraphRunner(outputs, { executor, poison: true, check: true })
      for (const lengths of [[], [0], [5], [3, 0, 200, 1, 40], Array.from({ length: 20 }, () => random.int(40))]) {
        const feeds = feedsOf(
          lengths,
          lengths.reduce((a, b) => a + b, 0),
        )
        const counts = { batch: lengths.length, count: feeds.k.shape[0] as number }
        const run = await runner.run({ feeds: typedFeeds(feeds), counts, capacities })
        const expected = interpret(Object.values(outputs), { feeds, counts })
        Object.keys(outputs).forEach((name, index) => {
          const error = errorOf(run.outputs[name]?.data ?? [], expected[index]?.data ?? [])
          expect(error, `${name} of ${lengths}`).toBeLessThan(1e-5)
        })
      }
    }
  })

  it.each([
    ['an offset beyond the rows', [0, 3, 8], /offset 1 .*|offset 2 .*in \[0, 8\).*8/],
    ['a falling offset', [0, 5, 3], /offset 1 .*in \[0, 4\).*5/],
    ['a negative offset', [-2, 3, 7], /offset 0 .*in \[0, 4\).*-2/],
    ['huge numbers', [2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 1], /offset 0 .*in \[0, 1\).*2147483647/],
  ])('refuses %s', async (_, bad, message) => {
    const feeds = { ...feedsOf([3, 4], 7), offsets: typed('int32', [3], (index) => bad[index] as number) }
    for (const executor of executors) {
      const runner = new GraphRunner(outputs, { executor })
      await expect(runner.run({ feeds: typedFeeds(feeds) })).rejects.toThrow(message)
    }
    expect(() => interpret([y], { feeds })).toThrow(/targetAttention: offsets, element \d/)
  })
})
