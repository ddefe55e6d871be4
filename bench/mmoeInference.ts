/** Latency of the MMoE model from JavaScript, beside ONNX Runtime in Node with the same weights and requests. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Executor } from '../lib/index.js'
import { BATCH, buildMmoe, compileMmoeServing, drawOwn, FEATURES, LENGTH, loadPeer } from './mmoe.js'
import { findOnnxRuntime, type OnnxRuntime, type OnnxSession, sessionOptions } from './onnxRuntime.js'
import { type Feeds, findPython } from './peer.js'
import { SPIN_MILLISECONDS } from './peerServer.js'
import { type BenchResult, fasterThan, median, quantile, timesOf } from './support.js'

/** Calls of a block, and blocks of each side by turns: 1000 calls of a single row, 64 of the whole batch. */
const cases = [
  { batch: 1, calls: 100, blocks: 10, factor: 1.1 },
  { batch: 64, calls: 40, blocks: 8, factor: 1.3 },
  { batch: BATCH, calls: 8, blocks: 8, factor: 1.25 },
] as const

const UNCOUNTED_CALLS = 3

export async function mmoeInferenceBench(threads: number): Promise<BenchResult[]> {
  const [python, runtime] = [findPython(), await findOnnxRuntime()]
  const executor = new Executor({ threads })
  const model = buildMmoe()
  const program = compileMmoeServing(model, executor)
  let session: OnnxSession | null = null
  const read = async (folder: string) => {
    session = (await runtime?.InferenceSession.create(join(folder, 'model.onnx'), sessionOptions(threads))) ?? null
  }
  const { parameters, batches } = python
    ? await loadPeer(model, python, runtime ? { args: ['onnx'], read } : {})
    : await drawOwn(model)
  const theirs = session as OnnxSession | null
  const results: BenchResult[] = []
  for (const { batch, calls, blocks, factor } of cases) {
    const requests = batches.map((feeds) => firstRows(feeds, batch))
    const serve = (request: Feeds) => program.step(request as never, {}, { parameters })
    const ours = { times: [] as number[], call: (i: number) => serve(requests[i % requests.length] as Feeds) }
    const sides: { readonly times: number[]; readonly call: (i: number) => Promise<unknown> }[] = [ours]
    if (runtime && theirs) {
      const feeds = requests.map((request) => onnxFeeds(runtime, request, batch))
      await verifySame(serve(requests[0] as Feeds), theirs.run(feeds[0] ?? {}), batch)
      sides.push({ times: [], call: (i) => theirs.run(feeds[i % feeds.length] ?? {}) })
    }
    for (let block = 0; block < blocks; block++) {
      for (const { times, call } of sides) {
        await setTimeout(SPIN_MILLISECONDS)
        for (let i = -UNCOUNTED_CALLS; i < calls; i++) {
          const start = performance.now()
          await call(i + UNCOUNTED_CALLS)
          if (i >= 0) times.push(performance.now() - start)
        }
      }
    }
    const [mine = [], other = []] = sides.map(({ times }) => times.sort((a, b) => a - b))
    const tail = (times: readonly number[]) => quantile(times, 0.99).toFixed(2)
    results.push({
      name: 'MMoE inference',
      shape: `batch ${batch}`,
      threads,
      ...timesOf(mine),
      ...(other.length > 0
        ? {
            peer: { name: 'ONNX Runtime', time: median(other) },
            target: fasterThan(median(mine), median(other), factor, 'ONNX Runtime'),
          }
        : {}),
      size: { axis: 'batch', value: batch, work: batch },
      note: `p99 ${tail(mine)} ms${other.length > 0 ? `, of ONNX Runtime ${tail(other)} ms` : ''}`,
    })
  }
  await theirs?.release()
  await executor.close()
  return results
}

function firstRows({ label: _, ...feeds }: Feeds, batch: number): Feeds {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, array]) => [name, array.slice(0, (array.length / BATCH) * batch)]),
  )
}

/** The peer's ids stand side by side, in 64 bits. */
function onnxFeeds({ Tensor }: OnnxRuntime, request: Feeds, batch: number): Readonly<Record<string, unknown>> {
  const wide = (width: number, at: (row: number, column: number) => number) =>
    new Tensor(
      'int64',
      BigInt64Array.from({ length: batch * width }, (_, i) => BigInt(at(Math.floor(i / width), i % width))),
      width === 1 ? [batch] : [batch, width],
    )
  const value = (name: string, i: number) => request[name]?.[i] ?? 0
  return {
    ids: wide(FEATURES, (row, column) => value(`feature${column}`, row)),
    target: wide(1, (row) => value('target', row)),
    history: wide(LENGTH, (row, column) => value('history', row * LENGTH + column)),
    length: wide(1, (row) => value('history.length', row)),
  }
}

type Answer = Readonly<Record<string, unknown>>

async function verifySame(ours: Promise<Answer>, theirs: Promise<Answer>, batch: number): Promise<void> {
  const mine = (await ours).probability as Float32Array
  const other = ((await theirs).probability as { readonly data: Float32Array }).data
  mine.forEach((value, i) => {
    if (!(Math.abs(value - (other[i] ?? Number.NaN)) <= 1e-4))
      throw new Error(`MMoE inference, batch ${batch}: ${value} and ${other[i]} at ${i}`)
  })
}
