/** Tables of many features: one operation for each beside one for all of them. */
import type { Schema } from '../lib/core/schema.js'
import { compile, Executor, field, normal, parameter } from '../lib/index.js'
import { concat, embedding, embeddingBag, embeddingBags, merge, tableSlots } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { drawBags } from './largeTableChild.js'
import { alternate, type BenchResult, median, quantile } from './support.js'

const [ROWS, CHANNELS] = [100_000, 16] as const
const features = Array.from({ length: 26 }, (_, feature) => `feature${feature}`)
const rows = features.map(() => ROWS)

type Batch = Readonly<Record<string, Loose>>

interface Lookup {
  readonly shape: string
  /** Share of the time of one operation per table. */
  readonly atMost: number
  readonly rounds: number
  readonly schema: Schema
  readonly feeds: Readonly<Record<string, Int32Array>>
  one(table: Loose, batch: Batch, feature: string): Loose
  all(table: Loose, batch: Batch): Loose
}

const idLookup = (batch: number): Lookup => ({
  shape: `${features.length} features, one id each, batch ${batch}`,
  atMost: 1 / 2,
  rounds: 501,
  schema: Object.fromEntries(features.map((name) => [name, field('int32', batch)])),
  feeds: Object.fromEntries(features.map((name, seed) => [name, drawBags('zipf', ROWS, batch, 1, seed).ids])),
  one: (table, fields, name) => embedding(table, fields[name] as Loose) as Loose,
  all(table, fields) {
    const ids = features.map((name) => fields[name] as Loose)
    return merge(embedding(table, tableSlots(ids, rows)) as Loose, 1, 2) as Loose
  },
})

function bagLookup(bags: number, size: number): Lookup {
  const drawn = features.map((_, seed) => drawBags('zipf', ROWS, bags, size, seed))
  const byFeature = <Value>(ids: (feature: number) => Value, offsets: (feature: number) => Value) =>
    Object.fromEntries(
      features.flatMap((name, i) => [[`${name}.ids`, ids(i)] as const, [`${name}.offsets`, offsets(i)]]),
    )
  const bagOf = (fields: Batch, name: string) => ({
    ids: fields[`${name}.ids`] as Loose,
    offsets: fields[`${name}.offsets`] as Loose,
  })
  return {
    shape: `${features.length} features, ${bags} bags of ${size} ids`,
    atMost: 1,
    rounds: 31,
    schema: byFeature(
      () => field('int32', bags * size),
      () => field('int32', bags + 1),
    ),
    feeds: byFeature(
      (i) => drawn[i]?.ids as Int32Array,
      (i) => drawn[i]?.offsets as Int32Array,
    ),
    one(table, fields, name) {
      const { ids, offsets } = bagOf(fields, name)
      return embeddingBag(table, ids, offsets) as Loose
    },
    all(table, fields) {
      const bags = features.map((name) => bagOf(fields, name))
      return embeddingBags(table, bags, rows) as Loose
    },
  }
}

export async function tableBatchedBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const stacked = { weight: parameter([features.length * ROWS, CHANNELS], normal(0.01)) }
  const apart = { tables: features.map(() => ({ weight: parameter([ROWS, CHANNELS], normal(0.01)) })) }
  const results: BenchResult[] = []
  for (const { shape, atMost, rounds, schema, feeds, one, all } of [idLookup(64), bagLookup(4096, 50)]) {
    const programs = [
      compile(stacked, (m, batch) => ({ rows: all(m.weight as Loose, batch as never) }), { schema, executor }),
      compile(
        apart,
        (m, batch) => ({
          rows: concat(
            m.tables.map(({ weight }, i) => one(weight as Loose, batch as never, features[i] as string)),
            1 as never,
          ) as Loose,
        }),
        { schema, executor },
      ),
    ]
    const contenders = programs.map((program, i) => ({
      name: i === 0 ? 'one for all' : 'one per table',
      run: async () => (await program.run(feeds as never)).milliseconds,
    }))
    // The first results lie in fresh memory, whose page faults take longer than the small lookups.
    if (rounds > 100) await alternate(contenders, rounds)
    const [ours, theirs] = await alternate(contenders, rounds)
    const [time, peer] = [median(ours as number[]), median(theirs as number[])]
    results.push({
      name: 'embedding tables',
      shape,
      threads,
      ours: time,
      spread: [quantile(ours as number[], 0.25), quantile(ours as number[], 0.75)],
      peer: { name: 'one operation per table', time: peer },
      target: { text: `at most ${atMost.toFixed(2)} of the peer's time`, met: time <= atMost * peer },
    })
  }
  await executor.close()
  return results
}
