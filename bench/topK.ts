/** The best 100 of a million scores: beside one read of them. */
import type { Tensor } from '../lib/graph/node.js'
import { Executor, input } from '../lib/index.js'
import { concat, sum, topK } from '../lib/ops/index.js'
import { kernelTimes, large, verifyOutputs } from './kernelTime.js'
import { type BenchResult, median, quantile } from './support.js'

const SCORES = 1 << 20
const BEST = 100

export async function topKBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const batch of [1, 64]) {
    const outputs = (x: Tensor) => Object.values(topK(x as never, BEST)) as Tensor[]
    await verifyOutputs('topK', outputs(input('x', [batch, 4096])), executor, { tolerance: 0 })
    // In two halves: so the program makes a row of its own, of scores that do not repeat soon.
    const halves = ['left', 'right'].map((half) => large(half, [batch, SCORES / 2]))
    const x = concat(halves as never, 1 as never) as Tensor<readonly number[], 'float32'>
    const all = [...outputs(x), sum(x)]
    const [mine = [], reads = []] = await kernelTimes(all, executor, [['topK'], ['sum']], { rounds: 31 })
    results.push({
      name: `topK of ${BEST}`,
      shape: `[${batch}, ${SCORES}]`,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      floor: { name: 'read (sum of all)', time: median(reads) },
      target: { text: 'at most 1.5 x read', met: median(mine) <= 1.5 * median(reads) },
    })
  }
  await executor.close()
  return results
}
