/** A process that trains a table of 10,000,000 x 32 and prints step times and its own peak of memory as JSON. */
import { createRandom } from '../lib/core/random.js'
import {
  compile,
  Executor,
  field,
  initializeParameters,
  type ParameterSet,
  parameter,
  rowWiseAdagrad,
  sum,
  uniform,
} from '../lib/index.js'
import { embeddingBag } from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'

export type Distribution = 'zipf' | 'uniform'

export interface LargeTableReport {
  readonly rows: number
  readonly channels: number
  readonly tableBytes: number
  readonly peakBytes: number
  /** Seconds. */
  readonly initialization: number
  readonly steps: Readonly<Record<Distribution, { readonly times: readonly number[]; readonly ids: number }>>
}

const [ROWS, CHANNELS, BAGS, SIZE, STEPS, RATE] = [10_000_000, 32, 4096, 50, 20, 0.01] as const

/** Bags of equal size. Zipf's exponent is 1.05, by inversion of the continuous law; neighbouring ranks lie apart. */
export function drawBags(distribution: Distribution, rows: number, bags: number, size: number, seed: number) {
  const random = createRandom(seed)
  const exponent = 1 - 1.05
  const zipf = () => Math.floor(((rows ** exponent - 1) * random.uniform() + 1) ** (1 / exponent) - 1)
  const draw = distribution === 'zipf' ? () => (Math.min(zipf(), rows - 1) * 7919) % rows : () => random.int(rows)
  return {
    ids: Int32Array.from({ length: bags * size }, draw),
    offsets: Int32Array.from({ length: bags + 1 }, (_, bag) => bag * size),
  }
}

/** With the sum as loss a row's gradient is how often it was drawn, and the first step moves each drawn row by the rate. */
async function verify(parameters: ParameterSet, ids: Int32Array, step: () => Promise<unknown>): Promise<void> {
  const drawn = new Set(ids)
  const probes = [...ids.subarray(0, 100), ...Array.from({ length: 100 }, (_, i) => i * 99_991)]
  const rows = async () =>
    Promise.all(probes.map((row) => parameters.readRange('weight', row * CHANNELS, (row + 1) * CHANNELS)))
  const before = await rows()
  await step()
  const after = await rows()
  probes.forEach((row, probe) => {
    const moved = drawn.has(row) ? RATE : 0
    before[probe]?.forEach((value, i) => {
      const now = after[probe]?.[i] as number
      if (!(Math.abs(value - moved - now) <= 1e-6)) throw new Error(`row ${row} moved from ${value} to ${now}`)
    })
  })
}

async function main(threads: number): Promise<LargeTableReport> {
  const executor = new Executor({ threads })
  const model = { weight: parameter([ROWS, CHANNELS], uniform(-0.01, 0.01), { sparse: true }) }
  const start = performance.now()
  const parameters = await initializeParameters(model, 0, executor)
  const initialization = (performance.now() - start) / 1000
  const program = compile(
    model,
    (m, { ids, offsets }) => ({ loss: sum(embeddingBag(m.weight as Loose, ids as Loose, offsets as Loose) as Loose) }),
    {
      schema: { ids: field('int32', BAGS * SIZE), offsets: field('int32', BAGS + 1) },
      updates: [{ loss: 'loss', parameters: [model.weight], optimizer: rowWiseAdagrad({ lr: RATE }) }],
      executor,
    },
  )
  const train = async (distribution: Distribution, first: boolean) => {
    const batches = [1, 2, 3, 4].map((seed) => drawBags(distribution, ROWS, BAGS, SIZE, seed))
    const step = (i: number) => program.run(batches[i % batches.length] as never, {}, { parameters })
    if (first) await verify(parameters, (batches[0] as { ids: Int32Array }).ids, () => step(0))
    const times: number[] = []
    for (let i = 0; i < STEPS; i++) {
      const cpu = process.cpuUsage()
      const { milliseconds } = await step(i)
      const { user, system } = process.cpuUsage(cpu)
      times.push(threads === 1 ? (user + system) / 1000 : milliseconds)
    }
    return { times: times.sort((a, b) => a - b), ids: BAGS * SIZE }
  }
  const steps = { zipf: await train('zipf', true), uniform: await train('uniform', false) }
  await executor.close()
  return {
    rows: ROWS,
    channels: CHANNELS,
    tableBytes: ROWS * CHANNELS * 4,
    peakBytes: process.resourceUsage().maxRSS * 1024,
    initialization,
    steps,
  }
}

if (process.argv[1]?.endsWith('largeTableChild.ts')) {
  main(Number(process.argv[2])).then((report) => console.log(JSON.stringify(report)))
}
