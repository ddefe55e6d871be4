/**
 * Walks the registry on every CPU variant of this machine, with one thread and with two: results and gradients against
 * the float64 references, and live counts below, at and across the capacity with every unused byte poisoned.
 */
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { isKairosError } from '../../lib/core/errors.js'
import type { OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { GraphRunner, type RunnerOptions } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import {
  type CpuVariant,
  type DeviceKind,
  describe as describeAddon,
  Executor,
  type MatmulEngine,
} from '../../lib/runtime/index.js'
import { casesOf, describeCase, errorOf, ops, SYMBOL } from './harness.js'
import { largeCases } from './large.js'
import { fixedOf, type LiveRun, liveOf, type Prepared, toleranceOf } from './walk.js'

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

async function compare(
  runner: GraphRunner,
  op: OpDefinition,
  prepared: Prepared,
  sizes: { counts?: Record<string, number>; capacities?: Record<string, number> } = {},
): Promise<void> {
  const { example, outputs, feeds, expected } = prepared
  const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))
  const run = await runner.run({ feeds: given, ...sizes })
  Object.keys(outputs).forEach((name, index) => {
    const wanted = expected[index] as ReferenceArray
    const got = run.outputs[name]
    const what = `${op.name} ${describeCase(example)}: ${name}`
    expect(got?.shape, what).toEqual(wanted.shape)
    const error = errorOf(got?.data ?? [], wanted.data)
    const allowed = wanted.dtype === 'float32' ? toleranceOf(prepared) : 0
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
          const runner = new GraphRunner((runs[0] as LiveRun).prepared.outputs, options)
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
