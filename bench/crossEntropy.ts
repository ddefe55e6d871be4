/** One training step's loss over a vocabulary: logits never kept beside logits kept, loss and both gradients. */

import type { Tensor } from '../lib/graph/node.js'
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
import { alternate, type BenchResult, contender, median, quantile } from './support.js'

const shapes = [
  [2560, 64, 3647],
  [256, 64, 50_000],
  [1024, 128, 20_000],
] as const

export async function crossEntropyBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const [rows, channels, classes] of shapes) {
    const x = input('x', [rows, channels])
    const weight = input('weight', [classes, channels])
    const labels = constant(
      Int32Array.from({ length: rows }, (_, row) => (row * 7919) % classes),
      [rows],
    )
    const withGradients = (losses: Tensor<readonly [number], 'float32'>): Record<string, Tensor> => {
      const loss = sum(losses) as Tensor<readonly [], 'float32'>
      const [dx, dweight] = gradients(loss, [x, weight]) as [Tensor, Tensor]
      return { loss, dx, dweight }
    }
    const ours = contender('fused', withGradients(linearCrossEntropy(x, weight, labels).loss), executor)
    const kept = contender('kept', withGradients(softmaxCrossEntropy(linear(x, weight), labels)), executor)
    const [mine = [], theirs = []] = await alternate([ours, kept], 9)
    // Four products: logits, logits again, and those of both gradients.
    const flops = 8 * rows * channels * classes
    results.push({
      name: 'linearCrossEntropy',
      shape: `${rows}x${channels}x${classes}`,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      peer: { name: 'logits kept', time: median(theirs) },
      note: `${(flops / median(mine) / 1e6).toFixed(0)} GFLOP/s; spares ${((2 * 4 * rows * classes) / 2 ** 20).toFixed(0)} MiB`,
    })
  }
  await executor.close()
  return results
}
