/** A step that fails changes no bit of any state, and the next one works. */
import { describe, expect, it } from 'vitest'
import {
  adam,
  all,
  assign,
  compile,
  createState,
  isKairosError,
  multiply,
  scalarInput,
  state,
} from '../../lib/index.js'
import { add, log, mean } from '../../lib/ops/index.js'
import { batchOf, freshParameters, SmallModel, schema, squaredError } from './support.js'

class CountingModel extends SmallModel {
  readonly steps = state([], 'int32')
}

async function setUp() {
  const model = new CountingModel()
  const program = compile(
    model,
    (m, b) => {
      assign(m.steps, add(m.steps, 1))
      const loss = multiply(squaredError(m.score(b.ids, b.x), b.target), scalarInput('weight', 1))
      return { loss, risky: mean(log(b.target)) }
    },
    { schema, updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }) }] },
  )
  const handles = {
    parameters: freshParameters(model),
    optimizer: program.createOptimizerState(),
    state: createState(model),
  }
  await program.step(batchOf(8), {}, handles)
  const snapshot = async () => {
    const parts = [handles.parameters, handles.optimizer, handles.state].map(async (store) => {
      const values = await store.read(store.entries.map(({ name }) => name))
      return Object.entries(values).map(
        ([name, a]) => `${name} ${Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('hex')}`,
      )
    })
    return (await Promise.all(parts)).flat()
  }
  return { program, handles, snapshot }
}

const detached = () => {
  const array = new Float32Array(64)
  structuredClone(array.buffer, { transfer: [array.buffer] })
  return array
}

const resized = () => {
  // Resizable buffers are newer than this library's `lib` setting.
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: object,
  ) => ArrayBuffer & { resize(length: number): void }
  const buffer = new Resizable(256, { maxByteLength: 256 })
  const view = new Float32Array(buffer, 0, 64)
  buffer.resize(8)
  return view
}

const failures: [string, () => Record<string, unknown>, Record<string, number>, RegExp, string][] = [
  [
    'an id above its table',
    () => ({ ids: Int32Array.from({ length: 24 }, (_, i) => (i === 17 ? 11 : 1)) }),
    {},
    /feeds\.ids should be an id of table .table. in \[0, 11\) but got 11 at row 5, position 2/,
    'KAIROS_ID_RANGE',
  ],
  [
    'a negative id',
    () => ({ ids: Int32Array.from({ length: 24 }, (_, i) => (i === 0 ? -1 : 1)) }),
    {},
    /-1/,
    'KAIROS_ID_RANGE',
  ],
  ['a short buffer', () => ({ x: new Float32Array(63) }), {}, /feeds\.x/, 'KAIROS_SHAPE'],
  ['a long buffer', () => ({ x: new Float32Array(72) }), {}, /feeds\.(x|ids|target)/, 'KAIROS_SHAPE'],
  ['a detached array', () => ({ x: detached() }), {}, /x/, 'KAIROS_'],
  ['a view of a shrunken buffer', () => ({ x: resized() }), {}, /x/, 'KAIROS_'],
  ['shared memory', () => ({ x: new Float32Array(new SharedArrayBuffer(256)) }), {}, /feeds\.x/, 'KAIROS_ARGUMENT'],
  [
    'another element type',
    () => ({ x: new Float64Array(64) }),
    {},
    /feeds\.x should be dtype float32 but got Float64Array/,
    'KAIROS_DTYPE',
  ],
  [
    'a plain array',
    () => ({ x: Array.from({ length: 64 }, () => 0) }),
    {},
    /feeds\.x should be dtype float32 but got Array/,
    'KAIROS_DTYPE',
  ],
  ['a missing field', () => ({ x: undefined }), {}, /feeds\.x/, 'KAIROS_MISSING'],
  ['an unknown field', () => ({ y: new Float32Array(3) }), {}, /feeds\.y/, 'KAIROS_UNKNOWN_NAME'],
]

describe('a failing step', () => {
  it.each(failures)('%s changes nothing', async (_, damage, scalars, message, code) => {
    const { program, handles, snapshot } = await setUp()
    const before = await snapshot()
    const step = program.step({ ...batchOf(8), ...damage() } as never, scalars, { ...handles, counts: { batch: 8 } })
    const error: unknown = await step.then(
      () => new Error('it did not fail'),
      (reason: unknown) => reason,
    )
    expect(isKairosError(error) ? error.message : String(error)).toMatch(message)
    expect(isKairosError(error) ? error.code : error).toContain(code)
    expect(await snapshot()).toEqual(before)
    await program.step(batchOf(8), {}, handles)
    const after = await snapshot()
    expect(after).not.toEqual(before)
    expect(after.find((line) => line.startsWith('steps '))).toBe('steps 02000000')
  })

  it('of a loss that is not finite, when asked to check, changes nothing', async () => {
    const { program, handles, snapshot } = await setUp()
    const before = await snapshot()
    const weight = { weight: Number.POSITIVE_INFINITY }
    await expect(program.step(batchOf(8), weight, { ...handles, requireFinite: ['loss'] })).rejects.toMatchObject({
      code: 'KAIROS_NON_FINITE',
      message: expect.stringMatching(/loss/),
    })
    expect(await snapshot()).toEqual(before)
    // Unasked, the values come back as they are and the step counts.
    const batch = batchOf(8)
    batch.target.fill(-1)
    expect((await program.step(batch, {}, handles)).risky).toBeNaN()
    expect(await snapshot()).not.toEqual(before)
  })

  it('keeps the stack of the caller', async () => {
    const { program, handles } = await setUp()
    async function myTrainingLoop() {
      await program.step({ ...batchOf(8), ids: new Int32Array(24).fill(99) }, {}, handles)
    }
    const error = await myTrainingLoop().catch((reason: Error) => reason)
    expect((error as Error).stack).toContain('myTrainingLoop')
  })

  it('gives the slot of a leased batch back, however early it was refused', async () => {
    const { program, handles } = await setUp()
    for (let round = 0; round < 8; round++) {
      const batch = await program.lease({ batch: 8 })
      batch.views.ids.fill(round % 2 === 0 ? 99 : 1)
      // Refused natively for its ids, or before that for a scalar that is not known.
      const scalars: Record<string, number> = round % 2 === 0 ? {} : { unknown: 1 }
      await expect(program.step(batch, scalars, handles)).rejects.toThrow(/ids|unknown/)
    }
    const batch = await program.lease({ batch: 8 })
    Object.entries(batchOf(8)).forEach(([name, values]) => {
      batch.views[name as 'x'].set(values)
    })
    expect((await program.step(batch, {}, handles)).loss).toBeGreaterThan(0)
    await expect(program.step(batch, {}, handles)).rejects.toMatchObject({ code: 'KAIROS_DETACHED' })
  })
})
