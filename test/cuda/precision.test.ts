/** Products in TF32 and bfloat16: against references whose operands are rounded as the tensor cores round theirs. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { OpCase, OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import { Executor, type Precision } from '../../lib/runtime/index.js'
import { casesOf, describeCase, errorOf, graphOf, ops, SYMBOL, shrink } from '../ops/harness.js'
import { largeCases } from '../ops/large.js'

/** Sums are float32, whatever the operands. */
const TOLERANCE = 1e-5
const matmul = ops.find(({ name }) => name === 'matmul') as OpDefinition
const attention = ops.find(({ name }) => name === 'attention') as OpDefinition
const cases = casesOf(matmul, 1)

const numbers = new Float32Array(1)
const words = new Uint32Array(numbers.buffer)

/** To fewer bits of fraction: TF32 takes halves away from zero, bfloat16 to even. */
function round(value: number, precision: Precision): number {
  numbers[0] = value
  const bits = words[0] as number
  words[0] = precision === 'tf32' ? (bits + 0x1000) & ~0x1fff : (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
  return numbers[0] as number
}

describe.skipIf(process.platform !== 'linux').each(['tf32', 'bfloat16'] as const)('%s', (precision) => {
  let executor: Executor
  beforeAll(() => {
    executor = new Executor({ device: 'emulated', precision })
  })
  afterAll(() => executor.close())

  async function check(whole: OpCase, counts: readonly (number | undefined)[]): Promise<void> {
    const [result] = graphOf(matmul, whole, counts[0] !== undefined).outputs
    const runner = new GraphRunner({ result } as never, { executor, check: true, poison: true })
    for (const count of counts) {
      const { inputs, attributes } = count === undefined ? whole : shrink(whole, count)
      const feeds = Object.fromEntries(inputs.map((array, index) => [`operand${index}`, toTyped(array)]))
      const sizes = count === undefined ? {} : { counts: { [SYMBOL]: count }, capacities: { [SYMBOL]: whole.live } }
      const run = await runner.run({ feeds, ...sizes } as never)
      const [a, b, ...bias] = inputs as readonly [ReferenceArray, ReferenceArray, ...ReferenceArray[]]
      const [left, right] = [a, b].map(({ data, ...rest }) => ({ ...rest, data: data.map((x) => round(x, precision)) }))
      const [wanted] = matmul.reference([left, right, ...bias] as never, attributes) as [ReferenceArray]
      const error = errorOf(run.outputs.result?.data ?? [], wanted.data)
      expect(error, describeCase(whole)).toBeLessThanOrEqual(TOLERANCE)
    }
  }

  it('every form and size', async () => {
    for (const example of [...cases, ...largeCases(matmul, cases)]) await check(example, [undefined])
  })

  /** Weights are rounded too, so the reference is met to a few units of the precision. */
  it('the forward of attention', async () => {
    const examples = casesOf(attention, 1)
    for (const example of [...examples, ...largeCases(attention, examples)]) {
      const [y, logSumExp] = graphOf(attention, example).outputs
      const runner = new GraphRunner({ y, logSumExp } as never, { executor, check: true, poison: true })
      const feeds = Object.fromEntries(example.inputs.map((array, index) => [`operand${index}`, toTyped(array)]))
      const run = await runner.run({ feeds } as never)
      const wanted = attention.reference(example.inputs as never, example.attributes) as ReferenceArray[]
      ;['y', 'logSumExp'].forEach((name, index) => {
        const error = errorOf(run.outputs[name]?.data ?? [], wanted[index]?.data ?? [])
        expect(error, `${name} of ${describeCase(example)}`).toBeLessThanOrEqual(precision === 'tf32' ? 2e-3 : 2e-2)
      })
    }
  })

  it('live counts', async () => {
    for (const example of cases) if (example.live) await check(example, [0, 1, example.live - 1, example.live])
  })
})

describe('the processor', () => {
  it('has float32 alone', () => {
    expect(() => new Executor({ device: 'cpu', precision: 'bfloat16' })).toThrow(/precision.*float32 on the cpu/)
  })
})
