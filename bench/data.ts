/** Rows from Parquet into batches: six columns of single values and a list of 0 to 19 ids. Verified by its sums. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { evaluateDim, sizeOf } from '../lib/core/dim.js'
import { arrayOf } from '../lib/core/dtype.js'
import {
  type BatchSource,
  categorical,
  datasetBatches,
  defineSchema,
  fileBatches,
  groupId,
  label,
  numeric,
  readDataset,
  sequence,
} from '../lib/index.js'
import { type BenchResult, median, quantile } from './support.js'

const ROWS = 1_000_000
const BATCH = 1024
const ROUNDS = 3

const schema = defineSchema({
  item: categorical({ size: 50_000 }),
  author: categorical({ size: 1000 }),
  age: numeric(),
  price: numeric(),
  click: label(),
  user: groupId({ input: true }),
  history: sequence({ size: 50_000, maxLength: 20 }),
})

const query = `select (i * 7919 % 50000)::integer as item, (i % 1000)::integer as author, (i % 80)::float as age,
  (i % 997 / 8)::float as price, (i % 3 = 0)::integer as click, (i // 20)::integer as "user",
  [((i + k) * 31 % 50000)::integer for k in range(i % 20)] as history from range(${ROWS}) t(i)`

async function writeRows(path: string): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`copy (${query}) to '${path}' (format parquet, compression zstd)`)
  connection.closeSync()
  instance.closeSync()
}

/** Fills every batch of an epoch as a loop would, and checks that all rows came. */
async function drain(source: BatchSource): Promise<void> {
  const views = Object.fromEntries(
    Object.entries(source.schema).map(([name, { dtype, shape }]) => [
      name,
      arrayOf(dtype, evaluateDim(sizeOf(shape), source.capacities)),
    ]),
  )
  let rows = 0
  let items = 0
  let clicks = 0
  for await (const batch of source.batches(0)) {
    batch.fill(views)
    rows += batch.counts.batch as number
    items += batch.counts.history_count as number
    for (let i = 0; i < (batch.counts.batch as number); i++) clicks += views.click?.[i] as number
  }
  if (rows !== ROWS || items !== ROWS * 9.5 || clicks !== Math.ceil(ROWS / 3))
    throw new Error(`data: ${rows} rows, ${items} items and ${clicks} clicks came`)
}

export async function dataBench(threads: number): Promise<BenchResult[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-bench-'))
  const path = join(folder, 'rows.parquet')
  const encoding = { vocabularies: {}, scales: {} }
  const ways = {
    'memory, shuffled': async () => {
      const data = await readDataset(path, schema, { threads })
      await drain(await datasetBatches(data, { batchSize: BATCH, seed: 1 }))
    },
    'streamed, in order': async () => {
      await drain(await fileBatches(path, schema, { batchSize: BATCH, encoding, threads }))
    },
    'streamed, window of 100 000': async () => {
      await drain(await fileBatches(path, schema, { batchSize: BATCH, encoding, threads, shuffleWindow: 100_000 }))
    },
  }
  const results: BenchResult[] = []
  try {
    await writeRows(path)
    for (const [name, run] of Object.entries(ways)) {
      const times: number[] = []
      const memory = watchMemory()
      for (let round = 0; round < ROUNDS; round++) {
        const start = performance.now()
        await run()
        times.push(performance.now() - start)
      }
      times.sort((a, b) => a - b)
      const ours = median(times)
      const rate = `${(ROWS / ours / 1000).toFixed(2)} M rows/s, peak RSS ${memory.stop().toFixed(2)} GB`
      const spread = [quantile(times, 0.25), quantile(times, 0.75)] as const
      results.push({ name: `Parquet to batches, ${name}`, shape: `${ROWS} rows`, threads, ours, spread, note: rate })
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return results
}

/** Greatest resident memory of the process, in GB, looked at twenty times a second. */
function watchMemory() {
  let peak = 0
  const look = () => {
    peak = Math.max(peak, process.memoryUsage.rss())
  }
  const timer = setInterval(look, 50)
  return {
    stop: () => {
      clearInterval(timer)
      return peak / 1e9
    },
  }
}
