/** A training step of SASRec beside the same model in PyTorch: without dropout, where losses are compared, and with. */
import { createRandom } from '../lib/core/random.js'
import { adam, all, compile, createParameters, Executor } from '../lib/index.js'
import { sasrec } from '../lib/systems/sasrec/index.js'
import { trainingSchema } from '../lib/systems/system.js'
import { compareWithPeer, type Feeds, findPython, importPeer } from './peer.js'
import type { BenchResult } from './support.js'

const [ITEMS, LENGTH, BATCH] = [3646, 50, 256] as const

const cases = [
  { name: 'SASRec without dropout', dropout: 0, prefix: 'plain-' },
  { name: 'SASRec', dropout: 0.5, prefix: '' },
] as const

/** A training step: cross-entropy over all items, moved by Adam. */
export function buildSasrec(executor: Executor, dropout: number) {
  const model = sasrec.build(ITEMS, sasrec.config.parse({ dropout, maxLength: LENGTH }))
  const program = compile(model, (m, { history, target }) => ({ loss: m.loss?.(history, target) as never }), {
    schema: trainingSchema(LENGTH),
    updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 1e-3 }) }],
    executor,
    profile: true,
  })
  return { model, program, parameters: createParameters(model) }
}

export async function sasrecBench(threads: number): Promise<BenchResult[]> {
  const python = findPython()
  const executor = new Executor({ threads })
  const results: BenchResult[] = []
  for (const { name, dropout, prefix } of cases) {
    const { model, program, parameters } = buildSasrec(executor, dropout)
    const batches = python ? await importPeer(python, 'sasrec', model, parameters) : [drawBatch()]
    results.push(
      await compareWithPeer({
        name: `${name}, training step`,
        shape: `batch ${BATCH}, length ${LENGTH}, 64 channels, 2 blocks, ${ITEMS} items`,
        threads,
        batch: BATCH,
        program: program as never,
        parameters,
        batches,
        peer: 'sasrec',
        variants: { [`${prefix}last`]: 'last position of the last block', [`${prefix}all`]: 'all positions' },
        sameLosses: dropout === 0,
        target: 3,
        steps: 4,
        rounds: 4,
      }),
    )
  }
  await executor.close()
  return results
}

export function drawBatch(): Feeds {
  const random = createRandom(1)
  const draw = (length: number) => Int32Array.from({ length }, () => 1 + random.int(ITEMS))
  const history = draw(BATCH * LENGTH)
  for (let row = 0; row < BATCH; row++) history.fill(0, row * LENGTH, row * LENGTH + random.int(LENGTH))
  return { history, target: draw(BATCH) }
}
