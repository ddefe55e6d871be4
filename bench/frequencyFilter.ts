/** The frequency filter, its backward and its transforms: beside FFTW, dense matrices, torch.fft and a plain copy. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRandom } from '../lib/core/random.js'
import type { Tensor } from '../lib/graph/node.js'
import { createParameters, Executor, gradients, input } from '../lib/index.js'
import { FrequencyLayer } from '../lib/nn/index.js'
import { frequencyFilter, irfft, multiply, rfft, sum } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { openMp, tryBuildNative } from './native.js'
import { findPython, Peer, tuned } from './peer.js'
import { PeerServer } from './peerServer.js'
import { roofs } from './roofs.js'
import {
  alternate,
  atMost,
  type BenchResult,
  type Contender,
  contender,
  fasterThan,
  median,
  timesOf,
} from './support.js'

const [BATCH, WIDTH] = [256, 64] as const
const LENGTHS = [32, 50, 64, 97, 100, 128, 200, 256, 1000] as const
const LONGEST_DENSE = 256
/** Bins of the low band. */
const CUTOFF = 3
const ROUNDS = 15
/** Runs of a peer per turn. */
const PEER_RUNS = 3

const bestFactor = (length: number) => (length === 97 ? 2 : length <= 128 ? 1.5 : 2.2)

interface Peers {
  readonly fftw: PeerServer | null
  readonly torch: Peer | null
}

export async function frequencyFilterBench(threads: number): Promise<BenchResult[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-filter-'))
  const peers = await openPeers(folder, threads)
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  try {
    for (const length of LENGTHS) results.push(...(await benchLength(length, executor, folder, peers)))
  } finally {
    peers.fftw?.close()
    peers.torch?.close()
    await executor.close()
    await rm(folder, { recursive: true, force: true })
  }
  return results.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name))
}

const names = ['frequencyFilter', 'frequencyFilter, backward', 'FrequencyLayer, two bands', 'rfft', 'irfft']

async function openPeers(folder: string, threads: number): Promise<Peers> {
  const program = tryBuildNative('peers/fftw.cc', ['fftw3f', 'openblas'])
  const fftw = program ? new PeerServer(program, [folder], { ...tuned(), ...openMp(threads) }) : null
  const python = findPython()
  if (!python) console.log('bench: torch.fft is skipped, no Python with PyTorch is here')
  const torch = python ? new Peer(python, 'frequencyFilter', threads, [folder]) : null
  await torch?.ready()
  return { fftw, torch }
}

async function benchLength(length: number, executor: Executor, folder: string, peers: Peers): Promise<BenchResult[]> {
  const half = Math.floor(length / 2) + 1
  const shape = [BATCH, length, WIDTH] as const
  const [x, w] = [input('x', shape), input('w', [half, WIDTH, 2])]
  const y = frequencyFilter(x as Loose, w as Loose) as Loose
  const [dx, dw] = gradients(sum(multiply(y, input('dy', shape) as Loose) as Loose) as Loose, [x, w]) as Tensor[]
  const layer = new FrequencyLayer({ time: length, channels: WIDTH, cutoff: CUTOFF })
  const spectrum = input('spectrum', [BATCH, half, WIDTH, 2])
  const filter = contender('filter', { y }, executor)
  const transform = contender('rfft', { y: rfft(x as Loose) }, executor)
  const inverse = contender('irfft', { y: irfft(spectrum as Loose, length) }, executor)
  const backward = contender('backward', { dx: dx as Tensor, dw: dw as Tensor }, executor)
  const bands = contender('bands', { y: layer.forward(x as Loose) }, executor, { parameters: createParameters(layer) })

  const random = createRandom(length)
  const draw = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  const feeds = { x: draw(BATCH * length * WIDTH), w: draw(half * WIDTH * 2) }
  await Promise.all([writeFile(join(folder, 'x'), feeds.x), writeFile(join(folder, 'w'), feeds.w)])
  const filtered = (await filter.runner.run({ feeds })).outputs.y?.data as Float32Array
  const transformed = (await transform.runner.run({ feeds: { x: feeds.x } })).outputs.y?.data as Float32Array

  const fftw = peers.fftw ? await fftwContenders(peers.fftw, folder, length, filtered) : []
  const torch = peers.torch ? await torchContenders(peers.torch, length, filtered, transformed, feeds.x) : {}
  const times = await timesByName(
    [filter, backward, bands, transform, inverse, ...fftw, ...Object.values(torch)].filter((each) => each !== null),
  )
  const { threads } = executor
  const copy = roofs(threads).copy(4 * BATCH * length * WIDTH)
  const common = {
    shape: `[${shape.join(', ')}]`,
    threads,
    size: { axis: 'length L', value: length, work: length * Math.log2(length) },
  }
  const of = (name: string) => times.get(name) ?? []
  const forward = median(of('filter'))
  const rivals = [...fftw.map(({ name }) => name), ...(torch.filter ? [torch.filter.name] : [])]
    .map((name) => ({ name, time: median(of(name)) }))
    .sort((a, b) => a.time - b.time)
  const best = rivals[0]
  const transformRow = (name: 'rfft' | 'irfft'): BenchResult => {
    const time = torch[name] ? median(of(torch[name].name)) : null
    return {
      ...common,
      name,
      ...timesOf(of(name)),
      ...(time === null
        ? {}
        : { peer: { name: 'torch.fft', time }, target: fasterThan(median(of(name)), time, 2, 'torch.fft') }),
      // A real column of L numbers, and L / 2 + 1 pairs.
      floor: { name: 'plain copy of its bytes', time: (copy * (1 + (2 * half) / length)) / 2 },
    }
  }
  return [
    {
      ...common,
      name: 'frequencyFilter',
      ...timesOf(of('filter')),
      floor: { name: 'plain copy', time: copy },
      ...(best ? { peer: { name: best.name, time: best.time }, target: filterTarget(length, forward, rivals) } : {}),
      note: rivals.map(({ name, time }) => `${(time / forward).toFixed(2)}x faster than ${name}`).join(', '),
    },
    {
      ...common,
      name: 'frequencyFilter, backward',
      ...timesOf(of('backward')),
      floor: { name: 'plain copy of its bytes', time: 1.5 * copy },
      target: atMost(median(of('backward')), forward, 2.2, 'its forward'),
      note: `${(median(of('backward')) / forward).toFixed(2)}x its forward`,
    },
    {
      ...common,
      name: 'FrequencyLayer, two bands',
      ...timesOf(of('bands')),
      floor: { name: 'plain copy', time: copy },
      target: atMost(median(of('bands')), copy, 2, 'plain copy'),
      note: `cutoff ${CUTOFF}`,
    },
    transformRow('rfft'),
    transformRow('irfft'),
  ]
}

/** The best of FFTW and matrices by a factor that grows with the length, and torch.fft by 4. */
function filterTarget(length: number, ours: number, rivals: readonly { name: string; time: number }[]) {
  const fast = (rival: { name: string; time: number }) =>
    fasterThan(ours, rival.time, rival.name === 'torch.fft' ? 4 : bestFactor(length), rival.name)
  const best = rivals.find(({ name }) => name !== 'torch.fft')
  const torch = rivals.find(({ name }) => name === 'torch.fft')
  const parts = [best, torch].filter((rival) => rival !== undefined).map(fast)
  return { text: parts.map(({ text }) => text).join(', '), met: parts.every(({ met }) => met) }
}

async function timesByName(contenders: readonly Contender[]): Promise<Map<string, readonly number[]>> {
  const times = await alternate(contenders, ROUNDS)
  return new Map(contenders.map(({ name }, i) => [name, times[i] ?? []]))
}

/** Plans, and compares its results with ours. */
async function fftwContenders(server: PeerServer, folder: string, length: number, ours: Float32Array) {
  await server.ask(`open ${length}`)
  const ways = [
    { name: 'FFTW, two columns as one', command: 'pair' },
    ...(length <= LONGEST_DENSE ? [{ name: 'dense matrices', command: 'dense' }] : []),
  ]
  for (const { name, command } of ways) {
    const { buffer, byteOffset, length: bytes } = await readFile(join(folder, command))
    requireEqual(`${name}, L = ${length}`, ours, new Float32Array(buffer, byteOffset, bytes / 4))
  }
  return ways.map(({ name, command }) => served(name, () => server.ask(`${command} ${PEER_RUNS}`)))
}

/** Compares mean squares of results with ours. */
async function torchContenders(
  peer: Peer,
  length: number,
  filtered: Float32Array,
  transformed: Float32Array,
  x: Float32Array,
): Promise<Partial<Record<'filter' | 'rfft' | 'irfft', Contender>>> {
  const found: Partial<Record<string, Contender>> = {}
  for (const [kind, ours] of Object.entries({ filter: filtered, rfft: transformed, irfft: x })) {
    const variant = `${kind}-${length}`
    const { losses } = await peer.train(variant, 1)
    const mean = ours.reduce((total, value) => total + value * value, 0) / ours.length
    const [loss = Number.NaN] = losses
    if (!(Math.abs(loss - mean) <= 1e-4 * mean)) throw new Error(`${variant}: mean squares ${mean} and ${loss}`)
    const name = kind === 'filter' ? 'torch.fft' : `torch.fft ${kind}`
    found[kind] = served(name, () => peer.train(variant, PEER_RUNS))
  }
  return found
}

const served = (name: string, ask: () => Promise<unknown>): Contender => ({
  name,
  async run() {
    const { milliseconds } = (await ask()) as { readonly milliseconds: readonly number[] }
    return median(milliseconds.toSorted((a, b) => a - b))
  },
})

function requireEqual(name: string, ours: Float32Array, theirs: Float32Array): void {
  const largest = ours.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  const worst = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - (theirs[i] ?? Number.NaN))), 0)
  if (!(worst <= 1e-5 * largest)) throw new Error(`${name}: results differ by ${worst} of ${largest}`)
}
