/** A training step of FARM beside the same model in PyTorch, from the same weights. */
import type { Tensor } from '../lib/graph/node.js'
import { adam, all, compile, Executor, field, initializeParameters } from '../lib/index.js'
import { type FarmModel, farm } from '../lib/systems/farm/index.js'
import type { FeatureInput } from '../lib/systems/system.js'
import { compareWithPeer, type Feeds, findPython, importPeer } from './peer.js'
import type { BenchResult } from './support.js'

const BATCH = 256
const TIME = { video: 150, live: 50 }
const TASKS = ['click', 'longView', 'like', 'comment', 'follow', 'gift'] as const
const ROWS = { item: 100_000, author: 20_000, tag: 64, behaviour: 8, group: 1000 }
const DOMAINS = ['video', 'live'] as const
const FIELDS = ['item', 'author', 'tag', 'behaviour'] as const

const nameOf = (domain: string, name: string) => `${domain}${name[0]?.toUpperCase()}${name.slice(1)}`

const sequences = DOMAINS.flatMap((domain) => FIELDS.map((name) => ({ domain, name, sequence: nameOf(domain, name) })))
const schema = {
  ...Object.fromEntries(['item', 'author', 'tag', 'group', 'user'].map((name) => [name, field('int32', 'batch')])),
  ...Object.fromEntries(TASKS.map((name) => [name, field('float32', 'batch')])),
  ...Object.fromEntries(
    sequences.flatMap(({ domain, sequence }) => [
      [sequence, field('int32', 'batch', TIME[domain])],
      [`${sequence}.length`, field('int32', 'batch')],
    ]),
  ),
}

/** Sizes of the specification: d = 64, 4 heads, PLE of 2 levels; without dropout, so that losses can be compared. */
export function buildFarm(): FarmModel {
  const features: FeatureInput[] = [
    ...(['item', 'author', 'tag', 'group'] as const).map(
      (name) => ({ kind: 'id', name, table: name, rows: ROWS[name] }) as const,
    ),
    ...sequences.map(({ domain, name, sequence }) => ({
      kind: 'sequence' as const,
      name: sequence,
      table: sequence,
      rows: ROWS[name],
      padded: TIME[domain],
    })),
  ]
  const config = farm.config.parse({
    videoLength: TIME.video,
    liveLength: TIME.live,
    dropout: 0,
    user: 'user',
    sparse: true,
  })
  return farm.build(features, TASKS, config) as FarmModel
}

const compileFarm = (model: FarmModel, executor: Executor) =>
  compile(model, (m, batch) => ({ loss: m.losses(batch as never).loss as Tensor<readonly [], 'float32'> }), {
    schema,
    executor,
    profile: true,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 1e-3 }) }],
  })

/** The peer's `item`, `author`, ... hold what our fields have one by one: [rows, columns] of ids, labels and lengths. */
function byField({ candidate, label, length, ...acts }: Feeds): Feeds {
  const column = (from: Feeds[string] | undefined, at: number, width: number) =>
    Int32Array.from({ length: BATCH }, (_, row) => from?.[row * width + at] ?? 0)
  const candidates = ['item', 'author', 'tag', 'group', 'user'].map((name, i) => [name, column(candidate, i, 5)])
  const labels = TASKS.map((name, i) => [
    name,
    Float32Array.from({ length: BATCH }, (_, row) => label?.[row * TASKS.length + i] ?? 0),
  ])
  const histories = sequences.flatMap(({ domain, name, sequence }) => [
    [sequence, acts[`${domain}_${name}`]],
    [`${sequence}.length`, column(length, DOMAINS.indexOf(domain), 2)],
  ])
  return Object.fromEntries([...candidates, ...labels, ...histories]) as Feeds
}

export async function farmBench(threads: number): Promise<BenchResult[]> {
  const python = findPython()
  if (!python) return []
  const executor = new Executor({ threads })
  const model = buildFarm()
  const program = compileFarm(model, executor)
  const parameters = await initializeParameters(model)
  const batches = (await importPeer(python, 'farm', model, parameters)).map(byField)
  const result = await compareWithPeer({
    name: 'FARM, training step',
    shape: `batch ${BATCH}, video ${TIME.video}, live ${TIME.live}, 64 channels, ${TASKS.length} tasks`,
    threads,
    batch: BATCH,
    program: program as never,
    parameters,
    batches,
    peer: 'farm',
    variants: { packed: 'acts packed', padded: 'acts padded' },
    sameLosses: true,
    target: 2.5,
    steps: 2,
    rounds: 3,
  })
  await executor.close()
  return [result]
}
