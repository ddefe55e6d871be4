/**
 * Tables that are large: pooled rows beside PyTorch, and a table of 1.28 GB trained in a process of its own, whose peak
 * of memory is set against the table's bytes.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import {
  adam,
  compile,
  createParameters,
  Executor,
  field,
  mean,
  normal,
  type Optimizer,
  parameter,
  rowWiseAdagrad,
} from '../lib/index.js'
import { embeddingBag } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { type Distribution, drawBags, type LargeTableReport } from './largeTableChild.js'
import { compareWithPeer, type Feeds, findPython, importPeer } from './peer.js'
import { type BenchResult, median, quantile } from './support.js'

const [BAGS, SIZE] = [4096, 50] as const
const tables = [
  { rows: 1_000_000, channels: 64 },
  { rows: 10_000_000, channels: 32 },
] as const
/** Of PyTorch's time. */
const forwardBars = { zipf: 1 / 1.25, uniform: 1 / 1.18 } as const
const distributions: readonly Distribution[] = ['zipf', 'uniform']

export async function largeTableBench(threads: number): Promise<BenchResult[]> {
  const results: BenchResult[] = []
  for (const table of tables)
    for (const distribution of distributions) results.push(...(await pooledRows(threads, table, distribution)))
  return [...results, ...(await largeTable(threads))]
}

async function pooledRows(
  threads: number,
  { rows, channels }: (typeof tables)[number],
  distribution: Distribution,
): Promise<BenchResult[]> {
  const python = findPython()
  const args = [distribution, `${rows}`, `${channels}`]
  const executor = new Executor({ threads })
  const model = { weight: parameter([rows, channels], normal(0.01), { sparse: true }) }
  const parameters = createParameters(model)
  const schema = { ids: field('int32', BAGS * SIZE), offsets: field('int32', BAGS + 1) }
  const build = (m: typeof model, { ids, offsets }: { ids: Loose; offsets: Loose }) => ({
    loss: mean(embeddingBag(m.weight as Loose, ids, offsets) as Loose) as Loose,
  })
  const batches = python
    ? await importPeer(python, 'embeddingBag', model, parameters, { args })
    : [drawBags(distribution, rows, BAGS, SIZE, 1) as Feeds]
  const programOf = (optimizer?: Optimizer) =>
    compile(model, build as never, {
      schema,
      executor,
      profile: true,
      ...(optimizer ? { updates: [{ loss: 'loss', parameters: [model.weight], optimizer }] as never } : {}),
    })
  const kinds = [
    { name: 'embeddingBag', variant: 'forward', program: programOf(), atMost: forwardBars[distribution] },
    {
      name: 'embeddingBag, backward and row-wise Adagrad',
      variant: 'rowWise',
      program: programOf(rowWiseAdagrad({ lr: 0.01 })),
      atMost: 1 / 5,
    },
    {
      name: 'embeddingBag, backward and Adam',
      variant: 'adam',
      program: programOf(adam({ lr: 0.01 })),
      atMost: 1 / 5,
    },
  ]
  const results: BenchResult[] = []
  for (const { name, variant, program, atMost } of kinds) {
    const result = await compareWithPeer({
      name,
      shape: `${BAGS} bags of ${SIZE} ${distribution} ids, ${rows} x ${channels}`,
      threads,
      batch: BAGS,
      program: program as never,
      parameters,
      batches,
      peer: 'embeddingBag',
      args,
      variants: { [variant]: variant },
      // Adam goes on from the table that row-wise Adagrad has left.
      sameLosses: variant !== 'adam',
      steps: 5,
      rounds: 4,
    })
    results.push(withTarget(result, atMost))
  }
  await executor.close()
  return results
}

/** Told what share of the peer's time is allowed. */
function withTarget(result: BenchResult, atMost: number): BenchResult {
  const { ours, peer } = result
  if (!peer) return result
  const target = { text: `at most ${atMost.toFixed(2)} of the peer's time`, met: ours <= atMost * peer.time }
  return { ...result, target }
}

async function largeTable(threads: number): Promise<BenchResult[]> {
  const child = fileURLToPath(new URL('largeTableChild.ts', import.meta.url))
  const output = execFileSync(process.execPath, ['--import', 'tsx', child, `${threads}`], { encoding: 'utf8' })
  const { rows, channels, tableBytes, peakBytes, initialization, steps } = JSON.parse(output) as LargeTableReport
  const memory = `peak ${(peakBytes / 2 ** 20).toFixed(0)} MiB, ${(peakBytes / tableBytes).toFixed(2)} of the table`
  return distributions.map((distribution) => {
    const { times, ids } = steps[distribution]
    return {
      name: 'large table, step with row-wise Adagrad',
      shape: `${BAGS} bags of ${SIZE} ${distribution} ids, ${rows} x ${channels}`,
      threads,
      ours: median(times),
      spread: [quantile(times, 0.25), quantile(times, 0.75)],
      note: `${((1000 * ids) / median(times) / 1e6).toFixed(1)} M rows/s; ${memory}; drawn in ${initialization.toFixed(1)} s`,
    }
  })
}
