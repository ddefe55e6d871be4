/** Our matrix product beside oneDNN's, where it is built in; floor: none written here, GFLOP/s in the note. */
import { createRandom } from '../lib/core/random.js'
import { Executor, input, linear, matmul } from '../lib/index.js'
import { describe } from '../lib/runtime/index.js'
import { alternate, type BenchResult, contender, median, quantile, verify } from './support.js'

const shapes = [
  { m: 4096, k: 512, n: 256, transposed: false },
  { m: 1024, k: 512, n: 256, transposed: false },
  { m: 64, k: 512, n: 256, transposed: false },
  { m: 12800, k: 64, n: 256, transposed: true },
  { m: 256, k: 64, n: 3647, transposed: true },
] as const

export async function matmulBench(threads: number): Promise<BenchResult[]> {
  const results: BenchResult[] = []
  const own = new Executor({ threads, matmul: 'own' })
  const peer = describe().oneDnn.available ? new Executor({ threads, matmul: 'onednn' }) : null
  for (const { m, k, n, transposed } of shapes) {
    const a = input('a', [m, k])
    const product = transposed ? linear(a, input('b', [n, k])) : matmul(a, input('b', [k, n]))
    const shape = `${m}x${k}x${n}${transposed ? ', b transposed' : ''}`
    const ours = contender('own', { y: product }, own)
    const theirs = peer ? contender('oneDNN', { y: product }, peer) : null
    if (theirs) {
      const random = createRandom(2)
      const fill = (length: number) => Float32Array.from({ length }, () => random.normal())
      await verify(ours.runner, theirs.runner, { a: fill(m * k), b: fill(k * n) }, shape)
    }
    const [mine = [], other] = await alternate(theirs ? [ours, theirs] : [ours])
    results.push({
      name: 'matmul',
      shape,
      threads,
      ours: median(mine),
      spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
      ...(other ? { peer: { name: 'oneDNN', time: median(other) } } : {}),
      note: `${((2 * m * k * n) / median(mine) / 1e6).toFixed(0)} GFLOP/s`,
    })
  }
  await Promise.all([own.close(), peer?.close()])
  return results
}
