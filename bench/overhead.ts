/** What a step costs besides its kernels: the border, a lease, a program that does nothing, and the models here. */
import Benchmark from 'benchmark'
import { arrayOf } from '../lib/core/dtype.js'
import type { Compiled } from '../lib/graph/compile.js'
import { GraphRunner } from '../lib/graph/runner.js'
import { Executor, input, type ParameterSet } from '../lib/index.js'
import { Staging } from '../lib/runtime/index.js'
import { BATCH, buildMmoe, compileMmoe, drawOwn } from './mmoe.js'
import type { Feeds } from './peer.js'
import { buildSasrec, drawBatch } from './sasrec.js'
import { type BenchResult, median, quantile, timesOf } from './support.js'

const STEPS = 30
const EMPTY_MILLISECONDS = 0.02
const MOST_SHARE = 0.03

export async function overheadBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  try {
    return [...(await border(executor)), ...(await models(executor))]
  } finally {
    await executor.close()
  }
}

/** Calls that are too short for one look at the clock. */
async function border(executor: Executor): Promise<BenchResult[]> {
  const { threads } = executor
  const runner = new GraphRunner({ y: input('x', []) }, { executor })
  const executable = await runner.prepare({})
  const request = { counts: {}, feeds: { x: 1 }, stores: [null, null, null] }
  const ring = new Staging([{ name: 'x', dtype: 'float32', shape: [1024] }], {}, 1)
  const calls: readonly { name: string; shape: string; most?: number; call: () => unknown }[] = [
    { name: 'staging: lease and release', shape: '4 KiB', call: async () => (await ring.lease()).release() },
    { name: 'empty program, on the calling thread', shape: '', call: () => executable.runBlocking(request) },
    { name: 'empty program, a step', shape: '', most: EMPTY_MILLISECONDS, call: () => executable.run(request) },
  ]
  const results: BenchResult[] = []
  for (const { name, shape, most, call } of calls) {
    const sample = await benchmark(name, call)
    const times = timesOf(sample)
    const target = { text: `under ${1000 * EMPTY_MILLISECONDS} us`, met: times.ours < EMPTY_MILLISECONDS }
    results.push({
      name,
      shape,
      threads,
      ...times,
      ...(most === undefined ? {} : { target }),
      note: `${(1000 * times.ours).toFixed(2)} us`,
    })
  }
  ring[Symbol.dispose]()
  return results
}

/** Milliseconds of a call in each sample of the `benchmark` package, sorted. */
function benchmark(name: string, call: () => unknown): Promise<readonly number[]> {
  const defer = call() instanceof Promise
  return new Promise((resolve, reject) => {
    const awaited = async (deferred: { resolve(): void }) => {
      await call()
      deferred.resolve()
    }
    new Benchmark(name, {
      defer,
      maxTime: 1,
      fn: defer ? (deferred: { resolve(): void }) => void awaited(deferred).catch(reject) : () => void call(),
      onComplete: ({ target }: { target: { stats: { sample: number[] } } }) =>
        resolve(target.stats.sample.map((seconds) => 1000 * seconds).sort((a, b) => a - b)),
      onError: ({ target }: { target: { error: unknown } }) => reject(target.error),
    }).run({ async: true })
  })
}

interface Model {
  readonly name: string
  readonly program: Compiled<never, never>
  readonly parameters: ParameterSet
  readonly feeds: Feeds
}

async function models(executor: Executor): Promise<BenchResult[]> {
  const mmoe = buildMmoe()
  const drawn = await drawOwn(mmoe)
  const { program, parameters } = buildSasrec(executor, 0.5)
  const list: readonly Model[] = [
    {
      name: 'MMoE',
      program: compileMmoe(mmoe, executor) as never,
      parameters: drawn.parameters,
      feeds: drawn.batches[0] ?? {},
    },
    { name: 'SASRec', program: program as never, parameters, feeds: drawBatch() },
  ]
  const results: BenchResult[] = []
  for (const { name, program, parameters, feeds } of list) {
    const [steps, outside]: [number[], number[]] = [[], []]
    for (let i = 0; i < STEPS; i++) {
      const leased = await program.lease({ batch: feeds.target?.length ?? BATCH })
      for (const [field, view] of Object.entries(leased.views as Feeds)) view.set(feeds[field] ?? arrayOf('float32', 0))
      const start = performance.now()
      const { profile = [] } = await program.run(leased as never, {}, { parameters })
      const step = performance.now() - start
      steps.push(step)
      outside.push(step - Array.from(profile).reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6)
    }
    const share = median(outside.map((time, i) => time / (steps[i] as number)).sort((a, b) => a - b))
    results.push({
      name: `${name}, a training step outside its kernels`,
      shape: `batch ${feeds.target?.length}`,
      threads: executor.threads,
      ...timesOf(outside.sort((a, b) => a - b)),
      target: { text: `under ${100 * MOST_SHARE} % of the step`, met: share < MOST_SHARE },
      note: `${(100 * share).toFixed(2)} % of ${quantile(
        steps.sort((a, b) => a - b),
        0.5,
      ).toFixed(1)} ms`,
    })
  }
  return results
}
