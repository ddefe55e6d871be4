/**
 * Matrix products with bias and activation, forward and backward, beside oneDNN's packed product without either; and
 * many small products, beside a loop of oneDNN's calls. One interface serves both engines; `taken` is what it takes.
 */
import { createRandom } from '../lib/core/random.js'
import type { Tensor } from '../lib/graph/node.js'
import { constant, Executor, gradients, input, linear } from '../lib/index.js'
import { batchMatmul, gelu, multiply, relu, slice, sum } from '../lib/ops/index.js'
import { describe } from '../lib/runtime/index.js'
import { kernelTimes, large, verifyOutputs } from './kernelTime.js'
import { ProductPeer } from './productPeer.js'
import { type BenchResult, median, quantile } from './support.js'

type Loose = Tensor<readonly number[], 'float32'>

const shapes = [4096, 1024, 64, 1].map((m) => ({ m, k: 512, n: 256 }))
const groups = [
  { name: 'experts', count: 24, m: 1024, k: 128, n: 64 },
  { name: 'clients', count: 512, m: 65, k: 48, n: 48 },
]
const activations = { gelu, relu }

const drawWeights = (count: number) => {
  const random = createRandom(2).fork('weights')
  return Float32Array.from({ length: count }, () => 0.2 * random.normal())
}

/** Layers of equal weights on rows of their own, so that small ones are timed while their weights are in cache. */
function layers(activation: 'gelu' | 'relu', copies: number, m: number, k: number, n: number, backward: boolean) {
  const x = input('x', [copies * m, k]) as Loose
  // Without updates weights are only read, and kept in panels, as the peer's are; training packs them in each step.
  const weight = backward ? input('w', [n, k]) : constant(drawWeights(n * k), [n, k])
  const bias = input('b', [n])
  return Array.from({ length: copies }, (_, i) => {
    const rows = (copies === 1 ? x : slice(x, 0 as never, i * m, m)) as Loose
    const z = linear(rows as never, weight as never, { bias } as never)
    const y = activations[activation](z as never) as Loose
    if (!backward) return [y]
    const dy = input('dy', [m, n])
    return [y, ...gradients(sum(multiply(y, dy) as Loose) as never, [rows, weight, bias] as never)] as Tensor[]
  }).flat()
}

async function layerResults(threads: number, peer: ProductPeer | null, own: Executor, other: Executor | null) {
  const results: BenchResult[] = []
  for (const { m, k, n } of shapes)
    for (const activation of ['gelu', 'relu'] as const)
      for (const backward of [false, true]) {
        const name = `linear + bias + ${activation}${backward ? ', forward and backward' : ''}`
        await verifyOutputs(name, layers(activation, 1, Math.min(m, 7), k, n, backward), own)
        // Each layer keeps panels of its own: two fit the second cache.
        const copies = Math.max(1, Math.min(backward ? 32 : 2, 4096 / m))
        const outputs = layers(activation, copies, m, k, n, backward)
        const kernels = backward ? ['matmul', 'elementwise', 'sum'] : ['matmul']
        const [mine, theirs]: number[][] = [[], []]
        // The layer's products alone; the peer's best round counts.
        const sizes = backward
          ? [
              [m, k, n],
              [m, n, k],
              [n, m, k],
            ]
          : [[m, k, n]]
        const plain = sizes.map((each) => ({ sizes: each as [number, number, number], time: Number.POSITIVE_INFINITY }))
        for (let round = 0; round < 4; round++) {
          for (const [executor, times] of [
            [own, mine],
            [other, theirs],
          ] as const)
            if (executor) times?.push(...((await kernelTimes(outputs, executor, [kernels], { rounds: 5 }))[0] ?? []))
          for (const product of peer ? plain : []) {
            product.time = Math.min(
              product.time,
              median(sorted(await (peer as ProductPeer).packed(...product.sizes, 20))),
            )
          }
        }
        const ownTimes = sorted(mine as number[]).map((time) => time / copies)
        const products = backward ? 3 : 1
        const packed = plain.reduce((total, { time }) => total + time, 0)
        const least = packed / median(ownTimes)
        results.push({
          name,
          shape: `${m}x${k}x${n}`,
          threads,
          ours: median(ownTimes),
          spread: [quantile(ownTimes, 0.25), quantile(ownTimes, 0.75)],
          ...(peer ? { peer: { name: 'oneDNN packed, plain', time: packed } } : {}),
          ...(peer ? { target: { text: 'at least 85 % of it', met: least >= 0.85 } } : {}),
          note: `${((products * 2 * m * k * n) / median(ownTimes) / 1e6).toFixed(0)} GFLOP/s, ${(100 * least).toFixed(0)} %; taken: own${other ? `; through oneDNN ${(median(sorted(theirs as number[])) / copies).toPrecision(3)} ms` : ''}`,
        })
      }
  return results
}

const sorted = (times: readonly number[]) => times.toSorted((a, b) => a - b)

async function groupedResults(threads: number, peer: ProductPeer | null, own: Executor, other: Executor | null) {
  const results: BenchResult[] = []
  for (const { name, count, m, k, n } of groups) {
    const build = (batch: number, make: typeof large) => [
      batchMatmul(make('a', [batch, m, k]) as never, make('b', [batch, k, n]) as never) as Tensor,
    ]
    await verifyOutputs(name, build(2, input as never), own)
    const outputs = build(count, large)
    const [mine, theirs, peaks]: number[][] = [[], [], []]
    for (let round = 0; round < 4; round++) {
      for (const [executor, times] of [
        [own, mine],
        [other, theirs],
      ] as const)
        if (executor) times?.push(...((await kernelTimes(outputs, executor, [['matmul']], { rounds: 5 }))[0] ?? []))
      if (peer) peaks?.push(await peer.peak())
    }
    const times = sorted(mine as number[])
    const rate = (2 * count * m * k * n) / median(times)
    const floor = (2 * count * m * k * n) / Math.max(...(peaks as number[]))
    const loop = median(sorted(theirs as number[]))
    results.push({
      name: `grouped products, ${name}`,
      shape: `${count} x ${m}x${k}x${n}`,
      threads,
      ours: median(times),
      spread: [quantile(times, 0.25), quantile(times, 0.75)],
      ...(other ? { peer: { name: 'loop of oneDNN', time: loop } } : {}),
      ...(peer ? { floor: { name: 'FMA peak', time: floor } } : {}),
      ...(peer && other
        ? {
            target: {
              text: '82 % of FMA peak, 2 x the loop',
              met: floor >= 0.82 * median(times) && loop >= 2 * median(times),
            },
          }
        : {}),
      note: `${(rate / 1e6).toFixed(0)} GFLOP/s; taken: own`,
    })
  }
  return results
}

export async function matmulBench(threads: number): Promise<BenchResult[]> {
  const own = new Executor({ threads, matmul: 'own' })
  const other = describe().oneDnn.available ? new Executor({ threads, matmul: 'onednn' }) : null
  const peer = ProductPeer.start(threads)
  const results = [
    ...(await layerResults(threads, peer, own, other)),
    ...(await groupedResults(threads, peer, own, other)),
  ]
  peer?.close()
  await Promise.all([own.close(), other?.close()])
  return results
}
