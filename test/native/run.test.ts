import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Executor, type ParameterSet, State } from '../../lib/runtime/index.js'
import { encodeFile, slowFile, spectrumFile } from './programFile.js'
import { bindStep, failure, feedsOf, makeParameters, weightOf, weights } from './setup.js'

type Bound = Awaited<ReturnType<typeof bindStep>>

describe('a run', () => {
  let bound: Bound
  let poisoned: Bound
  beforeAll(async () => {
    bound = await bindStep()
    poisoned = await bindStep({ poison: true })
  })
  afterAll(async () => {
    await bound.executor.close()
    await poisoned.executor.close()
  })

  const run = (ids: number[], parameters: ParameterSet, { executable } = bound) =>
    executable.run({ counts: { batch: ids.length }, feeds: feedsOf(ids), stores: [parameters] })

  test('computes, then commits', async () => {
    const parameters = makeParameters()
    const { outputs, milliseconds } = await run([3, 0, 1], parameters)
    expect([...outputs.y!.data]).toEqual([7, 80, 2, 40, 9, 120])
    expect(outputs.y!.shape).toEqual([3, 2])
    expect(outputs.total).toEqual({ data: Float32Array.of(258), shape: [] })
    expect([...outputs.last!.data]).toEqual([7, 8, 1, 2, 3, 4])
    // An output that is state shows it as it was before the commit.
    expect([...outputs.before!.data]).toEqual([...weights()])
    expect(await weightOf(parameters)).toEqual([...weights()].map((value) => 2 * value))
    expect(milliseconds).toBeGreaterThan(0)
  })

  test('with counts from none to capacity, and back, tails never matter', async () => {
    for (const count of [0, 1, 3, 4, 2, 0, 4]) {
      const ids = Array.from({ length: count }, (_, row) => row % 4)
      const [plain, nan] = await Promise.all([run(ids, makeParameters()), run(ids, makeParameters(), poisoned)])
      expect(nan.outputs).toEqual(plain.outputs)
      expect(plain.outputs.y!.shape).toEqual([count, 2])
    }
  })

  test('describes its program and its memory', () => {
    expect(bound.program.description).toMatchObject({
      symbols: ['batch'],
      stores: ['parameters'],
      inputs: [{ name: 'ids', dtype: 'int32', rank: 1 }, { name: 'x' }, { name: 'other' }],
      steps: [{ op: 'gather', source: 'model.ts:3' }, {}, {}, {}, {}],
    })
    expect(bound.executable.description).toMatchObject({ arenaBytes: 0, temporaryBytes: 0, constantBytes: 0 })
  })

  test('of a transform whose length depends on a count is refused away from its capacity', async () => {
    // Eight and nine samples have five frequencies, so shapes alone fit both; the tables are for one length.
    const program = await bound.executor.loadProgram(encodeFile(spectrumFile()))
    const executable = await program.bind({ n: 9 })
    const runWith = (n: number) => executable.run({ counts: { n }, feeds: { x: new Float32Array(2 * n) } })
    expect((await runWith(9)).outputs.y!.shape).toEqual([5, 2, 2])
    expect(await failure(runWith(8))).toMatchObject({
      code: 'KAIROS_SHAPE',
      message: expect.stringMatching(/rfft: x should be of length 9 as when it was bound but got \[8, 2\]/),
    })
    expect((await runWith(9)).outputs.y!.shape).toEqual([5, 2, 2])
  })

  test('shares the arena between temporaries whose lives do not meet', async () => {
    const program = await bound.executor.loadProgram(encodeFile(slowFile(16, 5)))
    const { description } = await program.bind({})
    expect(description.arenaBytes).toBe(1024) // p; q is the output
  })

  test('reports nanoseconds per step when asked', async () => {
    const { executor, executable } = await bindStep({ profile: true })
    const { profile } = await executable.run({ counts: { batch: 1 }, feeds: feedsOf([1]), stores: [makeParameters()] })
    expect(profile).toHaveLength(5)
    expect(Math.min(...profile!)).toBeGreaterThan(0)
    await executor.close()
  })

  test('takes numbers for inputs of rank 0 only', async () => {
    const feeds = { ...feedsOf([1]), x: 3 }
    await expect(
      bound.executable.run({ counts: { batch: 1 }, feeds, stores: [makeParameters()] }),
    ).rejects.toMatchObject({
      code: 'KAIROS_SHAPE',
      details: { argument: 'feeds.x', got: '3' },
    })
  })

  describe('that fails changes no bit', () => {
    const refusals: [string, (good: ReturnType<typeof feedsOf>) => Record<string, unknown>, object][] = [
      [
        'a bad id in a feed',
        (good) => ({ ...good, ids: Int32Array.of(0, 4) }),
        {
          code: 'KAIROS_ID_RANGE',
          details: { argument: 'feeds.ids', expected: "an id of table 'items' in [0, 4)", got: '4 at row 1' },
        },
      ],
      [
        'a bad id met by a kernel',
        (good) => ({ ...good, other: Int32Array.of(1, -7) }),
        { code: 'KAIROS_ID_RANGE', details: { op: 'gather', got: '-7', source: 'model.ts:6' } },
      ],
      [
        'a short feed',
        (good) => ({ ...good, x: new Float32Array(3) }),
        { code: 'KAIROS_SHAPE', details: { argument: 'feeds.x', got: '3' } },
      ],
      [
        'a long feed',
        (good) => ({ ...good, x: new Float32Array(5) }),
        { code: 'KAIROS_SHAPE', details: { argument: 'feeds.x' } },
      ],
      [
        'a feed of another type',
        (good) => ({ ...good, x: new Float64Array(4) }),
        { code: 'KAIROS_DTYPE', details: { got: 'a Float64Array' } },
      ],
      ['no array at all', (good) => ({ ...good, x: 'four' }), { code: 'KAIROS_ARGUMENT', details: { got: "'four'" } }],
      [
        'a missing feed',
        ({ ids, x }) => ({ ids, x }),
        { code: 'KAIROS_MISSING', details: { argument: 'feeds.other' } },
      ],
      [
        'a feed of no input',
        (good) => ({ ...good, y: good.x }),
        { code: 'KAIROS_UNKNOWN_NAME', details: { got: "'y'" } },
      ],
      [
        'a detached array',
        (good) => {
          const x = new Float32Array(4)
          structuredClone(x.buffer, { transfer: [x.buffer] })
          return { ...good, x }
        },
        { code: 'KAIROS_DETACHED', details: { argument: 'feeds.x' } },
      ],
      [
        'shared memory',
        (good) => ({ ...good, x: new Float32Array(new SharedArrayBuffer(16)) }),
        { code: 'KAIROS_ARGUMENT', details: { argument: 'feeds.x', got: 'one over a SharedArrayBuffer' } },
      ],
      [
        'a view whose resizable buffer shrank',
        (good) => {
          const Resizable = ArrayBuffer as unknown as new (
            bytes: number,
            options: object,
          ) => ArrayBuffer & { resize(bytes: number): void }
          const buffer = new Resizable(16, { maxByteLength: 16 })
          const x = new Float32Array(buffer, 0, 4)
          buffer.resize(8)
          return { ...good, x }
        },
        { code: 'KAIROS_SHAPE', details: { argument: 'feeds.x', got: '0' } },
      ],
      [
        'a getter that throws',
        (good) =>
          Object.defineProperty({ ...good }, 'x', {
            enumerable: true,
            get() {
              throw new RangeError('mine')
            },
          }),
        { name: 'RangeError', message: 'mine' },
      ],
    ]
    test.each(refusals)('%s', async (_, edit, expected) => {
      const parameters = makeParameters()
      const feeds = edit(feedsOf([1, 2])) as ReturnType<typeof feedsOf>
      expect(await failure(bound.executable.run({ counts: { batch: 2 }, feeds, stores: [parameters] }))).toMatchObject(
        expected,
      )
      expect(await weightOf(parameters)).toEqual([...weights()])
    })

    test.each([
      ['beyond capacity', 5, 'KAIROS_SHAPE'],
      ['negative', -1, 'KAIROS_ARGUMENT'],
      ['a fraction', 1.5, 'KAIROS_ARGUMENT'],
      ['not a number', Number.NaN, 'KAIROS_ARGUMENT'],
      ['past what wraps', 2 ** 32 + 2, 'KAIROS_SHAPE'],
      ['a string', '2' as unknown as number, 'KAIROS_ARGUMENT'],
    ])('a count %s', async (_, batch, code) => {
      const parameters = makeParameters()
      const error = await failure(
        bound.executable.run({ counts: { batch }, feeds: feedsOf([1, 2]), stores: [parameters] }),
      )
      expect(error).toMatchObject({ code, details: { argument: 'counts.batch' } })
      expect(await weightOf(parameters)).toEqual([...weights()])
      await run([1, 2], parameters) // and the binding still serves
    })

    test('an output that is not finite', async () => {
      const parameters = makeParameters()
      const feeds = { ...feedsOf([1, 2]), x: Float32Array.of(1, 1, Number.NaN, 1) }
      const request = { counts: { batch: 2 }, feeds, stores: [parameters], requireFinite: ['total', 'y'] }
      expect(await failure(bound.executable.run(request))).toMatchObject({
        code: 'KAIROS_NON_FINITE',
        details: { argument: 'outputs.y', got: 'NaN at row 1, position 0' },
      })
      expect(await weightOf(parameters)).toEqual([...weights()])
      await bound.executable.run({ ...request, requireFinite: [] })
      expect(await weightOf(parameters)).not.toEqual([...weights()])
    })

    test('a store that does not fit', async () => {
      const { executable } = bound
      const request = { counts: { batch: 1 }, feeds: feedsOf([1]) }
      const made = (name: string, dtype: 'float32' | 'int32', shape: number[]) => State.create([{ name, dtype, shape }])
      const cases = [
        [[made('other', 'float32', [4, 2])], 'KAIROS_MISSING', 'stores.parameters.weight'],
        [[made('weight', 'int32', [4, 2])], 'KAIROS_DTYPE', 'stores.parameters.weight'],
        [[made('weight', 'float32', [2, 4])], 'KAIROS_SHAPE', 'stores.parameters.weight'],
        [[null], 'KAIROS_MISSING', 'stores.parameters'],
        [[], 'KAIROS_ARGUMENT', 'stores'],
      ] as const
      for (const [stores, code, argument] of cases)
        expect(await failure(executable.run({ ...request, stores }))).toMatchObject({ code, details: { argument } })
    })
  })

  test("an error carries the caller's stack", async () => {
    async function whoCalled() {
      await bound.executable.run({ counts: { batch: 1 }, feeds: {}, stores: [makeParameters()] })
    }
    const error = (await failure(whoCalled())) as Error
    expect(error.stack).toContain('whoCalled')
    expect(error.message).toBe('run: feeds.ids should be a feed but got none')
  })
})

test('equal bits at every thread count', async () => {
  const file = encodeFile(slowFile(96, 3))
  const a = Float32Array.from({ length: 96 * 96 }, (_, i) => Math.sin(i))
  const results = await Promise.all(
    [1, 2, 3].map(async (threads) => {
      await using executor = new Executor({ threads })
      const executable = await (await executor.loadProgram(file)).bind({})
      return (await executable.run({ counts: {}, feeds: { a } })).outputs.product!.data
    }),
  )
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})

test('the event loop turns while a program runs, and stands still while it blocks', async () => {
  await using executor = new Executor({ threads: 1, variant: 'baseline' })
  const executable = await (await executor.loadProgram(encodeFile(slowFile(512, 12)))).bind({})
  const request = { counts: {}, feeds: { a: new Float32Array(512 * 512).fill(1e-3) } }
  let turns = 0
  const timer = setInterval(() => turns++, 2)
  const { milliseconds } = await executable.run(request)
  const [awaited, before] = [turns, turns]
  executable.runBlocking(request)
  const blocked = turns - before
  clearInterval(timer)
  expect(awaited).toBeGreaterThan(milliseconds / 40)
  expect(blocked).toBe(0)
})

test('queued runs keep their order, and close waits for them', async () => {
  const { executor, executable } = await bindStep()
  const parameters = makeParameters()
  const seen: number[] = []
  const runs = Array.from({ length: 10 }, async (_, index) => {
    const { outputs } = await executable.run({ counts: { batch: 1 }, feeds: feedsOf([0]), stores: [parameters] })
    seen.push(index)
    return outputs.before!.data[0]
  })
  await executor.close()
  expect(await Promise.all(runs)).toEqual(runs.map((_, index) => 2 ** index))
  expect(seen).toEqual(runs.map((_, index) => index))
  const late = executable.run({ counts: { batch: 1 }, feeds: feedsOf([0]), stores: [parameters] })
  await expect(late).rejects.toMatchObject({ code: 'KAIROS_CLOSED' })
  await sleep(1)
})

test('two executors share a parameter set', async () => {
  const [one, two] = await Promise.all([bindStep({ threads: 1 }), bindStep({ threads: 1 })])
  const parameters = makeParameters(new Float32Array(8).fill(1))
  const request = { counts: { batch: 1 }, feeds: feedsOf([0]), stores: [parameters] }
  await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 ? one : two).executable.run(request)))
  expect(await weightOf(parameters)).toEqual(Array(8).fill(2 ** 20))
  await Promise.all([one.executor.close(), two.executor.close()])
})
