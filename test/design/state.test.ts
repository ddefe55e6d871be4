/** Programs are pure and state is passed: what that buys. */
import { describe, expect, it } from 'vitest'
import { GraphRunner } from '../../lib/graph/runner.js'
import { adam, all, assign, compile, createParameters, createState, scalarInput, sgd, state } from '../../lib/index.js'
import { add, mean, multiply } from '../../lib/ops/index.js'
import { batchOf, freshParameters, SmallModel, schema, squaredError } from './support.js'

const bits = (array: ArrayLike<number> & ArrayBufferView) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')

describe('state is passed', () => {
  it('lets two programs alternate over one parameter set', async () => {
    const model = new SmallModel()
    const parameters = freshParameters(model)
    const options = { schema, updates: [{ loss: 'loss', parameters: all, optimizer: sgd({ lr: 0.1 }) }] } as const
    const first = compile(model, (m, b) => ({ loss: squaredError(m.score(b.ids, b.x), b.target) }), options)
    const second = compile(model, (m, b) => ({ loss: mean(m.score(b.ids, b.x)) }), options)
    const batch = batchOf(16)
    const losses: number[] = []
    for (let step = 0; step < 6; step++) {
      const { loss } = await (step % 2 === 0 ? first : second).step(batch, {}, { parameters })
      losses.push(loss)
    }
    // Each sees the other's update: replaying one alone from the same start gives other numbers.
    const alone = freshParameters(model)
    const lonely: number[] = []
    for (let step = 0; step < 3; step++) lonely.push((await first.step(batch, {}, { parameters: alone })).loss)
    expect(losses[0]).toBe(lonely[0])
    expect(losses[2]).not.toBe(lonely[1])
    // And the second's loss, a plain mean, is pushed down by its own steps.
    expect(losses[5]).toBeLessThan(losses[1] as number)
  })

  it('runs 1,000 client states through one program', async () => {
    const model = new SmallModel()
    const program = compile(model, (m, b) => ({ loss: squaredError(m.score(b.ids, b.x), b.target) }), {
      schema,
      updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }) }],
    })
    const shared = freshParameters(model)
    const clients = await Promise.all(
      Array.from({ length: 1000 }, async (_, client) => ({
        parameters: await shared.clone(),
        optimizer: program.createOptimizerState(),
        batch: batchOf(4, client + 1),
      })),
    )
    const before = await shared.read(['head'])
    await Promise.all(clients.map(({ batch, ...handles }) => program.step(batch, {}, handles)))
    const [first, again] = [clients[0], clients[500]] as [(typeof clients)[number], (typeof clients)[number]]
    await program.step(again.batch, {}, again)
    // The shared start is untouched, and every client went its own way.
    expect(bits((await shared.read(['head'])).head as Float32Array)).toBe(bits(before.head as Float32Array))
    const moments = clients.map(
      async ({ optimizer }) => (await optimizer.read(['loss/head/exp_avg']))['loss/head/exp_avg'],
    )
    const heads = (await Promise.all(moments)).map((moment) => bits(moment as Float32Array))
    expect(new Set(heads).size).toBe(1000)
    const stepsOf = async ({ optimizer }: (typeof clients)[number]) =>
      (await optimizer.read(['loss/step']))['loss/step']?.[0]
    expect([await stepsOf(first), await stepsOf(again)]).toEqual([1, 2])
  })

  it('changes learning rate and loss weight without tracing again', async () => {
    let traced = 0
    const model = new SmallModel()
    const program = compile(
      model,
      (m, b) => {
        traced++
        return { loss: multiply(squaredError(m.score(b.ids, b.x), b.target), scalarInput('weight')) }
      },
      { schema, updates: [{ loss: 'loss', parameters: all, optimizer: sgd() }] },
    )
    const batch = batchOf(8)
    const lossAt = async (weight: number, lr: number) => {
      const parameters = freshParameters(model)
      const { loss } = await program.step(batch, { weight, lr }, { parameters })
      return { loss, moved: bits((await parameters.read(['head'])).head as Float32Array) }
    }
    const plain = await lossAt(1, 0.1)
    const heavy = await lossAt(2, 0.1)
    const still = await lossAt(1, 0)
    expect(heavy.loss).toBeCloseTo(2 * plain.loss, 5)
    expect(heavy.moved).not.toBe(plain.moved)
    expect(still.loss).toBe(plain.loss)
    expect(still.moved).toBe(bits((await freshParameters(model).read(['head'])).head as Float32Array))
    expect(traced).toBe(1)
  })

  it('names a scalar that is missing', async () => {
    const model = new SmallModel()
    const program = compile(model, (m, b) => ({ loss: squaredError(m.score(b.ids, b.x), b.target) }), {
      schema,
      updates: [{ loss: 'loss', parameters: all, optimizer: sgd() }],
    })
    await expect(program.step(batchOf(2), {})).rejects.toThrow(
      /run: feeds\.lr should be an array or a number but got nothing/,
    )
    await expect(program.step(batchOf(2), { lr: 1, rate: 2 })).rejects.toThrow(
      /feeds\.rate should be one of .*'lr'.* but got 'rate'/,
    )
  })

  it('takes all gradients at the values before the step', async () => {
    // Two updates over disjoint parameters: the second must not see what the first wrote.
    const model = new SmallModel()
    const both = compile(
      model,
      (m, b) => {
        const loss = squaredError(m.score(b.ids, b.x), b.target)
        return { a: loss, b: multiply(loss, 1.0000001) }
      },
      {
        schema,
        updates: [
          { loss: 'a', parameters: (name) => name.startsWith('table'), optimizer: sgd({ lr: 0.5 }) },
          { loss: 'b', parameters: (name) => name === 'head', optimizer: sgd({ lr: 0.5 }) },
        ],
      },
    )
    const headOnly = compile(
      model,
      (m, b) => ({ b: multiply(squaredError(m.score(b.ids, b.x), b.target), 1.0000001) }),
      {
        schema,
        updates: [{ loss: 'b', parameters: (name) => name === 'head', optimizer: sgd({ lr: 0.5 }) }],
      },
    )
    const batch = batchOf(16)
    const [one, two] = [freshParameters(model), freshParameters(model)]
    await both.step(batch, {}, { parameters: one })
    await headOnly.step(batch, {}, { parameters: two })
    expect(bits((await one.read(['head'])).head as Float32Array)).toBe(
      bits((await two.read(['head'])).head as Float32Array),
    )
  })

  it('writes state that no gradient moves', async () => {
    const model = { count: state([]), seen: state([2], 'int32') }
    const program = compile(
      model,
      (m, b) => {
        assign(m.count, add(m.count, mean(b.x)))
        return { before: m.count }
      },
      { schema: { x: schema.x } },
    )
    const states = createState(model)
    const x = new Float32Array(16).fill(2)
    expect((await program.step({ x }, {}, { state: states })).before).toBe(0)
    expect((await program.step({ x }, {}, { state: states })).before).toBe(2)
    expect((await states.read(['count'])).count?.[0]).toBe(4)
  })

  it('swaps two states', async () => {
    const model = { a: state([3], 'float32', 1), b: state([3], 'float32', 2) }
    const program = compile(
      model,
      (m) => {
        assign(m.a, m.b)
        assign(m.b, m.a)
        return {}
      },
      { schema: {} },
    )
    const states = createState(model)
    await program.step({}, {}, { state: states })
    const { a, b } = await states.read(['a', 'b'])
    expect([...(a as Float32Array), ...(b as Float32Array)]).toEqual([2, 2, 2, 1, 1, 1])
  })

  it('averages parameter sets', async () => {
    const model = new SmallModel()
    const [one, two] = [createParameters(model, 1), createParameters(model, 2)]
    const target = await one.clone()
    await target.average([one, two], [0.25, 0.75])
    const [a, b, c] = await Promise.all(
      [one, two, target].map(async (set) => (await set.read(['head'])).head as Float32Array),
    )
    for (let i = 0; i < 8; i++) expect(c?.[i]).toBeCloseTo(0.25 * (a?.[i] as number) + 0.75 * (b?.[i] as number), 6)
  })
})

describe('data() and compile', () => {
  it('give the same bits by the same road', async () => {
    const model = new SmallModel()
    const parameters = freshParameters(model)
    const loss = model.head
    const runner = new GraphRunner({ y: multiply(loss, 3) })
    const { outputs } = await runner.run({ stores: { parameters } })
    expect(bits(await multiply(model.head, 3).data({ parameters }))).toBe(bits(outputs.y?.data as Float32Array))
  })
})
