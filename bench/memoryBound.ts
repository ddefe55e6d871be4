/** Kernels whose floor is memory: beside the plain copy of as many bytes, in the same run and with the same threads. */
import type { Tensor } from '../lib/graph/node.js'
import { Executor, gradients, input } from '../lib/index.js'
import {
  abs,
  add,
  dropout,
  exp,
  layerNorm,
  maximum,
  multiply,
  relu,
  rmsNorm,
  sigmoid,
  softmax,
  sqrt,
  subtract,
  sum,
} from '../lib/ops/index.js'
import { copyOf, kernelTimes, large, verifyOutputs } from './kernelTime.js'
import { type BenchResult, median, quantile } from './support.js'

type Loose = Tensor<readonly number[], 'float32'>

interface Case {
  readonly name: string
  readonly shape: readonly number[]
  readonly build: (x: Loose, shape: readonly number[]) => readonly Tensor[]
  readonly kernels: readonly string[]
  /** Bytes moved at least, in units of the operand's bytes; a copy moves 2. */
  readonly moved: number
  /** Our time is at most so often the copy's. */
  readonly target?: number
  /** What the random words of a mask cost on top. */
  readonly draws?: boolean
}

const wide = [64, 1024, 256] as const
const rowOf = (name: string, shape: readonly number[]) => input(name, [shape.at(-1) as number]) as never

/** A function of x, and its gradient from a given one of the result. */
function both(
  name: string,
  apply: (x: Loose, shape: readonly number[]) => Tensor,
  kernels: readonly [string, string],
  { others = () => [], draws = false }: { others?: (shape: readonly number[]) => Tensor[]; draws?: boolean } = {},
  moved: readonly [number, number] = [2, 3],
): Case[] {
  const common = { shape: wide, target: 1.25, draws }
  const backward = (x: Loose, shape: readonly number[]) => {
    const dy = large('dy', shape)
    const y = apply(x, shape) as Loose
    return gradients(sum(multiply(y, dy) as Loose) as never, [x, ...others(shape)] as never) as readonly Tensor[]
  }
  return [
    { ...common, name, build: (x, shape) => [apply(x, shape)], kernels: [kernels[0]], moved: moved[0] },
    { ...common, name: `${name} backward`, build: backward, kernels: [kernels[1]], moved: moved[1] },
  ]
}

const chain = (x: Loose) => sqrt(add(multiply(sigmoid(x), exp(multiply(x, -0.5))), 1)) as Tensor
const plain = (x: Loose) => relu(add(multiply(subtract(x, 0.1), maximum(abs(x), 0.5)), 1)) as Tensor
const mask = { random: input('random', [2], 'int32'), salt: 1 } as const

function cases(): Case[] {
  return [
    {
      name: 'add',
      shape: wide,
      build: (x, shape) => [add(x, large('y', shape))],
      kernels: ['elementwise'],
      moved: 3,
      target: 1.25,
    },
    ...both('elementwise chain of 6, plain arithmetic', plain, ['elementwise', 'elementwise']),
    ...both('elementwise chain of 6, exponentials and a root', chain, ['elementwise', 'elementwise']),
    ...both('softmax', (x) => softmax(x), ['softmax', 'softmaxBackward']),
    ...both('layerNorm', (x, shape) => layerNorm(x as never, rowOf('g', shape), rowOf('b', shape)), [
      'layerNorm',
      'layerNormBackward',
    ]),
    ...both('rmsNorm', (x, shape) => rmsNorm(x as never, rowOf('g', shape)), ['rmsNorm', 'rmsNormBackward']),
    ...both(
      'dropout of 0.1',
      (x) => dropout(x, { rate: 0.1, ...mask }),
      ['dropout', 'dropout'],
      { draws: true },
      [2, 2],
    ),
  ]
}

/** Time of a mask's random words: dropout of what stays in the second-level cache, by its share of elements. */
async function drawingTime(count: number, executor: Executor): Promise<number> {
  const few = 1 << 18
  const x = input('x', [few])
  const [times = []] = await kernelTimes([dropout(x, { rate: 0.1, ...mask })], executor, [['dropout']])
  return (quantile(times, 0) * count) / few
}

export async function memoryBoundBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const { name, shape, build, kernels, moved, target, draws } of cases()) {
    const small = [64, ...shape.slice(1).map((dim) => Math.min(dim, 37))]
    if (name !== 'frequencyFilter') await verifyOutputs(name, build(input('x', small) as Loose, small), executor)
    const x = large('x', shape)
    // The copy comes last, so that no result is written over x.
    const [mine = [], copies = []] = await kernelTimes([...build(x, shape), copyOf(x)], executor, [kernels, ['pad']])
    const count = shape.reduce((product, dim) => product * dim, 1)
    const drawing = draws ? await drawingTime(count, executor) : 0
    const copy = (median(copies) * moved) / 2
    results.push({
      name,
      shape: `[${shape.join(', ')}]`,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      floor: { name: draws ? 'copy of its bytes + draws' : 'copy of its bytes', time: copy + drawing },
      ...(target
        ? {
            target: {
              text: `at most ${target} x copy${draws ? ' + draws' : ''}`,
              met: median(mine) <= target * copy + drawing,
            },
          }
        : {}),
      ...(draws ? { note: `draws alone ${drawing.toPrecision(3)} ms` } : {}),
    })
  }
  await executor.close()
  return results
}
