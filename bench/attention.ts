/** Attention forward, and forward with backward less forward, beside the time its products take at the peak of FMA. */
import { createRandom } from '../lib/core/random.js'
import type { Tensor } from '../lib/graph/node.js'
import { GraphRunner } from '../lib/graph/runner.js'
import { attention, Executor, gradients, input, matmul, sum } from '../lib/index.js'
import { alternate, type BenchResult, type Contender, contender, median, quantile } from './support.js'

interface Case {
  readonly batch: number
  readonly heads: number
  readonly length: number
  readonly width: number
  readonly causal?: boolean
  /** Histories are left-padded: on average half full. */
  readonly padded?: boolean
  /** Only the last position asks. */
  readonly last?: boolean
}

const cases: readonly Case[] = [
  { batch: 256, heads: 2, length: 50, width: 32 },
  { batch: 256, heads: 2, length: 50, width: 32, causal: true, padded: true },
  { batch: 256, heads: 2, length: 50, width: 32, causal: true, last: true },
  { batch: 64, heads: 4, length: 200, width: 64 },
  { batch: 64, heads: 4, length: 200, width: 64, causal: true },
  { batch: 64, heads: 4, length: 200, width: 64, causal: true, padded: true },
]

function kernelTime(
  name: string,
  outputs: Record<string, Tensor>,
  kernel: string,
  executor: Executor,
  feeds: Record<string, Float32Array | Int32Array>,
): Contender {
  const runner = new GraphRunner(outputs, { executor, profile: true })
  const steps = runner.plan.kernelSteps.flatMap(({ op }, index) => (op?.name === kernel ? [index] : []))
  return {
    name,
    async run() {
      const { profile } = await runner.run({ feeds })
      return steps.reduce((total, step) => total + (profile?.[step] ?? 0), 0) / 1e6
    },
  }
}

export async function attentionBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const random = createRandom(3)
  // The best product that is measured here stands for the peak: no kernel multiplies faster than it.
  const size = 768
  const product = contender('peak', { y: matmul(input('a', [size, size]), input('b', [size, size])) }, executor)
  const results: BenchResult[] = []
  for (const { batch, heads, length, width, causal = false, padded = false, last = false } of cases) {
    const queries = last ? 1 : length
    const q = input('q', [batch, queries, heads, width])
    const [k, v] = [input('k', [batch, length, heads, width]), input('v', [batch, length, heads, width])]
    const range = input('range', [batch, 2], 'int32')
    const edges = Int32Array.from({ length: 2 * batch }, (_, i) => (i % 2 === 1 ? length : random.int(length)))
    const y = attention(q, k, v, { causal, ...(padded ? { range } : {}) })
    const given = gradients(sum(y), [q, k, v])
    const fill = (count: number) => Float32Array.from({ length: count }, () => random.normal())
    const rows = batch * heads * width
    const feeds = {
      q: fill(rows * queries),
      k: fill(rows * length),
      v: fill(rows * length),
      ...(padded ? { range: edges } : {}),
    }
    const outputs = Object.fromEntries(given.map((gradient, i) => [`d${i}`, gradient as Tensor]))
    const [forward = [], backward = [], peaks = []] = await alternate(
      [
        kernelTime('forward', { y }, 'attention', executor, feeds),
        kernelTime('backward', outputs, 'attentionBackward', executor, feeds),
        product,
      ],
      15,
    )
    // Best of the rounds: a peak that noise has slowed is none.
    const rate = (2 * size ** 3) / quantile(peaks, 0)
    const pairs = pairsOf(batch, queries, length, causal, padded ? edges : null) * heads
    const shape = `(${batch}, ${heads}, ${last ? `1 of ${length}` : length}, ${width})${causal ? ' causal' : ''}${padded ? ' padded' : ''}`
    for (const [name, times, products] of [
      ['attention', forward, 2],
      ['attentionBackward', backward, 5],
    ] as const) {
      const flops = 2 * products * width * pairs
      results.push({
        name,
        shape,
        threads,
        ours: median(times),
        spread: [quantile(times, 0.25), quantile(times, 0.75)],
        floor: { name: 'products at FMA peak', time: flops / rate },
        note: `${(flops / median(times) / 1e6).toFixed(0)} GFLOP/s`,
      })
    }
  }
  await executor.close()
  return results
}

/** Pairs of a query and a key that it sees, in one head of every row. */
function pairsOf(batch: number, queries: number, keys: number, causal: boolean, edges: Int32Array | null): number {
  let pairs = 0
  for (let b = 0; b < batch; b++) {
    const start = edges?.[2 * b] ?? 0
    for (let i = 0; i < queries; i++) pairs += Math.max(0, (causal ? i + keys - queries + 1 : keys) - start)
  }
  return pairs
}
