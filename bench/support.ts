/** What benchmarks share: a case's result, alternating measurements of kernel time, medians. */
import type { Shape } from '../lib/core/dim.js'
import { arrayOf } from '../lib/core/dtype.js'
import { createRandom } from '../lib/core/random.js'
import { specOf, type Tensor } from '../lib/graph/node.js'
import { GraphRunner, type Stores } from '../lib/graph/runner.js'
import { reshape, slice } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import type { Executor } from '../lib/runtime/index.js'

/** One line of the report. Times are medians in milliseconds. */
export interface BenchResult {
  readonly name: string
  readonly shape: string
  readonly threads: number
  readonly ours: number
  /** Quarter and three-quarter points of our times. */
  readonly spread: readonly [number, number]
  readonly peer?: { readonly name: string; readonly time: number }
  /** The least time that the work can take, and what that is. */
  readonly floor?: { readonly name: string; readonly time: number }
  /** What the case must reach, in words, and whether it did. */
  /** What grows, for the plot of times against sizes: cases of one name make a line. */
  readonly size?: BenchSize
  /** What the case must reach, in words, and whether it did. */
  readonly target?: { readonly text: string; readonly met: boolean }
  readonly note?: string
}

export interface BenchSize {
  /** `length L`, `batch`. */
  readonly axis: string
  readonly value: number
  /** Operations or bytes: the plot shows how times would grow with them. */
  readonly work?: number
}

export interface Contender {
  readonly name: string
  /** Milliseconds of one run. */
  run(): Promise<number>
}

const ROUNDS = 31
const WARM_UP = 3

/** Runs contenders in turn, so that a noisy moment meets all of them; gives each one's sorted times. */
export async function alternate(contenders: readonly Contender[], rounds = ROUNDS): Promise<number[][]> {
  const times = contenders.map((): number[] => [])
  for (let round = -WARM_UP; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      const time = await contender.run()
      if (round >= 0) times[index]?.push(time)
    }
  }
  return times.map((list) => list.sort((a, b) => a - b))
}

export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number

export const median = (sorted: readonly number[]): number => quantile(sorted, 0.5)

/** Our times in a result. */
export const timesOf = (sorted: readonly number[]): Pick<BenchResult, 'ours' | 'spread'> => ({
  ours: median(sorted),
  spread: [quantile(sorted, 0.25), quantile(sorted, 0.75)],
})

/** `at least 1.5x faster than FFTW`, and whether that is so. */
export const fasterThan = (ours: number, peer: number, factor: number, name: string) => ({
  text: `${factor}x faster than ${name}`,
  met: peer / ours >= factor,
})

/** `at most 1.3x plain copy`, and whether that is so. */
export const atMost = (ours: number, floor: number, factor: number, name: string) => ({
  text: `at most ${factor}x ${name}`,
  met: ours <= factor * floor,
})

/**
 * Kernel time of a graph over fed inputs, without the copying of feeds. What it gives stays in the arena, as in a
 * larger program, and one element of it is handed out: new memory for large results would cost more than some kernels.
 */
export function contender(
  name: string,
  outputs: Record<string, Tensor>,
  executor: Executor,
  stores: Stores = {},
): Contender & { readonly runner: GraphRunner } {
  const probes = Object.entries(outputs).map(([output, tensor]) => [output, probe(tensor)] as const)
  const timed = new GraphRunner(Object.fromEntries(probes), { executor, profile: true })
  const random = createRandom(1).fork('bench')
  const feeds = Object.fromEntries(
    timed.inputs.map(({ name: input, node }) => {
      const { dtype, shape } = specOf({ node, index: 0 })
      const array = arrayOf(dtype, count(shape))
      for (let i = 0; i < array.length; i++) array[i] = random.normal()
      return [input, array]
    }),
  )
  return {
    name,
    /** Gives whole results, to compare. */
    runner: new GraphRunner(outputs, { executor }),
    run: () =>
      warm(async () => {
        const { profile } = await timed.run({ feeds, stores })
        return Array.from(profile ?? []).reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6
      }),
  }
}

/** Longer runs meet the state that the contender before has left for a small part of their time only. */
const SHORT_MILLISECONDS = 20
const RUNS_PER_TURN = 3

/** The median of a few runs after one that warms caches, team and clock up; a long one is taken alone. */
export async function warm(run: () => Promise<number>): Promise<number> {
  const first = await run()
  if (first > SHORT_MILLISECONDS) return first
  const times: number[] = []
  for (let i = 0; i < RUNS_PER_TURN; i++) times.push(await run())
  return median(times.sort((a, b) => a - b))
}

const count = (shape: Shape): number => (shape as readonly number[]).reduce((product, dim) => product * dim, 1)

function probe(tensor: Tensor): Tensor {
  const flat = reshape(tensor as Loose, [count(tensor.shape)]) as Loose
  return slice(flat, 0, 0, 1) as Tensor
}

/** Refuses to time contenders whose results differ by more than rounding. */
export async function verify(
  left: GraphRunner,
  right: GraphRunner,
  feeds: Record<string, Float32Array>,
  name: string,
): Promise<void> {
  const [a, b] = await Promise.all([left, right].map(async (runner) => (await runner.run({ feeds })).outputs.y?.data))
  const largest = (a as Float32Array).reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  ;(a as Float32Array).forEach((x, i) => {
    const difference = Math.abs(x - ((b as Float32Array)[i] as number))
    if (!(difference <= 1e-4 * largest)) throw new Error(`${name}: results differ at ${i}: ${x} and ${b?.[i]}`)
  })
}
