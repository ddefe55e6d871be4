/** Loss over an item set and both gradients, of all items or a sample: beside PyTorch, which keeps the logits. */
import type { Tensor } from '../lib/graph/node.js'
import { GraphRunner } from '../lib/graph/runner.js'
import {
  constant,
  Executor,
  gradients,
  input,
  linear,
  linearCrossEntropy,
  softmaxCrossEntropy,
  sum,
} from '../lib/index.js'
import { sampledSoftmax } from '../lib/losses/index.js'
import { kernelTimes } from './kernelTime.js'
import { findPython, Peer } from './peer.js'
import { type BenchResult, median, quantile } from './support.js'

type Loss = Tensor<readonly [], 'float32'>

const NEGATIVES = 1024
const MOST_EXTRA = 64
const shapes = [
  [2048, 64, 50_000],
  [2560, 64, 3647],
  [1024, 128, 20_000],
] as const

const everyNth = (count: number, step: number, limit: number) =>
  constant(
    Int32Array.from({ length: count }, (_, i) => (i * step) % limit),
    [count],
  )

function build([rows, channels, classes]: readonly [number, number, number], kind: 'full' | 'sampled' | 'kept') {
  const x = input('x', [rows, channels])
  const weight = input('weight', [classes, channels])
  const labels = everyNth(rows, 7919, classes)
  const losses = {
    full: () => sum(linearCrossEntropy(x, weight, labels).loss),
    kept: () => sum(softmaxCrossEntropy(linear(x, weight), labels)),
    sampled: () =>
      sampledSoftmax(x, weight, labels, everyNth(NEGATIVES, 104_729, classes) as never, { reduction: 'sum' }),
  }
  const loss = losses[kind]() as Loss
  return [loss, ...(gradients(loss, [x, weight]) as Tensor[])]
}

/** MiB that a run needs beside operands and results. */
async function extraOf(outputs: readonly Tensor[], executor: Executor): Promise<number> {
  const runner = new GraphRunner(Object.fromEntries(outputs.map((y, i) => [`${i}`, y])), { executor })
  const { arenaBytes, scratchBytes } = (await runner.prepare({})).description
  return (arenaBytes + scratchBytes) / 2 ** 20
}

export async function crossEntropyBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const python = findPython()
  const results: BenchResult[] = []
  for (const shape of shapes) {
    const [rows, channels, classes] = shape
    const peer = python ? new Peer(python, 'crossEntropy', threads, [...shape, NEGATIVES].map(String)) : null
    await peer?.ready()
    for (const kind of ['full', 'sampled'] as const) {
      const outputs = build(shape, kind)
      const kernels = new GraphRunner(Object.fromEntries(outputs.map((y, i) => [`${i}`, y]))).plan.kernelSteps
      const names = [...new Set(kernels.map(({ op }) => op?.kernel ?? op?.name ?? ''))]
      const mine: number[] = []
      const theirs: number[] = []
      for (let round = 0; round < 2; round++) {
        mine.push(...((await kernelTimes(outputs, executor, [names], { rounds: 3 }))[0] ?? []))
        theirs.push(...((await peer?.train(kind, 3))?.milliseconds.slice(1) ?? []))
      }
      const [ours, torch] = [mine, theirs].map((times) => times.sort((a, b) => a - b))
      const extra = await extraOf(outputs, executor)
      // Four products: logits, logits again, and those of both gradients.
      const flops = 8 * rows * channels * (kind === 'full' ? classes : NEGATIVES)
      const time = median(ours as number[])
      results.push({
        name: `linearCrossEntropy, ${kind}`,
        shape: `${rows}x${channels}x${classes}${kind === 'sampled' ? `, ${NEGATIVES} negatives` : ''}`,
        threads,
        ours: time,
        spread: [quantile(ours as number[], 0.25), quantile(ours as number[], 0.75)],
        ...(peer ? { peer: { name: 'PyTorch', time: median(torch as number[]) } } : {}),
        target: {
          text: `under ${MOST_EXTRA} MiB, 1.5 x PyTorch`,
          met: extra < MOST_EXTRA && (!peer || median(torch as number[]) >= 1.5 * time),
        },
        note: `${(flops / time / 1e6).toFixed(0)} GFLOP/s; ${extra.toFixed(1)} MiB extra`,
      })
    }
    peer?.close()
  }
  await executor.close()
  return results
}
