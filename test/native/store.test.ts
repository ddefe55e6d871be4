import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NativeArray, OptimizerState, ParameterSet, State, type StoreEntry } from '../../lib/runtime/index.js'
import { bindStep, failure, feedsOf, makeParameters, weightOf, weights } from './setup.js'

let bound: Awaited<ReturnType<typeof bindStep>>
beforeAll(async () => {
  bound = await bindStep()
})
afterAll(() => bound.executor.close())

const step = (parameters: ParameterSet) =>
  bound.executable.run({ counts: { batch: 1 }, feeds: feedsOf([0]), stores: [parameters] })

test('entries, zeros by default, bytes', async () => {
  const state = State.create([
    { name: 'mean', dtype: 'float32', shape: [2, 3] },
    { name: 'seen', dtype: 'bool', shape: [5], data: Uint8Array.of(0, 1, 7, 0, 255) },
    { name: 'step', dtype: 'int32', shape: [] },
    { name: 'none', dtype: 'float32', shape: [0, 4] },
  ])
  expect(state.entries[1]).toEqual({ name: 'seen', dtype: 'bool', shape: [5] })
  expect(state.bytes).toBe(24 + 5 + 4)
  expect(await state.read()).toEqual({
    mean: new Float32Array(6),
    seen: Uint8Array.of(0, 1, 1, 0, 1),
    step: new Int32Array(1),
    none: new Float32Array(0),
  })
})

test('parts of an entry, read and written', async () => {
  const data = Float32Array.of(0, 1, 2, 3, 4, 5)
  const parameters = ParameterSet.create([{ name: 'table', dtype: 'float32', shape: [2, 3], data }])
  const before = await parameters.clone()
  await parameters.writeRange('table', 4, Float32Array.of(40, 50))
  expect(await parameters.readRange('table', 3, 6)).toEqual(Float32Array.of(3, 40, 50))
  expect(await parameters.readRange('table', 6, 6)).toEqual(new Float32Array(0))
  expect((await before.read()).table).toEqual(data)
  await expect(parameters.readRange('table', 4, 7)).rejects.toThrow(/end should be .*6.* but got 7/)
  await expect(parameters.readRange('table', 3, 2)).rejects.toThrow(/end should be .*3.* but got 2/)
  await expect(parameters.readRange('tables', 0, 1)).rejects.toThrow(
    /name should be an entry of the store but got 'tables'/,
  )
  await expect(parameters.writeRange('table', 5, Float32Array.of(1, 2))).rejects.toThrow(/end should be .* but got 7/)
  await expect(parameters.writeRange('table', 0, Int32Array.of(1))).rejects.toThrow(
    /values should be a Float32Array but got an Int32Array/,
  )
})

test('large zeros cost no memory before they are written', async () => {
  const before = process.memoryUsage().rss
  const state = State.create([{ name: 'moments', dtype: 'float32', shape: [1 << 28] }])
  expect(await state.readRange('moments', 12345678, 12345680)).toEqual(new Float32Array(2))
  expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20)
  state[Symbol.dispose]()
})

test('large values come back whole, through memory of their own', async () => {
  const data = Float32Array.from({ length: 1 << 20 }, (_, index) => index)
  const parameters = ParameterSet.create([{ name: 'table', dtype: 'float32', shape: [1 << 20], data }])
  const { table } = await parameters.read(['table'])
  const isWhole = (array: NativeArray | undefined) => data.every((value, index) => array![index] === value)
  expect(isWhole(table)).toBe(true)
  table!.fill(0)
  expect(isWhole((await parameters.read()).table)).toBe(true)
})

test('creating copies, and so does writing', async () => {
  const data = weights()
  const parameters = makeParameters(data)
  data.fill(0)
  expect(await weightOf(parameters)).toEqual([...weights()])
  const written = parameters.write({ weight: data })
  data.fill(9)
  await written
  expect(await weightOf(parameters)).toEqual(Array(8).fill(0))
})

describe('clones', () => {
  test('go their own ways from the first write on', async () => {
    const original = makeParameters()
    const clone = await original.clone()
    expect(clone).toBeInstanceOf(ParameterSet)
    await step(original)
    expect(await weightOf(clone)).toEqual([...weights()])
    await step(clone)
    await step(clone)
    expect(await weightOf(original)).toEqual([...weights()].map((value) => 2 * value))
    expect(await weightOf(clone)).toEqual([...weights()].map((value) => 4 * value))
  })

  test('outlive what they were cloned from', async () => {
    const original = makeParameters()
    const clone = await original.clone()
    original[Symbol.dispose]()
    await step(clone)
    expect(await weightOf(clone)).toEqual([...weights()].map((value) => 2 * value))
  })

  test('a thousand, through one executable', async () => {
    const original = makeParameters()
    const clones = await Promise.all(Array.from({ length: 1000 }, () => original.clone()))
    await Promise.all(clones.map(step))
    await original.average(clones)
    expect(await weightOf(original)).toEqual([...weights()].map((value) => 2 * value))
  })
})

describe('average', () => {
  const integers = (values: number[], step: number) =>
    State.create([
      { name: 'mean', dtype: 'float32', shape: [values.length], data: Float32Array.from(values) },
      { name: 'step', dtype: 'int32', shape: [], data: Int32Array.of(step) },
    ])

  test('weighs float32 entries and copies others from the first', async () => {
    const target = integers([0, 0], 0)
    await target.average([integers([1, 2], 7), integers([10, 20], 8)], [0.5, 2])
    expect(await target.read()).toEqual({ mean: Float32Array.of(20.5, 41), step: Int32Array.of(7) })
  })

  test('may read its target', async () => {
    const moving = integers([1, 2], 7)
    await moving.average([moving, integers([3, 4], 8)], [0.75, 0.25])
    expect((await moving.read()).mean).toEqual(Float32Array.of(1.5, 2.5))
  })

  test('sums in float64', async () => {
    const many = Array.from({ length: 3 }, (_, index) => integers([[2 ** 25, 1, -(2 ** 25)][index]!], 0))
    const target = integers([0], 0)
    await target.average(many, [1, 1, 1])
    expect((await target.read()).mean).toEqual(Float32Array.of(1))
  })

  test('refuses other layouts, no stores and too few weights', async () => {
    const target = integers([0, 0], 0)
    expect(await failure(target.average([integers([1], 0)]))).toMatchObject({
      code: 'KAIROS_SHAPE',
      details: { argument: 'stores[0]' },
    })
    expect(await failure(target.average([]))).toMatchObject({
      code: 'KAIROS_ARGUMENT',
      details: { argument: 'stores' },
    })
    expect(await failure(target.average([target], []))).toMatchObject({
      code: 'KAIROS_ARGUMENT',
      details: { argument: 'weights' },
    })
  })
})

describe('refusals', () => {
  const good: StoreEntry = { name: 'w', dtype: 'float32', shape: [2] }
  const cases: [string, unknown, object][] = [
    ['no list', 'w', { code: 'KAIROS_ARGUMENT' }],
    ['a name twice', [good, good], { code: 'KAIROS_DUPLICATE', details: { argument: "'w'" } }],
    [
      'an unknown dtype',
      [{ ...good, dtype: 'float64' }],
      { code: 'KAIROS_DTYPE', details: { argument: 'entries[0].dtype' } },
    ],
    [
      'a negative size',
      [{ ...good, shape: [-1] }],
      { code: 'KAIROS_ARGUMENT', details: { argument: 'entries[0].shape.0', got: '-1' } },
    ],
    ['too many axes', [{ ...good, shape: Array(9).fill(1) }], { code: 'KAIROS_SHAPE' }],
    ['a product that overflows', [{ ...good, shape: [2 ** 40, 2 ** 40] }], { code: 'KAIROS_SHAPE' }],
    ['memory that does not exist', [{ ...good, shape: [2 ** 50] }], { code: 'KAIROS_OUT_OF_MEMORY' }],
    [
      'data of another length',
      [{ ...good, data: new Float32Array(3) }],
      { code: 'KAIROS_SHAPE', details: { argument: 'w', got: '3' } },
    ],
    [
      'data of another type',
      [{ ...good, data: new Int32Array(2) }],
      { code: 'KAIROS_DTYPE', details: { argument: 'w', got: 'an Int32Array' } },
    ],
  ]
  test.each(cases)('%s', async (_, entries, expected) => {
    const refused = failure((async () => ParameterSet.create(entries as StoreEntry[]))())
    expect(await refused).toMatchObject(expected)
  })

  test('unknown names, and nothing is written of a bad set of values', async () => {
    const state = State.create([good, { ...good, name: 'v' }])
    await expect(state.read(['x'])).rejects.toMatchObject({ code: 'KAIROS_UNKNOWN_NAME' })
    await expect(state.write({ w: Float32Array.of(1, 2), v: new Float32Array(1) })).rejects.toMatchObject({
      code: 'KAIROS_SHAPE',
    })
    expect(await state.read()).toEqual({ w: new Float32Array(2), v: new Float32Array(2) })
  })

  test('use after disposal', async () => {
    const optimizer = OptimizerState.create([good])
    optimizer[Symbol.dispose]()
    optimizer[Symbol.dispose]()
    await expect(optimizer.read()).rejects.toMatchObject({ code: 'KAIROS_DISPOSED' })
    const parameters = makeParameters()
    const running = step(parameters)
    parameters[Symbol.dispose]() // the run in flight keeps what it uses
    expect((await running).outputs.total!.data).toEqual(Float32Array.of(21))
    await expect(step(parameters)).rejects.toMatchObject({ code: 'KAIROS_DISPOSED' })
  })
})
