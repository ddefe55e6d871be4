/**
 * Walks the registry on every CPU variant of this machine, with one thread and with two: results and gradients against
 * the float64 references, and live counts below, at and across the capacity with every unused byte poisoned.
 */
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { isKairosError } from '../../lib/core/errors.js'
import { createRandom } from '../../lib/core/random.js'
import type { OpCase, OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner, type RunnerOptions } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import {
  type CpuVariant,
  type DeviceKind,
  describe as describeAddon,
  Executor,
  type MatmulEngine,
} from '../../lib/runtime/index.js'
import { casesOf, cotangentFeeds, describeCase, errorOf, gradientOf, graphOf, ops, SYMBOL, shrink } from './harness.js'
import { largeCases } from './large.js'

const DRAWS = 1
/** Relative to the greatest magnitude of a result. */
const TOLERANCE = 1e-5

interface Setting {
  readonly variant: CpuVariant
  readonly threads: number
  readonly matmul: MatmulEngine
  readonly device?: DeviceKind
}

const { cpu, kernels, oneDnn } = describeAddon()
/** KAIROS_DEVICE sends the walk to another device, where variants and threads mean nothing. */
const elsewhere = process.env.KAIROS_DEVICE && process.env.KAIROS_DEVICE !== 'cpu' ? process.env.KAIROS_DEVICE : ''
const best = cpu.variants.at(-1) as CpuVariant
const settings: Setting[] = (elsewhere ? [best] : cpu.variants).flatMap((variant) =>
  (elsewhere ? [1] : [1, 2]).map((threads) => ({ variant, threads, matmul: 'own' as const })),
)

/** A case with everything that does not depend on the executor; made once, used on each. */
interface Prepared {
  readonly example: OpCase
  /** Forward results and gradients by the differentiable operands. */
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly feeds: Readonly<Record<string, ReferenceArray>>
  readonly expected: readonly ReferenceArray[]
}

/** The graph of a case; with `count`, its live size is a symbol and the operands are a prefix of that many. */
function prepare(op: OpDefinition, whole: OpCase, count?: number): Prepared {
  const graph = graphOf(op, whole, count !== undefined)
  const outputs = Object.fromEntries(graph.outputs.map((tensor, index) => [`result${index}`, tensor]))
  if (typeof op.vjp !== 'string') {
    const { wanted, gradients } = gradientOf(graph, whole)
    gradients.forEach((gradient, index) => {
      if (gradient) outputs[`gradient${wanted[index]}`] = gradient
    })
  }
  const example = count === undefined ? whole : shrink(whole, count)
  const operands = Object.fromEntries(example.inputs.map((array, index) => [`operand${index}`, array]))
  const results = op.reference(example.inputs, example.attributes)
  const feeds = { ...operands, ...cotangentFeeds(results, createRandom(5)) }
  const counts = count === undefined ? {} : { [SYMBOL]: count }
  return { example, outputs, feeds, expected: interpret(Object.values(outputs), { feeds, counts }) }
}

/** Counts below and at two capacities: after the first three the program is bound anew to a greater one. */
const countsOf = (live: number) => [
  ...[0, 1, live - 2].map((count) => ({ count, capacity: live - 2 })),
  ...[live - 1, live, 1].map((count) => ({ count, capacity: live })),
]

const memory = new Map<string, unknown>()
function once<T>(key: string, make: () => T): T {
  if (!memory.has(key)) memory.set(key, make())
  return memory.get(key) as T
}

const fixedOf = (op: OpDefinition): Prepared[] =>
  once(`${op.name} fixed`, () => {
    const cases = casesOf(op, DRAWS)
    return [...cases, ...largeCases(op, cases)].map((example) => prepare(op, example))
  })

const liveOf = (op: OpDefinition) =>
  once(`${op.name} live`, () =>
    casesOf(op, DRAWS).flatMap((example) => {
      const { live } = example
      if (live === undefined) return []
      return [countsOf(live).map(({ count, capacity }) => ({ count, capacity, prepared: prepare(op, example, count) }))]
    }),
  )

async function compare(
  runner: GraphRunner,
  op: OpDefinition,
  { example, outputs, feeds, expected }: Prepared,
  sizes: { counts?: Record<string, number>; capacities?: Record<string, number> } = {},
): Promise<void> {
  const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))
  const run = await runner.run({ feeds: given, ...sizes })
  Object.keys(outputs).forEach((name, index) => {
    const wanted = expected[index] as ReferenceArray
    const got = run.outputs[name]
    const what = `${op.name} ${describeCase(example)}: ${name}`
    expect(got?.shape, what).toEqual(wanted.shape)
    const error = errorOf(got?.data ?? [], wanted.data)
    const allowed = wanted.dtype === 'float32' ? (example.tolerance ?? TOLERANCE) : 0
    const values = () => `${what}: got ${got?.data.slice(0, 8)}, expected ${wanted.data.slice(0, 8)}`
    if (!(error <= allowed)) expect(error, values()).toBeLessThanOrEqual(allowed)
  })
}

/** A device other than the processor may lack a kernel yet: such a test is skipped, visibly. */
async function unlessWithoutKernel({ device }: Executor, context: TestContext, body: () => Promise<void>) {
  try {
    await body()
  } catch (error) {
    if (device === 'cpu' || !isKairosError(error, 'KAIROS_UNSUPPORTED')) throw error
    context.skip(error.message)
  }
}

function walk(title: string, setting: Setting, walked: readonly OpDefinition[]): void {
  describe(title, () => {
    let executor: Executor
    let options: RunnerOptions
    beforeAll(() => {
      executor = new Executor(setting)
      options = { executor, check: true, poison: true }
    })
    afterAll(() => executor.close())

    it.for(walked.map((op) => [op.name, op] as const))('%s: results and gradients', async ([, op], context) => {
      await unlessWithoutKernel(executor, context, async () => {
        for (const prepared of fixedOf(op)) {
          await compare(new GraphRunner(prepared.outputs, options), op, prepared)
        }
      })
    })

    it.for(walked.map((op) => [op.name, op] as const))('%s: live counts', async ([, op], context) => {
      await unlessWithoutKernel(executor, context, async () => {
        for (const runs of liveOf(op)) {
          const runner = new GraphRunner((runs[0] as (typeof runs)[number]).prepared.outputs, options)
          for (const { count, capacity, prepared } of runs) {
            await compare(runner, op, prepared, { counts: { [SYMBOL]: count }, capacities: { [SYMBOL]: capacity } })
          }
        }
      })
    })
  })
}

for (const setting of settings) walk(elsewhere || `${setting.variant}, ${setting.threads} threads`, setting, ops)

/** CUDA's kernels on the emulated GPU, which every Linux checkout has: their arithmetic, without a GPU. */
if (!elsewhere && process.platform === 'linux' && !process.env.KAIROS_ADDON)
  walk('emulated GPU', { variant: best, threads: 1, matmul: 'own', device: 'emulated' }, ops)

describe.skipIf(!oneDnn.available || elsewhere !== '')('oneDNN', () => {
  const products = ops.filter(({ name }) => name === 'matmul')
  for (const variant of cpu.variants) walk(variant, { variant, threads: 2, matmul: 'onednn' }, products)
})

describe('large cases', () => {
  it('stand beside those of every op', () => {
    const without = ops
      .filter((op) => !op.expand && largeCases(op, casesOf(op, 1)).length === 0)
      .map(({ name }) => name)
    // Chains are what every elementwise op runs as; composites run as the ops that they are made of.
    expect(without).toEqual(['elementwise'])
  })
})

describe('the addon', () => {
  it('has a kernel for every op that is not composed of others', () => {
    const needed = new Set(ops.filter((op) => !op.expand).map((op) => op.kernel ?? op.name))
    expect([...needed].filter((name) => !kernels.includes(name))).toEqual([])
  })
})
