/** Kernels whose floor is memory: beside the plain copy of as many bytes, in the same run and with the same threads. */

import type { Tensor } from '../lib/graph/node.js'
import { Executor, input } from '../lib/index.js'
import { add, exp, layerNorm, multiply, reshape, rmsNorm, sigmoid, softmax, sqrt, sum, topK } from '../lib/ops/index.js'
import { alternate, type BenchResult, contender, median, quantile } from './support.js'

interface Case {
  readonly name: string
  readonly shape: readonly number[]
  readonly build: (x: Tensor<readonly number[], 'float32'>) => Tensor
  /** Bytes moved at least, in units of the operand's bytes; a copy moves 2. */
  readonly moved: number
  readonly note?: string
}

const wide = [64, 1024, 256] as const

const cases: readonly Case[] = [
  { name: 'add', shape: wide, build: (x) => add(x, input('y', wide)), moved: 3 },
  {
    name: 'elementwise chain of 6',
    shape: wide,
    build: (x) => sqrt(add(multiply(sigmoid(x), exp(multiply(x, -0.5))), 1)),
    moved: 2,
    note: 'one pass',
  },
  { name: 'softmax', shape: wide, build: (x) => softmax(x), moved: 2 },
  {
    name: 'layerNorm',
    shape: wide,
    build: (x) => layerNorm(x as never, input('g', [256]) as never, input('b', [256]) as never),
    moved: 2,
  },
  { name: 'rmsNorm', shape: wide, build: (x) => rmsNorm(x as never, input('g', [256]) as never), moved: 2 },
  { name: 'topK of 10', shape: [256, 65536], build: (x) => topK(x as never, 10).values, moved: 1 },
  { name: 'sum of all', shape: wide, build: (x) => sum(x), moved: 1 },
]

export async function memoryBoundBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const { name, shape, build, moved, note } of cases) {
    const x = input('x', shape) as Tensor<readonly number[], 'float32'>
    const ours = contender(name, { y: build(x) }, executor)
    // An output that is an input is copied: the copy kernel, with the same threads.
    const copy = contender('copy', { y: reshape(x, [shape.reduce((product, dim) => product * dim, 1)]) }, executor)
    const [mine = [], copies = []] = await alternate([ours, copy], 15)
    results.push({
      name,
      shape: `[${shape.join(', ')}]`,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      floor: { name: 'copy of its bytes', time: (median(copies) * moved) / 2 },
      ...(note ? { note } : {}),
    })
  }
  await executor.close()
  return results
}
