/**
 * Walks the registry on every CPU variant of this machine, with one thread and with two: results and gradients against
 * the float64 references, and live counts below, at and across the capacity with every unused byte poisoned.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import type { OpCase, OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner, type RunnerOptions } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import { type CpuVariant, describe as describeAddon, Executor, type MatmulEngine } from '../../lib/runtime/index.js'
import { casesOf, cotangentFeeds, describeCase, errorOf, gradientOf, graphOf, ops, SYMBOL, shrink } from './harness.js'

const DRAWS = 1
const TOLERANCE = 1e-5
/** A gradient reads forward results that float32 has rounded already, so errors of both add up. */
const GRADIENT_TOLERANCE = 4e-5

interface Setting {
  readonly variant: CpuVariant
  readonly threads: number
  readonly matmul: MatmulEngine
}

const { cpu, kernels, oneDnn } = describeAddon()
const settings: Setting[] = cpu.variants.flatMap((variant) =>
  [1, 2].map((threads) => ({ variant, threads, matmul: 'own' as const })),
)

/** Forward results and gradients of a case as one set of outputs, and what they should be. */
interface Check {
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly names: readonly string[]
}

function checkOf(op: OpDefinition, example: OpCase, symbolic: boolean): Check {
  const graph = graphOf(op, example, symbolic)
  const outputs: Record<string, Tensor> = Object.fromEntries(
    graph.outputs.map((tensor, index) => [`result${index}`, tensor]),
  )
  if (typeof op.vjp !== 'string') {
    const { wanted, gradients } = gradientOf(graph, example)
    gradients.forEach((gradient, index) => {
      if (gradient) outputs[`gradient${wanted[index]}`] = gradient
    })
  }
  return { outputs, names: Object.keys(outputs) }
}

function feedsOf(op: OpDefinition, example: OpCase): Record<string, ReferenceArray> {
  const operands = Object.fromEntries(example.inputs.map((array, index) => [`operand${index}`, array]))
  return { ...operands, ...cotangentFeeds(op.reference(example.inputs, example.attributes), createRandom(5)) }
}

async function compare(
  runner: GraphRunner,
  op: OpDefinition,
  example: OpCase,
  { outputs, names }: Check,
  sizes: { counts?: Record<string, number>; capacities?: Record<string, number> } = {},
): Promise<void> {
  const feeds = feedsOf(op, example)
  const expected = interpret(Object.values(outputs), { feeds, ...(sizes.counts ? { counts: sizes.counts } : {}) })
  const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))
  const run = await runner.run({ feeds: given, ...sizes })
  names.forEach((name, index) => {
    const wanted = expected[index] as ReferenceArray
    const got = run.outputs[name]
    const what = `${op.name} ${describeCase(example)}: ${name}`
    expect(got?.shape, what).toEqual(wanted.shape)
    const allowed =
      wanted.dtype !== 'float32'
        ? 0
        : Math.max(example.tolerance ?? 0, name.startsWith('gradient') ? GRADIENT_TOLERANCE : TOLERANCE)
    const error = errorOf(got?.data ?? [], wanted.data)
    expect(error, `${what}: got ${got?.data.slice(0, 8)}, expected ${wanted.data.slice(0, 8)}`).toBeLessThanOrEqual(
      allowed,
    )
  })
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

    it.each(walked.map((op) => [op.name, op] as const))('%s: results and gradients', async (_, op) => {
      for (const example of casesOf(op, DRAWS)) {
        const check = checkOf(op, example, false)
        await compare(new GraphRunner(check.outputs, options), op, example, check)
      }
    })

    it.each(walked.map((op) => [op.name, op] as const))('%s: live counts', async (_, op) => {
      for (const example of casesOf(op, DRAWS)) {
        const { live } = example
        if (live === undefined) continue
        const check = checkOf(op, example, true)
        const runner = new GraphRunner(check.outputs, options)
        const at = (count: number, capacity: number) =>
          compare(runner, op, shrink(example, count), check, {
            counts: { [SYMBOL]: count },
            capacities: { [SYMBOL]: capacity },
          })
        for (const count of [0, 1, live - 2]) await at(count, live - 2)
        // Past the capacity: bound anew to a greater one, then smaller counts within it.
        for (const count of [live - 1, live, 1]) await at(count, live)
      }
    })
  })
}

for (const setting of settings) walk(`${setting.variant}, ${setting.threads} threads`, setting, ops)

describe.skipIf(!oneDnn.available)('oneDNN', () => {
  const products = ops.filter(({ name }) => name === 'matmul')
  for (const variant of cpu.variants) walk(variant, { variant, threads: 2, matmul: 'onednn' }, products)
})

describe('the addon', () => {
  it('has a kernel for every op that is not composed of others', () => {
    const needed = new Set(ops.filter((op) => !op.expand).map((op) => op.kernel ?? op.name))
    expect([...needed].filter((name) => !kernels.includes(name))).toEqual([])
  })
})
