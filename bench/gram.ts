/** Inner products of task gradients: beside one plain read of the matrix, with the same threads. */
import { Executor, gram, input } from '../lib/index.js'
import { sum } from '../lib/ops/index.js'
import { alternate, type BenchResult, contender, median, quantile } from './support.js'

const shapes = [
  [2, 1 << 23],
  [4, 1 << 22],
  [8, 1 << 21],
  [16, 1 << 20],
  [64, 1 << 18],
] as const

export async function gramBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const [rows, columns] of shapes) {
    const j = input('j', [rows, columns])
    const ours = contender('gram', { g: gram(j) }, executor)
    const read = contender('read', { total: sum(j) }, executor)
    const [mine = [], reads = []] = await alternate([ours, read], 9)
    const bytes = 4 * rows * columns
    results.push({
      name: 'gram',
      shape: `[${rows}, ${columns}]`,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      floor: { name: 'read (sum of all)', time: median(reads) },
      note: `${(bytes / median(mine) / 1e6).toFixed(1)} of ${(bytes / median(reads) / 1e6).toFixed(1)} GB/s`,
    })
  }
  await executor.close()
  return results
}
