/**
 * Attention beside PyTorch, ONNX Runtime and the time its products take at the peak; target attention beside PyTorch
 * and one read of keys and values.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRandom } from '../lib/core/random.js'
import { constant } from '../lib/graph/leaf.js'
import type { Tensor } from '../lib/graph/node.js'
import { attention, Executor, gradients, input, sum, targetAttention } from '../lib/index.js'
import { multiply } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { openOnnxServer } from './onnxServer.js'
import { findPython, Peer } from './peer.js'
import type { PeerServer } from './peerServer.js'
import { type Roofs, roofs } from './roofs.js'
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

type Direction = 'forward' | 'both'
type Floats = Readonly<Record<string, Float32Array>>

interface Problem {
  readonly name: string
  readonly shape: string
  readonly size?: BenchResult['size']
  readonly rounds: number
  /** y of q, k and v, and its cotangent dy. */
  readonly graph: { readonly y: Loose; readonly operands: readonly Loose[]; readonly dy: Loose }
  readonly feeds: Floats
  /** What peers are told; without it they are not asked. */
  readonly peers?: { readonly dims: Readonly<Record<string, number | boolean>>; readonly arrays: Floats }
  /** A time at the roof, or what else can be done in the same turns: no roof holds where L3 is shared with others. */
  readonly floor: ((direction: Direction, roofs: Roofs) => NonNullable<BenchResult['floor']>) | Floor
  readonly target?: (direction: Direction, ours: number, floor: number, peer?: NamedTime) => BenchResult['target']
}

interface Floor {
  readonly name: string
  readonly outputs: Readonly<Record<string, Tensor>>
}

interface NamedTime {
  readonly name: string
  readonly time: number
}

const SHAPES = [
  { batch: 256, heads: 2, length: 50, width: 32, factor: 2, rounds: 15 },
  { batch: 64, heads: 4, length: 200, width: 64, factor: 1.5, rounds: 9 },
  { batch: 16, heads: 8, length: 1024, width: 64, factor: 1.18, rounds: 3 },
] as const
/** Cost against the length, at as many positions in all. */
const POSITIONS = 12800
const LENGTHS = [25, 50, 100, 200, 400, 800] as const
const HISTORIES = [50, 100, 200, 500, 1000] as const
/** Forward and backward, of PyTorch. */
const [BOTH_FACTOR, TARGET_BOTH_FACTOR] = [2.2, 4] as const
const READ_FACTOR = 1.35

export const attentionBench = (threads: number) =>
  bench(
    threads,
    SHAPES.flatMap((shape) => [false, true].map((masked) => () => selfAttention(shape, masked))),
  )

export const attentionLengthBench = (threads: number) =>
  bench(
    threads,
    LENGTHS.map((length) => () => {
      const { peers, target, ...problem } = selfAttention(
        { batch: POSITIONS / length, heads: 4, length, width: 64, factor: 1, rounds: 7 },
        false,
      )
      return { ...problem, size: { axis: `length L of ${POSITIONS} positions`, value: length, work: length } }
    }),
  )

export const targetAttentionBench = (threads: number) =>
  bench(
    threads,
    HISTORIES.map((longest) => () => overHistories(longest)),
  )

type Self = Readonly<Record<'batch' | 'heads' | 'length' | 'width' | 'factor' | 'rounds', number>>

/** Masked: causal, and left-padded by half of the length on average. */
function selfAttention({ batch, heads, length, width, factor, rounds }: Self, masked: boolean): Problem {
  const random = createRandom(length)
  const shape = [batch, length, heads, width] as const
  const feeds = draw(random, ['q', 'k', 'v', 'dy'], batch * length * heads * width)
  const starts = Array.from({ length: batch }, () => (masked ? random.int(length) : 0))
  // Queries before the start see nothing, which no peer knows how to say.
  starts.forEach((start, b) => {
    feeds.dy?.fill(0, b * length * heads * width, (b * length + start) * heads * width)
  })
  const [q, k, v, dy] = ['q', 'k', 'v', 'dy'].map((name) => input(name, shape) as Loose) as unknown as Quad
  const range = constant(Int32Array.from(starts.flatMap((start) => [start, length])), [batch, 2])
  const y = attention(q, k, v, masked ? { causal: true, range: range as Loose } : {}) as Loose
  const seen = starts.map((start) => ((length - start) * (length - start + 1)) / 2)
  const pairs = heads * (masked ? seen.reduce((total, count) => total + count, 0) : batch * length * length)
  return {
    name: 'attention',
    shape: `(${batch}, ${heads}, ${length}, ${width})${masked ? ' causal, padded' : ''}`,
    rounds,
    graph: { y, operands: [q, k, v], dy },
    feeds,
    peers: {
      dims: { batch, queries: length, keys: length, heads, width, causal: masked },
      arrays: { ...feeds, starts: Float32Array.from(starts), ends: new Float32Array(batch).fill(length) },
    },
    // Backward: five products, one of which is made again.
    floor: (direction, { flops }) => ({
      name: 'its products at FMA peak',
      time: flops((direction === 'forward' ? 4 : 14) * width * pairs),
    }),
    target: (direction, ours, _, peer) =>
      peer && fasterThan(ours, peer.time, direction === 'forward' ? factor : BOTH_FACTOR, peer.name),
  }
}

/** One query of each user against its own history, of any length up to `longest`. */
function overHistories(longest: number): Problem {
  const [users, heads, width] = [256, 4, 32]
  const random = createRandom(longest)
  const lengths = Array.from({ length: users }, () => 1 + random.int(longest))
  const offsets = Int32Array.from([0, ...lengths])
  for (let i = 0; i < users; i++) (offsets[i + 1] as number) += offsets[i] as number
  const rows = offsets[users] as number
  const queries = draw(random, ['q', 'dy'], users * heads * width)
  const histories = draw(random, ['k', 'v'], rows * heads * width)
  const [q, dy] = ['q', 'dy'].map((name) => input(name, [users, 1, heads, width]) as Loose) as unknown as Quad
  const [k, v] = ['k', 'v'].map((name) => input(name, [rows, heads, width]) as Loose) as unknown as Quad
  const y = targetAttention(q, k, v, constant(offsets, [users + 1]) as Loose) as Loose
  const padded = Object.fromEntries(
    Object.entries(histories).map(([name, array]) => {
      const to = new Float32Array(users * longest * heads * width)
      for (let b = 0; b < users; b++)
        to.set(
          array.subarray((offsets[b] as number) * heads * width, (offsets[b + 1] as number) * heads * width),
          b * longest * heads * width,
        )
      return [name, to]
    }),
  )
  return {
    name: 'targetAttention',
    shape: `(${users}, ${heads}, 1 over 1 to ${longest}, ${width})`,
    size: { axis: 'longest history', value: longest, work: longest },
    rounds: longest >= 500 ? 7 : 15,
    graph: { y, operands: [q, k, v], dy },
    feeds: { ...queries, ...histories },
    peers: {
      dims: { batch: users, queries: 1, keys: longest, heads, width, causal: false },
      arrays: { ...queries, ...padded, starts: new Float32Array(users), ends: Float32Array.from(lengths) },
    },
    floor: { name: 'one read of k and v', outputs: { k: sum(k), v: sum(v) } },
    target: (direction, ours, floor, peer) =>
      direction === 'forward'
        ? atMost(ours, floor, READ_FACTOR, 'one read of k and v')
        : peer && fasterThan(ours, peer.time, TARGET_BOTH_FACTOR, peer.name),
  }
}

type Quad = readonly [Loose, Loose, Loose, Loose]

const draw = (random: ReturnType<typeof createRandom>, names: readonly string[], count: number): Floats =>
  Object.fromEntries(names.map((name) => [name, Float32Array.from({ length: count }, () => random.normal())]))

// Running ----------------------------------------------------------------------------------------------------------

interface Peers {
  readonly folder: string
  readonly torch: Peer | null
  readonly onnx: PeerServer | null
}

async function bench(threads: number, problems: readonly (() => Problem)[]): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const folder = await mkdtemp(join(tmpdir(), 'kairos-attention-'))
  const python = findPython()
  if (!python) console.log('bench: PyTorch is skipped, no Python that has it is here')
  const torch = python ? new Peer(python, 'attention', threads, [folder]) : null
  const onnx = openOnnxServer('attention', [folder, `${threads}`])
  const results: BenchResult[] = []
  try {
    await torch?.ready()
    for (const problem of problems) results.push(...(await run(problem(), executor, { folder, torch, onnx })))
  } finally {
    torch?.close()
    onnx?.close()
    await executor.close()
    await rm(folder, { recursive: true, force: true })
  }
  return results.sort((a, b) => a.name.localeCompare(b.name))
}

async function run(problem: Problem, executor: Executor, peers: Peers): Promise<BenchResult[]> {
  const { name, shape, size, rounds, graph, feeds, floor, target } = problem
  const { y, operands, dy } = graph
  const forward = contender('forward', { y }, executor)
  const both = contender('both', { y, ...gradientsOf(y, operands, dy) }, executor)
  const ours = {
    forward: sumOfSquares(await forward.runner.run({ feeds: pick(feeds, ['q', 'k', 'v']) })),
    both: sumOfSquares(await both.runner.run({ feeds })),
  }
  const rivals = await rivalsOf(problem, ours, peers)
  const least = typeof floor === 'function' ? null : contender(floor.name, floor.outputs, executor)
  const contenders = [forward, both, ...(least ? [least] : []), ...rivals.forward, ...rivals.both]
  const times = await alternate(contenders, rounds)
  const timesBy = (each: Contender) => times[contenders.indexOf(each)] ?? []
  const { threads } = executor
  return (['forward', 'both'] as const).map((direction) => {
    const mine = timesBy(direction === 'forward' ? forward : both)
    const named = rivals[direction].map((each) => ({ name: each.name, time: median(timesBy(each)) }))
    const best = named.toSorted((a, b) => a.time - b.time)[0]
    const atLeast =
      typeof floor === 'function'
        ? floor(direction, roofs(threads))
        : { name: floor.name, time: median(timesBy(least as Contender)) }
    const goal = target?.(direction, median(mine), atLeast.time, best)
    return {
      name: direction === 'forward' ? name : `${name}, forward and backward`,
      shape,
      threads,
      ...timesOf(mine),
      floor: atLeast,
      ...(size ? { size } : {}),
      ...(best ? { peer: best } : {}),
      ...(goal ? { target: goal } : {}),
    }
  })
}

function gradientsOf(y: Loose, operands: readonly Loose[], dy: Loose): Record<string, Tensor> {
  const found = gradients(sum(multiply(y, dy) as Loose) as Loose, operands)
  return Object.fromEntries(found.map((gradient, i) => [`d${i}`, gradient as Tensor]))
}

const pick = (feeds: Floats, names: readonly string[]): Floats =>
  Object.fromEntries(names.map((name) => [name, feeds[name] as Float32Array]))

type Outputs = { readonly outputs: Readonly<Record<string, { readonly data: ArrayLike<number> } | undefined>> }

/** Of all results; padding adds nothing to it. */
function sumOfSquares({ outputs }: Outputs): number {
  return Object.values(outputs).reduce((total, each) => {
    const data = each?.data as Float32Array
    return data.reduce((squares, value) => squares + value * value, total)
  }, 0)
}

/** In either direction the fastest of each peer's forms, whose results are compared with ours. */
async function rivalsOf(
  { peers }: Problem,
  ours: Readonly<Record<Direction, number>>,
  { folder, torch, onnx }: Peers,
): Promise<Record<Direction, readonly Contender[]>> {
  if (!peers) return { forward: [], both: [] }
  await writeFile(join(folder, 'dims'), JSON.stringify(peers.dims))
  for (const [name, array] of Object.entries(peers.arrays)) await writeFile(join(folder, name), array)
  await torch?.train('open', 1)
  await onnx?.ask('open 1')
  const askTorch = (form: string) => (runs: number) => torch?.train(form, runs)
  const askOnnx = (form: string) => (runs: number) => onnx?.ask(`${form} ${runs}`)
  const forms = (direction: Direction) => ['naive', 'bmm', 'sdp'].map((form) => askTorch(`${direction}-${form}`))
  return {
    forward: [
      ...(torch ? [await fastest('PyTorch', forms('forward'), ours.forward)] : []),
      ...(onnx ? [await fastest('ONNX Runtime', ['graph', 'operator'].map(askOnnx), ours.forward)] : []),
    ],
    both: torch ? [await fastest('PyTorch', forms('both'), ours.both)] : [],
  }
}

type Ask = (runs: number) => Promise<unknown> | undefined
type Answer = { readonly milliseconds: readonly number[]; readonly losses: readonly number[] }

async function fastest(name: string, forms: readonly Ask[], expected: number): Promise<Contender> {
  const time = (answer: Answer) => Math.min(...answer.milliseconds)
  const tried: { readonly ask: Ask; readonly answer: Answer }[] = []
  for (const ask of forms) tried.push({ ask, answer: (await ask(2)) as Answer })
  for (const { answer } of tried) {
    const [loss = Number.NaN] = answer.losses
    if (!(Math.abs(loss - expected) <= 1e-4 * expected))
      throw new Error(`${name}: sums of squares ${expected}, ${loss}`)
  }
  const [best] = tried.sort((a, b) => time(a.answer) - time(b.answer))
  return { name, run: async () => time((await best?.ask(RUNS_PER_TURN)) as Answer) }
}

const RUNS_PER_TURN = 2
