/** Kernels whose floor is memory: beside the plain copy, or the read, of as many bytes. */
import type { Tensor } from '../lib/graph/node.js'
import { Executor, input } from '../lib/index.js'
import { add, exp, layerNorm, multiply, rmsNorm, sigmoid, softmax, sqrt, sum, topK } from '../lib/ops/index.js'
import { roofs } from './roofs.js'
import { alternate, atMost, type BenchResult, contender, median, timesOf } from './support.js'

interface Case {
  readonly name: string
  readonly shape: readonly number[]
  readonly build: (x: Tensor<readonly number[], 'float32'>) => Tensor
  /** Bytes moved at least, in units of the operand's bytes; a copy moves 2, and 1 is a read. */
  readonly moved: number
  /** At most so many times the floor. */
  readonly most: number
  readonly note?: string
}

const wide = [64, 1024, 256] as const

const cases: readonly Case[] = [
  { name: 'add', shape: wide, build: (x) => add(x, input('y', wide)), moved: 3, most: 1.25 },
  {
    name: 'elementwise chain of 6',
    shape: wide,
    build: (x) => sqrt(add(multiply(sigmoid(x), exp(multiply(x, -0.5))), 1)),
    moved: 2,
    most: 1.25,
    note: 'one pass',
  },
  { name: 'softmax', shape: wide, build: (x) => softmax(x), moved: 2, most: 1.25 },
  {
    name: 'layerNorm',
    shape: wide,
    build: (x) => layerNorm(x as never, input('g', [256]) as never, input('b', [256]) as never),
    moved: 2,
    most: 1.25,
  },
  { name: 'rmsNorm', shape: wide, build: (x) => rmsNorm(x as never, input('g', [256]) as never), moved: 2, most: 1.25 },
  { name: 'topK of 10', shape: [256, 65536], build: (x) => topK(x as never, 10).values, moved: 1, most: 1.5 },
  { name: 'sum of all', shape: wide, build: (x) => sum(x), moved: 1, most: 1.5 },
]

export async function memoryBoundBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const { name, shape, build, moved, most, note } of cases) {
    const x = input('x', shape) as Tensor<readonly number[], 'float32'>
    const ours = contender(name, { y: build(x) }, executor)
    const [mine = []] = await alternate([ours], 15)
    const bytes = 4 * shape.reduce((product, dim) => product * dim, 1)
    const floor =
      moved === 1
        ? { name: 'read', time: roofs(threads).read(bytes) }
        : { name: 'plain copy of its bytes', time: (roofs(threads).copy(bytes) * moved) / 2 }
    results.push({
      name,
      shape: `[${shape.join(', ')}]`,
      threads,
      ...timesOf(mine),
      floor,
      target: atMost(median(mine), floor.time, most, floor.name),
      ...(note ? { note } : {}),
    })
  }
  await executor.close()
  return results
}
