/** A model small enough to be trained in a test, with dropout, a sparse table, state and ragged last batches, on generated data. */
import type { BatchSource } from '../../lib/core/batchSource.js'
import { createRandom } from '../../lib/core/random.js'
import {
  adam,
  add,
  all,
  assign,
  type Batch,
  compile,
  createParameters,
  createState,
  Dropout,
  type Executor,
  normal,
  parameter,
  state,
} from '../../lib/index.js'
import { embedding, mean, sum } from '../../lib/ops/index.js'
import type { NativeArray } from '../../lib/runtime/index.js'
import type { LoopOptions, LoopResult } from '../../lib/train/loop.js'
import { batchOf, SmallModel, schema, squaredError } from '../design/support.js'

export class DroppingModel extends SmallModel {
  readonly drop = new Dropout(0.3)
  readonly words = parameter([11, 8], normal(0.2), { sparse: true })
  readonly seen = state([])

  /** ids[batch, 3], x[batch, 8] -> [batch] */
  rate(b: Batch<typeof schema>) {
    return this.score(b.ids, add(this.drop.forward(b.x), sum(embedding(this.words, b.ids), 1)))
  }
}

/** `examples` in batches of `size`, in an order of each epoch's own. */
export function generatedSource(examples = 50, size = 8): BatchSource {
  const rows = batchOf(examples)
  const batchCount = Math.ceil(examples / size)
  return {
    schema,
    exampleCount: examples,
    batchCount,
    capacities: { batch: size },
    async *batches(epoch, { from = 0 } = {}) {
      const order = createRandom(1)
        .fork(epoch)
        .shuffle(Int32Array.from({ length: examples }, (_, i) => i))
      for (let batch = from; batch < batchCount; batch++) {
        const chosen = order.subarray(batch * size, (batch + 1) * size)
        yield {
          counts: { batch: chosen.length },
          fill(views) {
            for (const [name, width] of [
              ['ids', 3],
              ['x', 8],
              ['target', 1],
            ] as const) {
              chosen.forEach((row, i) => {
                views[name]?.set(rows[name].subarray(row * width, (row + 1) * width), i * width)
              })
            }
          },
        }
      }
    },
  }
}

/** Everything that `fitLoop` needs but for what a test is about. */
export function smallRun(executor: Executor, seed = 7, accumulate = 1) {
  const model = new DroppingModel()
  const program = compile(
    model,
    (m, b) => {
      assign(m.seen, add(m.seen, mean(b.x)))
      return { loss: squaredError(m.rate(b), b.target) }
    },
    { schema, seed, executor, accumulate, updates: [{ loss: 'loss', parameters: all, optimizer: adam() }] },
  )
  const parameters = createParameters(model, seed)
  const states = createState(model)
  const check = batchOf(32, 5)
  const scoring = compile(model, (m, b) => ({ loss: squaredError(m.rate(b), b.target) }), {
    schema,
    executor,
  })
  const evaluate = async () => ({ error: (await scoring.step(check, {}, { parameters, state: states })).loss })
  const options = {
    program,
    source: generatedSource(),
    parameters,
    optimizer: program.createOptimizerState(),
    state: states,
    evaluate,
    schedule: { lr: 0.02 },
  } satisfies Omit<LoopOptions, 'epochs'>
  return { model, options }
}

const bitsOf = (array: ArrayBufferView) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')

/** All that a run ended with, to the bit. */
export async function endOf({ parameters, ...rest }: LoopResult, { optimizer, state: states, program }: LoopOptions) {
  const stores = [parameters, optimizer, states].map(
    (store) => store?.read() ?? Promise.resolve({} as Record<string, NativeArray>),
  )
  const values = (await Promise.all(stores)).map((arrays) =>
    Object.entries(arrays).map(([name, array]) => `${name} ${bitsOf(array)}`),
  )
  return { ...rest, values, stepCount: program.stepCount }
}
