/** Inner products of task gradients: beside one plain read of the matrix, and numpy. */

import { GraphRunner } from '../lib/graph/runner.js'
import { Executor, gram } from '../lib/index.js'
import { sum } from '../lib/ops/index.js'
import { drawFeeds, kernelTimes, large } from './kernelTime.js'
import { findPython, Peer } from './peer.js'
import { type BenchResult, median, quantile } from './support.js'

const COLUMNS = 10_000_000

/** The largest difference from float64, by the lengths of the two rows. */
async function errorOf(rows: number, executor: Executor): Promise<number> {
  const runner = new GraphRunner({ g: gram(large('j', [rows, COLUMNS], 1) as never) }, { executor })
  const feeds = drawFeeds(runner)
  const data = feeds.j as Float32Array
  const width = data.length / rows
  const { outputs } = await runner.run({ feeds })
  const product = (r: number, c: number) => {
    let total = 0
    for (let i = 0; i < width; i++) total += (data[r * width + i] as number) * (data[c * width + i] as number)
    return (total * COLUMNS) / width
  }
  let worst = 0
  for (let r = 0; r < rows; r++)
    for (const c of [r, rows - 1]) {
      const error = Math.abs((outputs.g?.data[r * rows + c] as number) - product(r, c))
      worst = Math.max(worst, error / Math.sqrt(product(r, r) * product(c, c)))
    }
  if (worst > 1e-7) throw new Error(`gram of ${rows} rows is off by ${worst}`)
  return worst
}

export async function gramBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const python = findPython()
  const peer = python ? new Peer(python, 'gram', threads, [`${COLUMNS}`]) : null
  await peer?.ready()
  const results: BenchResult[] = []
  for (const rows of [2, 4, 8, 16]) {
    const error = await errorOf(rows, executor)
    const j = large('j', [rows, COLUMNS], 1)
    const outputs = [gram(j as never), sum(j)]
    const [mine = [], reads = []] = await kernelTimes(outputs, executor, [['gram'], ['sum']], { rounds: 7 })
    const numpy = peer ? median((await peer.train(`${rows}`, 5)).milliseconds.toSorted((a, b) => a - b)) : null
    const [ours, read] = [median(mine), median(reads)]
    results.push({
      name: 'gram',
      shape: `[${rows}, ${COLUMNS}]`,
      threads,
      ours,
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      ...(numpy ? { peer: { name: 'numpy', time: numpy } } : {}),
      floor: { name: 'read (sum of all)', time: read },
      target: { text: '1.6 x read, 3.4 x numpy', met: ours <= 1.6 * read && (numpy === null || 3.4 * ours <= numpy) },
      note: `${((4 * rows * COLUMNS) / ours / 1e6).toFixed(1)} GB/s; off by ${error.toExponential(1)}`,
    })
  }
  peer?.close()
  await executor.close()
  return results
}
