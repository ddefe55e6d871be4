/** Kernels whose bits do not depend on the number of threads. */
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { gradients } from '../../lib/graph/autodiff.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { Executor, gram, input, linearCrossEntropy, sampleNegatives, sum } from '../../lib/index.js'
import { floats, ints, type Loose, toTyped } from '../../lib/ops/support.js'
import { describe as describeAddon } from '../../lib/runtime/index.js'

const [ROWS, CHANNELS, CLASSES] = [701, 19, 5003] as const
const x = input('x', [ROWS, CHANNELS])
const weight = input('weight', [CLASSES, CHANNELS])
const bias = input('bias', [CLASSES])
const { loss, logSumExp } = linearCrossEntropy(x, weight, input('labels', [ROWS], 'int32'), {
  bias,
  labelSmoothing: 0.1,
})
const [dx, dweight, dbias] = gradients(sum(loss) as Loose, [x, weight, bias]) as Tensor[]

const outputs: Readonly<Record<string, Readonly<Record<string, Tensor>>>> = {
  linearCrossEntropy: { loss, logSumExp, dx: dx as Tensor, dweight: dweight as Tensor, dbias: dbias as Tensor },
  gram: { gram: gram(input('j', [7, 300_001])) },
  sampleNegatives: { ids: sampleNegatives([9999], { classes: 1e6, salt: 3 }) },
}

const random = createRandom(8)
const feeds = {
  x: toTyped(floats(random, [ROWS, CHANNELS])),
  weight: toTyped(floats(random, [CLASSES, CHANNELS])),
  bias: toTyped(floats(random, [CLASSES])),
  labels: toTyped(ints(random, [ROWS], 0, CLASSES)),
  j: toTyped(floats(random, [7, 300_001])),
  random: Int32Array.of(5, 6),
}

const THREADS = [1, 2, 3, 5]

describe.each(describeAddon().cpu.variants)('%s', (variant) => {
  it.each(Object.entries(outputs))('%s', async (_, wanted) => {
    const bits: Buffer[][] = []
    for (const threads of THREADS) {
      const executor = new Executor({ variant, threads })
      const runner = new GraphRunner(wanted, { executor })
      const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, feeds[name as keyof typeof feeds]]))
      const run = await runner.run({ feeds: given })
      bits.push(
        Object.values(run.outputs).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
      )
      await executor.close()
    }
    bits.forEach((run) => run.forEach((buffer, index) => expect(buffer.equals(bits[0]?.[index] as Buffer)).toBe(true)))
  })
})
