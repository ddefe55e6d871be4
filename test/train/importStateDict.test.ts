/** A state dict from elsewhere: what fits is loaded by name, what does not is listed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  createParameters,
  createState,
  LayerNorm,
  Linear,
  parametersFor,
  StackedMlp,
  state,
  zeros,
} from '../../lib/index.js'
import { formatImport, importStateDict } from '../../lib/train/importStateDict.js'
import { type TensorSource, writeTensors } from '../../lib/train/safetensors.js'

let folder = ''
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-import-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

class Model {
  readonly input = new Linear(3, 2, zeros)
  readonly norm = new LayerNorm(2)
  readonly seen = state([], 'int32')
}

const numbers = (length: number, from = 1) => Float32Array.from({ length }, (_, i) => from + i)

async function fileOf(
  tensors: Readonly<Record<string, readonly [shape: readonly number[], values: Float32Array | Int32Array]>>,
) {
  const path = join(folder, `${count++}.safetensors`)
  const sources = Object.entries(tensors).map(
    ([name, [shape, values]]): TensorSource => ({
      name,
      shape,
      dtype: values instanceof Float32Array ? 'float32' : 'int32',
      read: (begin, end) => values.slice(begin, end),
    }),
  )
  await writeTensors(path, sources)
  return path
}

const model = new Model()
const shapes = createParameters(model).entries
const weightShape = shapes.find(({ name }) => name === 'input.weight')?.shape as readonly [number, number]
const complete = {
  'input.weight': [weightShape, numbers(6)],
  'input.bias': [[2], numbers(2, 10)],
  'norm.weight': [[2], numbers(2, 20)],
  'norm.bias': [[2], numbers(2, 30)],
  seen: [[], Int32Array.of(7)],
} as const

describe('importStateDict', () => {
  it('loads parameters and state by name', async () => {
    const [parameters, states] = [createParameters(model), createState(model)]
    const report = await importStateDict(model, await fileOf(complete), { parameters, state: states })
    expect(report).toEqual({ loaded: expect.any(Array), missing: [], unexpected: [], mismatched: [] })
    expect([...report.loaded].sort()).toEqual(Object.keys(complete).sort())
    expect(await parameters.read()).toEqual({
      'input.weight': numbers(6),
      'input.bias': numbers(2, 10),
      'norm.weight': numbers(2, 20),
      'norm.bias': numbers(2, 30),
    })
    expect((await states.read()).seen).toEqual(Int32Array.of(7))
  })

  it("loads into the model's own set where none is named, with names mapped and a matrix turned", async () => {
    const own = new Model()
    const { 'input.weight': _, 'input.bias': __, ...rest } = complete
    const turned = weightShape.toReversed()
    const path = await fileOf({
      ...rest,
      'fc.w': [turned, numbers(6)],
      'input.bias': [[2], numbers(2)],
      extra: [[1], numbers(1)],
    })
    await importStateDict(own, path, { rename: { 'fc.w': 'input.weight', extra: null }, transpose: ['input.weight'] })
    const weight = [...((await parametersFor(own).read())['input.weight'] as Float32Array)]
    const [rows, columns] = weightShape
    const expected = Array.from({ length: 6 }, (_, i) => 1 + (i % columns) * rows + Math.floor(i / columns))
    expect(weight).toEqual(expected)
  })

  it('lists what does not fit and changes nothing, or takes the rest', async () => {
    const parameters = createParameters(model)
    const before = await parameters.read()
    const { 'norm.bias': _, ...rest } = complete
    const path = await fileOf({
      ...rest,
      'norm.weight': [[3], numbers(3)],
      'old.norm': [[2], numbers(2)],
      seen: [[], numbers(1)],
    })
    const list = [
      '  loaded: 2',
      '  missing in the file: norm.bias',
      '  unexpected in the file: old.norm',
      '  mismatch: norm.weight is float32 [2], the file has float32 [3]',
      '  mismatch: seen is int32 [], the file has float32 []',
    ]
    await expect(importStateDict(model, path, { parameters })).rejects.toThrow(
      new RegExp(`one with 4 misfits\\n${list.join('\\n').replaceAll(/[[\].]/g, '\\$&')}`),
    )
    expect(await parameters.read()).toEqual(before)
    const report = await importStateDict(model, path, { parameters, strict: false })
    expect(formatImport(report)).toBe(list.join('\n'))
    expect((await parameters.read())['input.bias']).toEqual(numbers(2, 10))
  })

  it('refuses two names for one place', async () => {
    const path = await fileOf({ ...complete, other: [[2], numbers(2)] })
    await expect(importStateDict(model, path, { rename: { other: 'norm.bias' } })).rejects.toThrow(
      /should be a name of its own but got 'norm\.bias', which/,
    )
  })
})

describe('importStateDict of stacked layers', () => {
  class Experts {
    readonly experts = new StackedMlp(2, [3, 2])
  }
  const own = new Experts()
  const layers = {
    'net.0.0.weight': [[2, 3], numbers(6)],
    'net.1.0.weight': [[2, 3], numbers(6, 7)],
    'net.0.0.bias': [[2], numbers(2, 20)],
    'net.1.0.bias': [[2], numbers(2, 22)],
  } as const
  const rename = (name: string) => name.replace('net.', 'experts.')

  it('fills them layer by layer, in order', async () => {
    const parameters = createParameters(own)
    const { 'net.0.0.weight': first, ...later } = layers
    const report = await importStateDict(own, await fileOf({ ...later, 'net.0.0.weight': first }), {
      parameters,
      rename,
    })
    expect(report).toEqual({
      loaded: expect.arrayContaining(['experts.0.weight', 'experts.0.bias']),
      missing: [],
      unexpected: [],
      mismatched: [],
    })
    expect(report.loaded).toHaveLength(2)
    expect(await parameters.read()).toEqual({ 'experts.0.weight': numbers(12), 'experts.0.bias': numbers(4, 20) })
  })

  it('turns layers that stand the other way round, and takes whole stacks too', async () => {
    const parameters = createParameters(own)
    const path = await fileOf({
      'experts.0.0.weight': [[3, 2], Float32Array.of(1, 4, 2, 5, 3, 6)],
      'experts.1.0.weight': [[3, 2], Float32Array.of(7, 10, 8, 11, 9, 12)],
      'experts.0.bias': [[2, 2], numbers(4)],
    })
    await importStateDict(own, path, { parameters, transpose: ['experts.0.weight'] })
    expect(await parameters.read()).toEqual({ 'experts.0.weight': numbers(12), 'experts.0.bias': numbers(4) })
  })

  it('names the layers that are missing or do not fit', async () => {
    const parameters = createParameters(own)
    const { 'net.1.0.weight': _, 'net.0.0.bias': __, 'net.1.0.bias': ___, ...rest } = layers
    const report = await importStateDict(own, await fileOf(rest), { parameters, rename, strict: false })
    expect(report.missing).toEqual(['experts.1.0.weight', 'experts.0.bias'])
    const wide = await fileOf({ ...layers, 'net.1.0.bias': [[3], numbers(3)] })
    const { mismatched } = await importStateDict(own, wide, { parameters, rename, strict: false })
    expect(mismatched).toEqual([{ name: 'experts.1.0.bias', expected: 'float32 [2]', got: 'float32 [3]' }])
  })

  it('refuses a stack that is given as a whole and layer by layer', async () => {
    const path = await fileOf({ 'experts.0.bias': [[2, 2], numbers(4)], ...layers })
    await expect(importStateDict(own, path, { rename })).rejects.toThrow(
      /should be a name of its own but got 'experts\.\d\.0\.bias', which 'experts\.0\.bias' has/,
    )
  })
})
