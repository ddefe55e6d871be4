/** Gradients of several losses as one, in whole training steps: beside the gradients themselves, and to stationarity. */
import { afterAll, describe, expect, it } from 'vitest'
import type { GradientCombination } from '../../lib/graph/update.js'
import {
  adam,
  alignedMtl,
  all,
  caGrad,
  compile,
  createParameters,
  Executor,
  embedding,
  field,
  fixedWeights,
  gradients,
  imtlG,
  minNorm,
  nashMtl,
  normal,
  type ParameterSet,
  parameter,
  pcGrad,
  sgd,
  type Tensor,
  UncertaintyWeights,
  upGrad,
} from '../../lib/index.js'
import {
  add,
  embeddingBags,
  matmul,
  mean,
  multiply,
  reshape,
  sigmoid,
  slice,
  square,
  subtract,
  sum,
} from '../../lib/ops/index.js'
import * as solve from '../../lib/ops/paretoReference.js'
import type { Loose } from '../../lib/ops/support.js'

const executor = new Executor({ threads: 2 })
afterAll(() => executor.close())

const [BATCH, ROWS, WIDTH, HIDDEN] = [12, 9, 5, 6]
const RATE = 0.5
const schema = {
  ids: field('int32', 'batch', 2),
  other: field('int32', 'batch'),
  click: field('float32', 'batch'),
  buy: field('float32', 'batch'),
}
const batch = {
  ids: Int32Array.from({ length: 2 * BATCH }, (_, i) => (i * i + 3 * i) % ROWS),
  other: Int32Array.from({ length: BATCH }, (_, i) => (5 * i + 1) % ROWS),
  click: Float32Array.from({ length: BATCH }, (_, i) => Math.sin(i)),
  buy: Float32Array.from({ length: BATCH }, (_, i) => -2 * Math.sin(i) + Math.cos(i)),
}

/** Tasks share a table and a layer; `buy` looks the table up once more, and each has a weight of its own. */
const modelOf = (sparse: boolean) => ({
  table: parameter([ROWS, WIDTH], normal(1), { sparse }),
  layer: parameter([WIDTH, HIDDEN], normal(0.5)),
  click: parameter([HIDDEN], normal(0.7)),
  buy: parameter([HIDDEN], normal(0.7)),
})
type Model = ReturnType<typeof modelOf>
const parameterNames = ['table', 'layer', 'click', 'buy'] as const

function lossesOf(m: Model, b: Record<keyof typeof schema, Tensor>, extra = true) {
  const pooled = sum(embedding(m.table as Loose, b.ids as Loose) as Loose, 1, 1) as Loose
  const z = sigmoid(matmul(pooled, m.layer as Loose)) as Loose
  const own = embedding(m.table as Loose, b.other as Loose) as Loose
  const lossOf = (score: Loose, label: Tensor) => mean(square(subtract(score, label as Loose)))
  const score = (weight: Tensor) =>
    reshape(matmul(z, reshape(weight as Loose, [HIDDEN, 1]) as Loose) as Loose, ['batch'])
  const bonus = extra ? (sum(own, 1, 1) as Loose) : null
  return {
    z: z as Tensor,
    click: lossOf(score(m.click) as Loose, b.click),
    buy: lossOf((bonus ? add(score(m.buy) as Loose, bonus) : score(m.buy)) as Loose, b.buy),
  }
}

type Values = Readonly<Record<string, Float32Array>>
const valuesOf = async (parameters: ParameterSet) => (await parameters.read()) as Values

/** Gradients of both losses by everything, from a program that does not train. */
async function gradientsAt(
  model: Model,
  parameters: ParameterSet,
  extra: boolean,
): Promise<Record<'click' | 'buy', Values>> {
  const program = compile(
    model,
    (m, b) => {
      const { z, click, buy } = lossesOf(m, b as never, extra)
      const outputs: Record<string, Tensor> = {}
      for (const [task, loss] of Object.entries({ click, buy })) {
        const of = [...parameterNames.map((name) => m[name] as Tensor), z]
        gradients(loss as Tensor, of).forEach((gradient, i) => {
          if (gradient) outputs[`${task}/${parameterNames[i] ?? 'z'}`] = gradient
        })
      }
      return outputs
    },
    { schema, executor, mode: 'train' },
  )
  const results = (await program.step(batch, {}, { parameters })) as unknown as Values
  const of = (task: string) =>
    Object.fromEntries(
      Object.entries(results).flatMap(([name, values]) =>
        name.startsWith(`${task}/`) ? [[name.slice(task.length + 1), values]] : [],
      ),
    )
  return { click: of('click'), buy: of('buy') }
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((total, x, i) => total + x * (b[i] as number), 0)

const methods: Record<string, { combine: GradientCombination; weights: (gram: solve.Matrix) => readonly number[] }> = {
  minNorm: { combine: minNorm(), weights: solve.minNorm },
  pcGrad: { combine: pcGrad({ salt: 3 }), weights: (gram) => solve.pcGrad(gram, [0, 3], 0) },
  caGrad: { combine: caGrad({ radius: 0.4 }), weights: (gram) => solve.caGrad(gram, 0.4) },
  imtlG: { combine: imtlG(), weights: solve.imtlG },
  nashMtl: { combine: nashMtl(), weights: solve.nashMtl },
  upGrad: { combine: upGrad(), weights: solve.upGrad },
  alignedMtl: { combine: alignedMtl(), weights: solve.alignedMtl },
}

async function oneStep(model: Model, update: object, extra = true) {
  const parameters = createParameters(model, 3)
  const before = await valuesOf(parameters)
  const found = await gradientsAt(model, parameters, extra)
  const program = compile(
    model,
    (m, b) => {
      const { z, click, buy } = lossesOf(m, b as never, extra)
      return { z, click, buy } as Record<string, Tensor>
    },
    {
      schema,
      executor,
      updates: [
        { losses: ['click', 'buy'], parameters: all, optimizer: sgd({ lr: RATE }), report: true, ...update } as never,
      ],
    },
  )
  const results = (await program.step(batch, {}, { parameters })) as unknown as Values
  const after = await valuesOf(parameters)
  const moved = (name: string) =>
    (before[name] as Float32Array).map((x, i) => (x - (after[name]?.[i] as number)) / RATE)
  return { found, moved, results, program, parameters }
}

function gramOf(found: Record<'click' | 'buy', Values>, names: readonly string[]): number[][] {
  const product = (a: Values, b: Values) =>
    names.reduce((total, name) => total + dot(a[name] as Float32Array, b[name] as Float32Array), 0)
  return [found.click, found.buy].map((a) => [found.click, found.buy].map((b) => product(a, b)))
}

const weighted = (found: Record<'click' | 'buy', Values>, name: string, [a, b]: readonly number[]) =>
  (found.click[name] as Float32Array).map(
    (x, i) => (a as number) * x + (b as number) * (found.buy[name]?.[i] as number),
  )

function expectNear(got: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(got.length).toBe(expected.length)
  const greatest = Math.max(...Array.from(expected, Math.abs), 1e-3)
  Array.from(got).forEach((x, i) => expect(Math.abs(x - (expected[i] as number)) / greatest).toBeLessThan(2e-5))
}

describe.each(Object.entries(methods))('%s', (_, { combine, weights }) => {
  it.each([true, false])(
    'moves shared parameters by the combination, others by their own gradient (sparse: %s)',
    async (sparse) => {
      const { found, moved, results } = await oneStep(modelOf(sparse), { combine })
      const alpha = weights(gramOf(found, ['table', 'layer']))
      expectNear(results['click+buy/weights'] as Float32Array, alpha)
      for (const name of ['table', 'layer']) expectNear(moved(name), weighted(found, name, alpha))
      expectNear(moved('click'), found.click.click as Float32Array)
      expectNear(moved('buy'), found.buy.buy as Float32Array)
    },
  )

  it.each([true, false])('combines at a representation (sparse: %s)', async (sparse) => {
    const { found, moved } = await oneStep(modelOf(sparse), { combine, representation: 'z' }, false)
    const alpha = weights(gramOf(found, ['z']))
    for (const name of ['table', 'layer']) expectNear(moved(name), weighted(found, name, alpha))
    expectNear(moved('click'), found.click.click as Float32Array)
    expectNear(moved('buy'), found.buy.buy as Float32Array)
  })
})

describe('what is shared', () => {
  it('can be chosen; the rest takes the sum', async () => {
    const chosen = (name: string) => name === 'layer'
    const { found, moved } = await oneStep(modelOf(true), { combine: minNorm(), shared: chosen })
    expectNear(moved('layer'), weighted(found, 'layer', solve.minNorm(gramOf(found, ['layer']))))
    expectNear(moved('table'), weighted(found, 'table', [1, 1]))
  })

  it('is one pass over memory with the optimiser', async () => {
    const { program } = await oneStep(modelOf(false), { combine: minNorm(), optimizer: adam({ lr: RATE }) })
    const { kernelSteps, kernelCommitStart } = program.runner.plan
    const commit = kernelSteps.slice(kernelCommitStart).map((node) => node.op?.kernel ?? node.op?.name)
    expect(commit.filter((name) => name === 'elementwise').length).toBeLessThanOrEqual(5)
    expect(kernelSteps.filter(({ op }) => op?.name === 'gramOfParts')).toHaveLength(1)
  })

  it('sorts ids of a sparse table once for all losses', async () => {
    const { program } = await oneStep(modelOf(true), { combine: minNorm() })
    expect(program.runner.plan.kernelSteps.filter(({ op }) => op?.name === 'coalesce')).toHaveLength(1)
  })

  it('takes rows of table-batched bags, sorted once', async () => {
    const offsets = Int32Array.from({ length: BATCH + 1 }, (_, i) => i)
    const feeds = { click: batch.click, buy: batch.buy, ids: batch.other, offsets }
    const wide = { ...schema, ids: field('int32', 'batch'), offsets: field('int32', BATCH + 1) }
    const weightsAfter = async (sparse: boolean) => {
      const model = { table: parameter([2 * ROWS, WIDTH], normal(1), { sparse }) }
      const program = compile(
        model,
        (m, given) => {
          const b = given as Record<string, Tensor>
          const feature = { ids: b.other, offsets: b.offsets } as never
          const pooled = embeddingBags(m.table as never, [feature, feature], [ROWS, ROWS])
          const lossOf = (label: Tensor, column: number) =>
            mean(
              square(
                subtract(slice(pooled as Loose, 1, column, 1), reshape(label as Loose, [BATCH, 1]) as Loose) as Loose,
              ),
            )
          return { click: lossOf(b.click as Tensor, 1), buy: lossOf(b.buy as Tensor, WIDTH + 2) } as Record<
            string,
            Tensor
          >
        },
        {
          schema: { ...wide, other: wide.ids, click: field('float32', BATCH), buy: field('float32', BATCH) } as never,
          executor,
          updates: [
            { losses: ['click', 'buy'], parameters: all, optimizer: sgd({ lr: RATE }), combine: minNorm() } as never,
          ],
        },
      )
      const parameters = createParameters(model, 3)
      await program.step({ ...feeds, other: batch.other } as never, {}, { parameters })
      const sorts = program.runner.plan.kernelSteps.filter(({ op }) => op?.name === 'coalesce').length
      return { sorts, table: (await valuesOf(parameters)).table as Float32Array }
    }
    const [sparse, dense] = [await weightsAfter(true), await weightsAfter(false)]
    expect(sparse.sorts).toBe(1)
    expectNear(sparse.table, dense.table)
  })

  it('is clipped and measured together', async () => {
    const { found, moved, results } = await oneStep(modelOf(true), { combine: minNorm(), clipNorm: 0.01 })
    const alpha = solve.minNorm(gramOf(found, ['table', 'layer']))
    const whole = [
      ...weighted(found, 'table', alpha),
      ...weighted(found, 'layer', alpha),
      ...(found.click.click as Float32Array),
      ...(found.buy.buy as Float32Array),
    ]
    const norm = Math.hypot(...whole)
    expect(results['click+buy/gradientNorm']).toBeCloseTo(norm, 4)
    const got = parameterNames.flatMap((name) => [...moved(name)])
    expect(Math.hypot(...got)).toBeCloseTo(0.01, 4)
  })
})

/** Two quadratic losses about different points: the Pareto set is the segment between them. */
function quadratics(update: object, steps: number) {
  const [a, b] = [Float32Array.of(1, 2, -1), Float32Array.of(-2, 0.5, 3)]
  const model = { w: parameter([3], normal(3)) }
  const program = compile(
    model,
    (m, batch) => ({
      first: multiply(sum(square(subtract(m.w, batch.a))), 0.5),
      second: multiply(sum(square(subtract(m.w, batch.b))), 4),
      both: add(multiply(sum(square(subtract(m.w, batch.a))), 0.5), multiply(sum(square(subtract(m.w, batch.b))), 4)),
    }),
    { schema: { a: field('float32', 3), b: field('float32', 3) }, executor, updates: [update as never] },
  )
  const parameters = createParameters(model, 1)
  const train = async () => {
    let results: Record<string, unknown> = {}
    for (let step = 0; step < steps; step++) results = await program.step({ a, b }, {}, { parameters })
    return { results, w: (await valuesOf(parameters)).w as Float32Array, a, b }
  }
  return train()
}

describe('training', () => {
  const several = { losses: ['first', 'second'], parameters: all, report: true }

  it.each([
    ['minNorm', minNorm()],
    ['caGrad', caGrad()],
    ['upGrad', upGrad()],
  ])('%s of two conflicting tasks ends at a Pareto-stationary point', async (_, combine) => {
    const { w, a, b } = await quadratics({ ...several, combine, optimizer: sgd({ lr: 0.05 }) }, 400)
    // Gradients (w - a) and 8 (w - b) are opposite exactly on the segment.
    const [toA, toB] = [w.map((x, i) => x - (a[i] as number)), w.map((x, i) => x - (b[i] as number))]
    const gram = [
      [dot(toA, toA), 8 * dot(toA, toB)],
      [8 * dot(toA, toB), 64 * dot(toB, toB)],
    ]
    const alpha = solve.minNorm(gram)
    const least = alpha.reduce(
      (total, x, i) => total + x * alpha.reduce((sum, y, j) => sum + y * (gram[i]?.[j] as number), 0),
      0,
    )
    expect(least).toBeLessThan(1e-8)
  })

  it('minNorm reports a duality gap of nothing', async () => {
    const { results } = await quadratics({ ...several, combine: minNorm(), optimizer: sgd({ lr: 0.05 }) }, 50)
    expect(results['first+second/gap']).toBeLessThan(1e-5)
    expect((results['first+second/weights'] as Float32Array).reduce((total, x) => total + x, 0)).toBeCloseTo(1, 6)
  })

  it('fixed weights of 1 are the plain sum, bit for bit', async () => {
    const optimizer = adam({ lr: 0.05 })
    const plain = await quadratics({ loss: 'both', parameters: all, optimizer }, 20)
    const fixed = await quadratics({ ...several, combine: fixedWeights(), optimizer }, 20)
    expect(fixed.w).toEqual(plain.w)
  })

  it('equal losses by any method of sum 1 are one of them', async () => {
    const optimizer = sgd({ lr: 0.05 })
    const one = await quadratics({ loss: 'first', parameters: all, optimizer }, 5)
    const model = { w: parameter([3], normal(3)) }
    const program = compile(
      model,
      (m, batch) => {
        const loss = multiply(sum(square(subtract(m.w, batch.a))), 0.5)
        return { first: loss, again: multiply(loss, 1) }
      },
      {
        schema: { a: field('float32', 3) },
        executor,
        updates: [{ losses: ['first', 'again'], combine: imtlG(), parameters: all, optimizer }],
      },
    )
    const parameters = createParameters(model, 1)
    for (let step = 0; step < 5; step++) await program.step({ a: one.a }, {}, { parameters })
    expectNear((await valuesOf(parameters)).w as Float32Array, one.w)
  })

  it('uncertainty weights settle where exp(s) is twice the loss', async () => {
    const model = { weights: new UncertaintyWeights(['a', 'b']) }
    const program = compile(model, (m, batch) => ({ loss: m.weights.combine({ a: sum(batch.a), b: sum(batch.b) }) }), {
      schema: { a: field('float32', 1), b: field('float32', 1) },
      executor,
      updates: [{ loss: 'loss', parameters: all, optimizer: sgd({ lr: 0.2 }) }],
    })
    const parameters = createParameters(model, 1)
    for (let step = 0; step < 200; step++)
      await program.step({ a: Float32Array.of(3), b: Float32Array.of(0.25) }, {}, { parameters })
    const values = await valuesOf(parameters)
    expect(values['weights.logVariances.a']?.[0]).toBeCloseTo(Math.log(6), 4)
    expect(values['weights.logVariances.b']?.[0]).toBeCloseTo(Math.log(0.5), 4)
  })
})

describe('refusals', () => {
  it('a gradient that is not finite fails the step by the name of its task, and changes nothing', async () => {
    const model = modelOf(true)
    const parameters = createParameters(model, 3)
    const before = await valuesOf(parameters)
    const program = compile(
      model,
      (m, b) => {
        const { click, buy } = lossesOf(m, b as never)
        return { click, buy } as Record<string, Tensor>
      },
      {
        schema,
        executor,
        updates: [{ losses: ['click', 'buy'], combine: minNorm(), parameters: all, optimizer: adam() }],
      },
    )
    const bad = { ...batch, buy: batch.buy.map((x, i) => (i === 3 ? Number.NaN : x)) }
    await expect(program.step(bad, { lr: 0.1 }, { parameters })).rejects.toThrow(
      /^minNormWeights: gradient of task 1 \('buy'\) should be finite but got a squared norm of NaN/,
    )
    expect(await valuesOf(parameters)).toEqual(before)
    expect(program.stepCount).toBe(0)
  })

  const building =
    (update: object, options: object = {}) =>
    () =>
      compile(
        modelOf(false),
        (m, b) => {
          const { z, click, buy } = lossesOf(m, b as never)
          return { z, click, buy } as Record<string, Tensor>
        },
        {
          schema,
          executor,
          updates: [{ parameters: all, optimizer: sgd(), combine: minNorm(), ...update } as never],
          ...options,
        },
      )

  it.each([
    [{ losses: ['click', 'share'] }, {}, /updates.losses should be one of the outputs z, click, buy but got 'share'/],
    [{ losses: [] }, {}, /updates.losses should be 1 to 64 names of outputs but got 0/],
    [{ losses: ['click', 'click'] }, {}, /updates.losses should be each name once/],
    [{ losses: ['click', 'buy'] }, { accumulate: 2 }, /accumulate should be 1 where gradients are combined but got 2/],
    [{ losses: ['click', 'buy'], shared: all, representation: 'z' }, {}, /updates.shared should be left out beside/],
    [{ losses: ['click', 'buy'], representation: 'z' }, {}, /representation should be between .* but got 'table'/],
    [{ losses: ['click', 'buy'], parameters: (name: string) => name === 'click' }, {}, /more than one of its losses/],
    [
      { losses: ['click', 'buy'], combine: fixedWeights({ share: 2 }) },
      {},
      /weights should be names of click, buy but got 'share'/,
    ],
  ])('%o', (update, options, message) => {
    expect(building(update, options)).toThrow(message)
  })
})
