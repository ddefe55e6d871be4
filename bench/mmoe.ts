/** A training step of MMoE with target attention beside the same model in PyTorch, from the same weights. */
import { createRandom } from '../lib/core/random.js'
import type { Tensor } from '../lib/graph/node.js'
import { adam, all, binaryCrossEntropy, compile, Executor, field, initializeParameters } from '../lib/index.js'
import { multiply, sigmoid } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { type MmoeModel, mmoe } from '../lib/systems/mmoe/index.js'
import type { FeatureInput } from '../lib/systems/system.js'
import { compareWithPeer, type Feeds, findPython, importPeer, type PeerOptions } from './peer.js'
import type { BenchResult } from './support.js'

export const [FEATURES, ROWS, LENGTH, TASKS, BATCH] = [20, 100_000, 50, 3, 1024] as const
const ids = Array.from({ length: FEATURES }, (_, i) => `feature${i}`)

const serving = {
  ...Object.fromEntries(ids.map((name) => [name, field('int32', 'batch')])),
  target: field('int32', 'batch'),
  history: field('int32', 'batch', LENGTH),
  'history.length': field('int32', 'batch'),
}
const schema = { ...serving, label: field('float32', 'batch', TASKS) }

export function buildMmoe(): MmoeModel {
  const items = { table: 'item', rows: ROWS }
  const features: FeatureInput[] = [
    ...ids.map((name) => ({ kind: 'id', name, table: name, rows: ROWS }) as const),
    { kind: 'id', name: 'target', ...items },
    { kind: 'sequence', name: 'history', padded: LENGTH, ...items },
  ]
  const config = mmoe.config.parse({ tableDimensions: { item: 32 }, targets: { history: 'target' } })
  return mmoe.build(features, ['a', 'b', 'c'], config) as MmoeModel
}

/** Probabilities of the tasks. */
export const compileMmoeServing = (model: MmoeModel, executor: Executor) =>
  compile(model, (m, batch) => ({ probability: sigmoid(m.logits(batch as never) as Loose) as Tensor }), {
    schema: serving,
    executor,
    profile: true,
  })

/** Sum over tasks of the mean logistic loss, moved by Adam; lazily where tables are sparse. */
export const compileMmoe = (model: MmoeModel, executor: Executor) =>
  compile(
    model,
    (m, batch) => {
      const losses = binaryCrossEntropy(m.logits(batch as never) as Loose, batch.label as Loose)
      return { loss: multiply(losses, TASKS) as Tensor<readonly [], 'float32'> }
    },
    { schema, executor, profile: true, updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 1e-3 }) }] },
  )

/** Weights and batches of the peer. */
export async function loadPeer(model: MmoeModel, python: string, options: PeerOptions = {}) {
  const parameters = await initializeParameters(model)
  const batches = await importPeer(python, 'mmoe', model, parameters, { rename, ...options })
  return { parameters, batches: batches.map(byFeature) }
}

/** `ids` holds all features of a row side by side; ours are fields of their own. */
function byFeature({ ids: all = new Int32Array(), length = new Int32Array(), ...rest }: Feeds): Feeds {
  const column = (feature: number) => Int32Array.from({ length: BATCH }, (_, row) => all[row * FEATURES + feature] ?? 0)
  return { ...rest, ...Object.fromEntries(ids.map((name, i) => [name, column(i)])), 'history.length': length }
}

function rename(name: string): string {
  const [part, rest] = [name.slice(0, name.indexOf('.')), name.slice(name.indexOf('.'))]
  if (part === 'cat') return `features.stacked.width16${rest}`
  if (part === 'item') return `features.tables.item${rest}`
  if (['query', 'key', 'value'].includes(part)) return `features.attention.history.${name}`
  return `mmoe.${name}`
}

/** Weights of our own and one batch, for a machine without the peer. */
export async function drawOwn(model: MmoeModel) {
  const random = createRandom(1)
  const draw = (length: number) => Int32Array.from({ length }, () => Math.floor(ROWS * random.uniform() ** 4))
  const feeds = {
    ...Object.fromEntries(ids.map((name) => [name, draw(BATCH)])),
    target: draw(BATCH),
    history: draw(BATCH * LENGTH),
    'history.length': Int32Array.from({ length: BATCH }, () => 1 + random.int(LENGTH)),
    label: Float32Array.from({ length: BATCH * TASKS }, () => Number(random.uniform() < 0.2)),
  }
  return { parameters: await initializeParameters(model), batches: [feeds] as Feeds[] }
}

export async function mmoeBench(threads: number): Promise<BenchResult[]> {
  const python = findPython()
  const executor = new Executor({ threads })
  const model = buildMmoe()
  const program = compileMmoe(model, executor)
  const { parameters, batches } = await (python ? loadPeer(model, python) : drawOwn(model))
  const result = await compareWithPeer({
    name: 'MMoE with target attention, training step',
    shape: `batch ${BATCH}, ${FEATURES} ids, history ${LENGTH}, 4 experts, ${TASKS} tasks`,
    threads,
    batch: BATCH,
    program: program as never,
    parameters,
    batches,
    peer: 'mmoe',
    variants: { fused: 'fused', loop: 'expert by expert' },
    sameLosses: true,
    // 2.5 would be about 62 % of the peak of multiply-adds.
    target: 2,
  })
  await executor.close()
  return [result]
}
