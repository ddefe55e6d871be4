/** Rules of update against the plainest loops in float64: PyTorch's and FBGEMM's formulas, over many steps. */
import { describe, expect, it } from 'vitest'
import type { Optimizer } from '../../lib/graph/update.js'
import {
  type AdagradOptions,
  adagrad,
  adam,
  all,
  averagedParameters,
  broadcast,
  clipByValue,
  compile,
  createParameters,
  ema,
  embedding,
  field,
  normal,
  type ParameterSet,
  parameter,
  rowWiseAdagrad,
  type SgdOptions,
  sgd,
  sum,
} from '../../lib/index.js'
import { add, multiply, square, subtract } from '../../lib/ops/index.js'

const [ROWS, WIDTH] = [5, 7]
const COUNT = ROWS * WIDTH
const STEPS = 30
const LR = 0.03
const curvature = Float32Array.from({ length: COUNT }, (_, i) => 0.01 + (i % 7) / 4)
const target = Float32Array.from({ length: COUNT }, (_, i) => 2 * Math.sin(i))

/** Loss sum(c (w - t)^2), whose gradient is 2 c (w - t), over a matrix. */
async function train(optimizer: Optimizer, steps = STEPS) {
  const model = { w: parameter([ROWS, WIDTH], normal(1)) }
  const schema = { curvature: field('float32', ROWS, WIDTH), target: field('float32', ROWS, WIDTH) }
  const program = compile(model, (m, b) => ({ loss: sum(multiply(b.curvature, square(subtract(m.w, b.target)))) }), {
    schema,
    updates: [{ loss: 'loss', parameters: all, optimizer }],
  })
  const parameters = createParameters(model, 5)
  const start = (await parameters.read()).w as Float32Array
  for (let step = 0; step < steps; step++) await program.step({ curvature, target }, { lr: LR }, { parameters })
  return { start, parameters, end: await valuesOf(parameters), state: program.optimizerState() }
}

const valuesOf = async (parameters: ParameterSet) => (await parameters.read()).w as Float32Array

/** The same in float64; `rule` changes the weights in place, given their gradient. */
function loop(start: Float32Array, rule: (w: Float64Array, g: Float64Array, step: number) => void, steps = STEPS) {
  const w = Float64Array.from(start)
  for (let step = 0; step < steps; step++) {
    rule(
      w,
      w.map((value, i) => 2 * (curvature[i] as number) * (value - (target[i] as number))),
      step,
    )
  }
  return w
}

function expectClose(actual: Float32Array, expected: Float64Array) {
  actual.forEach((value, i) => expect(Math.abs(value - (expected[i] as number))).toBeLessThan(3e-5))
}

describe('sgd', () => {
  it.each<SgdOptions>([
    { momentum: 0.9 },
    { momentum: 0.9, nesterov: true },
    { weightDecay: 0.1 },
    { momentum: 0.5, nesterov: true, weightDecay: 0.05 },
  ])('with %o is torch.optim.SGD', async (options) => {
    const { momentum = 0, nesterov = false, weightDecay = 0 } = options
    const { start, end } = await train(sgd(options))
    const buffer = new Float64Array(COUNT)
    const expected = loop(start, (w, g, step) => {
      for (let i = 0; i < COUNT; i++) {
        const d = (g[i] as number) + weightDecay * (w[i] as number)
        buffer[i] = step === 0 ? d : momentum * (buffer[i] as number) + d
        const direction = momentum === 0 ? d : nesterov ? d + momentum * (buffer[i] as number) : (buffer[i] as number)
        w[i] = (w[i] as number) - LR * direction
      }
    })
    expectClose(end, expected)
  })
})

describe('adagrad', () => {
  it.each<AdagradOptions>([{}, { initialAccumulator: 0.1, weightDecay: 0.02 }])(
    'with %o is torch.optim.Adagrad',
    async (options) => {
      const { initialAccumulator = 0, weightDecay = 0 } = options
      const { start, end } = await train(adagrad(options))
      const sums = new Float64Array(COUNT).fill(initialAccumulator)
      const expected = loop(start, (w, g) => {
        for (let i = 0; i < COUNT; i++) {
          const d = (g[i] as number) + weightDecay * (w[i] as number)
          sums[i] = (sums[i] as number) + d * d
          w[i] = (w[i] as number) - (LR * d) / (Math.sqrt(sums[i] as number) + 1e-10)
        }
      })
      expectClose(end, expected)
    },
  )

  it('row-wise keeps one mean of squares a row', async () => {
    const { start, end, state } = await train(rowWiseAdagrad({ epsilon: 1e-6 }))
    const sums = new Float64Array(ROWS)
    const expected = loop(start, (w, g) => {
      for (let r = 0; r < ROWS; r++) {
        const row = g.subarray(r * WIDTH, (r + 1) * WIDTH)
        sums[r] = (sums[r] as number) + row.reduce((total, d) => total + d * d, 0) / WIDTH
        row.forEach((d, i) => {
          w[r * WIDTH + i] = (w[r * WIDTH + i] as number) - (LR * d) / (Math.sqrt(sums[r] as number) + 1e-6)
        })
      }
    })
    expectClose(end, expected)
    expect(state.entries).toEqual([expect.objectContaining({ name: 'loss/w/sum', shape: [ROWS] })])
    const held = (await state.read())['loss/w/sum'] as Float32Array
    held.forEach((value, r) => expect(value / (sums[r] as number)).toBeCloseTo(1, 4))
  })

  it.each([
    ['rowWiseAdagrad', rowWiseAdagrad()],
    ['adagrad', adagrad()],
    ['sgd', sgd()],
    ['clipByValue', clipByValue(rowWiseAdagrad(), 0.3)],
  ] as const)('%s moves a sparse table as a dense one: rows without gradient stand still', async (_, optimizer) => {
    const ends = []
    for (const sparse of [true, false]) {
      const model = { table: parameter([7, 3], normal(1), { sparse }) }
      const program = compile(model, (m, b) => ({ loss: sum(square(embedding(m.table, b.ids))) }), {
        schema: { ids: field('int32', 4) },
        updates: [{ loss: 'loss', parameters: all, optimizer }],
      })
      const parameters = createParameters(model, 6)
      for (const ids of [Int32Array.of(0, 2, 2, 6), Int32Array.of(2, 2, 2, 2), Int32Array.of(5, 0, 6, 5)]) {
        await program.step({ ids }, { lr: 0.1 }, { parameters })
      }
      ends.push((await parameters.read()).table as Float32Array)
    }
    const [sparse, dense] = ends as [Float32Array, Float32Array]
    sparse.forEach((value, i) => expect(value).toBeCloseTo(dense[i] as number, 6))
  })

  it('row-wise over a vector is element by element', async () => {
    const model = { w: parameter([COUNT], normal(1)) }
    const ends = []
    for (const optimizer of [adagrad({ lr: 0.1, epsilon: 1e-8 }), rowWiseAdagrad({ lr: 0.1 })]) {
      const program = compile(model, (m) => ({ loss: sum(square(m.w)) }), {
        schema: {},
        updates: [{ loss: 'loss', parameters: all, optimizer }],
      })
      const parameters = createParameters(model, 6)
      for (let step = 0; step < 3; step++) await program.step({}, {}, { parameters })
      ends.push(await valuesOf(parameters))
    }
    expect(ends[0]).toEqual(ends[1])
  })
})

describe('clipping by value', () => {
  it('cuts each element of the gradient', async () => {
    const { start, end } = await train(clipByValue(sgd(), 0.5))
    const expected = loop(start, (w, g) => {
      for (let i = 0; i < COUNT; i++) w[i] = (w[i] as number) - LR * Math.min(Math.max(g[i] as number, -0.5), 0.5)
    })
    expectClose(end, expected)
  })
})

describe('moving averages', () => {
  it('start from the first values and follow', async () => {
    const decay = 0.8
    const { start, end, parameters, state } = await train(ema(sgd(), { decay }))
    let average: Float64Array | null = null
    const expected = loop(start, (w, g) => {
      for (let i = 0; i < COUNT; i++) w[i] = (w[i] as number) - LR * (g[i] as number)
      average = average ? average.map((a, i) => decay * a + (1 - decay) * (w[i] as number)) : w.slice()
    })
    expectClose(end, expected)
    using averaged = await averagedParameters(parameters, state)
    expectClose(await valuesOf(averaged), average as unknown as Float64Array)
    // The set in training is as it was.
    expect(await valuesOf(parameters)).toEqual(end)
  })

  it('are the parameters themselves after one update, and before', async () => {
    const once = await train(ema(adam(), { decay: 0.99 }), 1)
    using first = await averagedParameters(once.parameters, once.state)
    expect(await valuesOf(first)).toEqual(once.end)
    const never = await train(ema(adam(), { decay: 0.99 }), 0)
    using none = await averagedParameters(never.parameters, never.state)
    expect(await valuesOf(none)).toEqual(never.start)
  })

  it('of sparse tables follow each row through its own updates', async () => {
    const decay = 0.5
    const model = { table: parameter([6, 2], normal(1), { sparse: true }), bias: parameter([2], normal(1)) }
    const program = compile(
      model,
      (m, b) => ({ loss: sum(square(add(embedding(m.table, b.ids), broadcast(m.bias, 0, [2])))) }),
      {
        schema: { ids: field('int32', 2) },
        updates: [
          {
            loss: 'loss',
            groups: [
              { parameters: (name) => name === 'bias', optimizer: sgd() },
              { parameters: (name) => name !== 'bias', optimizer: ema(rowWiseAdagrad(), { decay }) },
            ],
          },
        ],
      },
    )
    const parameters = createParameters(model, 2)
    const read = async (set: ParameterSet) => (await set.read()).table as Float32Array
    const start = await read(parameters)
    const averages = new Map<number, number[]>()
    for (const ids of [Int32Array.of(1, 3), Int32Array.of(3, 4), Int32Array.of(3, 3)]) {
      await program.step({ ids }, { lr: 0.1 }, { parameters })
      const values = await read(parameters)
      for (const id of new Set(ids)) {
        const row = [...values.subarray(2 * id, 2 * id + 2)]
        averages.set(id, averages.get(id)?.map((a, i) => decay * a + (1 - decay) * (row[i] as number)) ?? row)
      }
    }
    using averaged = await averagedParameters(parameters, program.optimizerState())
    const found = await read(averaged)
    for (let id = 0; id < 6; id++) {
      const expected = averages.get(id) ?? [...start.subarray(2 * id, 2 * id + 2)]
      expected.forEach((value, i) => expect(found[2 * id + i]).toBeCloseTo(value, 6))
    }
    expect((await averaged.read()).bias).toEqual((await parameters.read()).bias)
  })

  it('do not change what is trained', async () => {
    const [plain, averaging] = [await train(adam()), await train(ema(adam(), { decay: 0.9 }))]
    expect(averaging.end).toEqual(plain.end)
  })

  it('are asked of an optimiser that keeps them', async () => {
    const { parameters, state } = await train(sgd(), 1)
    await expect(averagedParameters(parameters, state)).rejects.toThrow(
      'averagedParameters: optimizer should be the state of an optimiser that averages these parameters but got one without averages. Wrap the optimiser: ema(adam(), { decay: 0.999 })',
    )
  })
})

describe('settings', () => {
  it.each([
    [() => sgd({ momentum: 1 }), 'sgd: momentum should be in [0, 1) but got 1'],
    [() => sgd({ nesterov: true }), 'sgd: momentum should be above 0 with nesterov but got 0'],
    [() => sgd({ weightDecay: -1 }), 'sgd: weightDecay should be at least 0 but got -1'],
    [() => adagrad({ epsilon: 0 }), 'adagrad: epsilon should be above 0 but got 0'],
    [() => rowWiseAdagrad({ initialAccumulator: -1 }), 'rowWiseAdagrad: initialAccumulator should be at least 0'],
    [() => clipByValue(sgd(), 0), 'clipByValue: limit should be above 0 but got 0'],
    [() => ema(sgd(), { decay: 1 }), 'ema: decay should be in [0, 1) but got 1'],
  ] as const)('%# are refused', (make, message) => {
    expect(make).toThrow(message)
  })
})
