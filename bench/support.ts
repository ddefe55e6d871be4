/** What benchmarks share: a case's result, alternating measurements of kernel time, medians. */
import type { Shape } from '../lib/core/dim.js'
import { createRandom } from '../lib/core/random.js'
import { input } from '../lib/graph/leaf.js'
import { specOf, type Tensor, withSource } from '../lib/graph/node.js'
import { GraphRunner, type Stores } from '../lib/graph/runner.js'
import { matmul, reshape, slice } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { type Executor, Staging } from '../lib/runtime/index.js'

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
const UNCOUNTED_ROUNDS = 3

/** Runs contenders in turn, so that a noisy moment meets all of them; gives each one's sorted times. */
export async function alternate(contenders: readonly Contender[], rounds = ROUNDS): Promise<number[][]> {
  const times = contenders.map((): number[] => [])
  for (let round = -UNCOUNTED_ROUNDS; round < rounds; round++) {
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
 * Kernel time of a graph over random inputs. As in a larger program, nothing is copied or allocated beside it: inputs
 * stay in one staging slot, results in the arena, and one element of each is handed out.
 */
export function contender(
  name: string,
  outputs: Record<string, Tensor>,
  executor: Executor,
  stores: Stores = {},
): Contender & { readonly runner: GraphRunner } {
  const probes = Object.entries(outputs).map(([output, tensor]) => [output, probe(tensor)] as const)
  const timed = new GraphRunner({ [WARM_UP]: warmUp(), ...Object.fromEntries(probes) }, { executor, profile: true })
  const sources = timed.plan.kernelSteps.map(({ source }) => source)
  const start = sources.lastIndexOf(WARM_UP) + 1
  if (sources.slice(0, start).some((source) => source !== WARM_UP))
    throw new Error(`${name}: steps run before the warm-up`)
  const entries = timed.inputs.map(({ name: input, node }) => ({ name: input, ...specOf({ node, index: 0 }) }))
  const ring = new Staging(entries, {}, 1)
  const random = createRandom(1).fork('bench')
  let filled = false
  const lease = async () => {
    const leased = await ring.lease()
    for (const view of filled ? [] : Object.values(leased.views))
      for (let i = 0; i < view.length; i++) view[i] = random.normal()
    filled = true
    return leased
  }
  return {
    name,
    /** Gives whole results, to compare. */
    runner: new GraphRunner(outputs, { executor }),
    run: () =>
      warm(async () => {
        const { profile } = await timed.run({ lease: await lease(), stores })
        return (
          Array.from(profile ?? [])
            .slice(start)
            .reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6
        )
      }),
  }
}

const WARM_UP = 'warm up'
const WARM_UP_SIZE = 192
const WARM_UP_PRODUCTS = 8

/** A fraction of a millisecond of products that fit the cache: threads that were asleep have reached their cores then. */
function warmUp(): Tensor {
  return withSource(WARM_UP, () => {
    const a = input(WARM_UP, [WARM_UP_SIZE, WARM_UP_SIZE])
    let product = a
    for (let i = 0; i < WARM_UP_PRODUCTS; i++) product = matmul(product, a)
    return probe(product)
  })
}

/** So long a contender runs in its turn, or so many times; once when a run takes longer. */
const TURN_MILLISECONDS = 20
const RUNS_PER_TURN = 9

/** The median of the runs of one turn: the first ones find caches, team and clock as the contender before left them. */
export async function warm(run: () => Promise<number>): Promise<number> {
  const times: number[] = []
  const end = performance.now() + TURN_MILLISECONDS
  do times.push(await run())
  while (times.length < RUNS_PER_TURN && performance.now() < end)
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
