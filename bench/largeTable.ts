/**
 * Tables that are large: pooled rows beside PyTorch, and a table of 1.28 GB trained in a process of its own, whose peak
 * of memory is set against the table's bytes.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { compile, createParameters, Executor, field, mean, normal, parameter, rowWiseAdagrad } from '../lib/index.js'
import { embeddingBag } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { type Distribution, drawBags, type LargeTableReport } from './largeTableChild.js'
import { compareWithPeer, type Feeds, findPython, importPeer } from './peer.js'
import { type BenchResult, median, quantile } from './support.js'

const [ROWS, CHANNELS, BAGS, SIZE] = [1_000_000, 64, 4096, 50] as const
const distributions: readonly Distribution[] = ['zipf', 'uniform']

export async function largeTableBench(threads: number): Promise<BenchResult[]> {
  const results: BenchResult[] = []
  for (const distribution of distributions) results.push(...(await pooledRows(threads, distribution)))
  return [...results, ...(await largeTable(threads))]
}

async function pooledRows(threads: number, distribution: Distribution): Promise<BenchResult[]> {
  const python = findPython()
  const executor = new Executor({ threads })
  const model = { weight: parameter([ROWS, CHANNELS], normal(0.01), { sparse: true }) }
  const parameters = createParameters(model)
  const schema = { ids: field('int32', BAGS * SIZE), offsets: field('int32', BAGS + 1) }
  const build = (m: typeof model, { ids, offsets }: { ids: Loose; offsets: Loose }) => ({
    loss: mean(embeddingBag(m.weight as Loose, ids, offsets) as Loose) as Loose,
  })
  const batches = python
    ? await importPeer(python, 'embeddingBag', model, parameters, { args: [distribution] })
    : [drawBags(distribution, ROWS, BAGS, SIZE, 1) as Feeds]
  const updates = [{ loss: 'loss' as const, parameters: [model.weight], optimizer: rowWiseAdagrad({ lr: 0.01 }) }]
  const kinds = [
    {
      name: 'embeddingBag',
      variant: 'forward',
      program: compile(model, build as never, { schema, executor, profile: true }),
    },
    {
      name: 'embeddingBag, backward and row-wise Adagrad',
      variant: 'step',
      program: compile(model, build as never, { schema, executor, profile: true, updates: updates as never }),
    },
  ]
  const results: BenchResult[] = []
  for (const { name, variant, program } of kinds) {
    results.push(
      await compareWithPeer({
        name,
        shape: `${BAGS} bags of ${SIZE} ${distribution} ids, ${ROWS} x ${CHANNELS}`,
        threads,
        batch: BAGS,
        program: program as never,
        parameters,
        batches,
        peer: 'embeddingBag',
        args: [distribution],
        variants: { [variant]: variant },
        sameLosses: true,
        steps: 5,
        rounds: 4,
      }),
    )
  }
  await executor.close()
  return results
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
