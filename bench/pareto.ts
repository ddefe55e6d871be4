/** Weights of task gradients, and their combination with Adam in one pass beside a plain copy of as many bytes. */
import { createRandom } from '../lib/core/random.js'
import type { Tensor } from '../lib/graph/node.js'
import { GraphRunner } from '../lib/graph/runner.js'
import type { FloatTensor } from '../lib/graph/update.js'
import {
  adam,
  assign,
  compile,
  createParameters,
  createState,
  Executor,
  filled,
  input,
  parameter,
  state,
  upGrad,
} from '../lib/index.js'
import {
  add,
  alignedMtlWeights,
  caGradWeights,
  imtlGWeights,
  minNormWeights,
  multiply,
  nashMtlWeights,
  pcGradWeights,
  sum,
  upGradWeights,
} from '../lib/ops/index.js'
import type { Loose } from '../lib/ops/support.js'
import { alternate, type BenchResult, median, quantile } from './support.js'

const solvers: Record<string, (gram: Loose) => Tensor> = {
  minNorm: (gram) => minNormWeights(gram).weights,
  pcGrad: (gram) => pcGradWeights(gram),
  caGrad: (gram) => caGradWeights(gram),
  imtlG: (gram) => imtlGWeights(gram),
  nashMtl: (gram) => nashMtlWeights(gram),
  upGrad: (gram) => upGradWeights(gram),
  alignedMtl: (gram) => alignedMtlWeights(gram),
}
/** Most milliseconds at 8 tasks. */
const SOLVER_TARGET = 0.2

/** Gradients of which about half conflict. */
function gramOf(tasks: number): Float32Array {
  const random = createRandom(tasks)
  const width = 2 * tasks + 3
  const shared = Array.from({ length: width }, () => random.normal())
  const rows = Array.from({ length: tasks }, () => {
    const pull = 1.5 * random.normal()
    return shared.map((x) => pull * x + random.normal())
  })
  const product = (a: readonly number[], b: readonly number[]) =>
    a.reduce((total, x, i) => total + x * (b[i] as number), 0)
  return Float32Array.from(rows.flatMap((a) => rows.map((b) => product(a, b))))
}

async function solverResults(executor: Executor, threads: number): Promise<BenchResult[]> {
  const results: BenchResult[] = []
  for (const tasks of [2, 4, 8, 16, 64]) {
    const gram = gramOf(tasks)
    for (const [name, solve] of Object.entries(solvers)) {
      const weights = solve(input('gram', [tasks, tasks]) as Loose)
      const runner = new GraphRunner({ weights }, { executor, profile: true })
      const feeds = { gram, ...(name === 'pcGrad' ? { random: Int32Array.of(1, 2) } : {}) }
      const run = async () => {
        const { profile, outputs } = await runner.run({ feeds })
        if (!outputs.weights?.data.every((x) => Number.isFinite(x))) throw new Error(`${name}: weights are not finite`)
        return Array.from(profile ?? []).reduce((total, time) => total + time, 0) / 1e6
      }
      const [times = []] = await alternate([{ name, run }], 31)
      const target =
        tasks === 8 ? `; target ${SOLVER_TARGET} ms: ${median(times) <= SOLVER_TARGET ? 'met' : 'missed'}` : ''
      results.push({
        name: `${name} weights`,
        shape: `K ${tasks}`,
        threads,
        ours: median(times),
        spread: [quantile(times, 0.25), quantile(times, 0.75)],
        note: `${(1000 * median(times)).toFixed(1)} microseconds${target}`,
      })
    }
  }
  return results
}

const TASKS = 8
/** Most time beside that of a plain copy of the bytes. */
const COMBINE_TARGET = 1.3

/** Losses are products with rows held in memory, so that those rows are the gradients. */
async function combineResult(executor: Executor, threads: number, size: number): Promise<BenchResult> {
  const shape = [size] as const
  const model = {
    weight: parameter(shape, filled(1)),
    rows: Array.from({ length: TASKS }, (_, task) => parameter(shape, filled(0.01 * (task + 1)))),
  }
  const tasks = model.rows.map((_, task) => `task${task}`)
  const step = compile(
    model,
    (m) => Object.fromEntries(m.rows.map((row, task) => [`task${task}`, sum(multiply(m.weight, row))])),
    {
      schema: {},
      executor,
      profile: true,
      updates: [{ losses: tasks, combine: upGrad(), parameters: [model.weight], optimizer: adam({ lr: 1e-3 }) }],
    },
  )
  // As many bytes: half of them read, half written, and none of them in a cache that an earlier copy warmed.
  const pairs = Array.from({ length: (TASKS + 6) / 2 }, () => ({ from: parameter(shape, filled(1)), to: state(shape) }))
  const memory = { pairs }
  // The copy kernel calls memcpy, which is not the fastest way here: a chain that adds 0.5 moves the same bytes.
  const mover = (move: (from: FloatTensor) => FloatTensor) =>
    compile(
      memory,
      (m) => {
        for (const { from, to } of m.pairs) assign(to, move(from) as never)
        return {}
      },
      { schema: {}, executor, profile: true, mode: 'train' },
    )
  const parameters = createParameters(model, 1)
  const { kernelCommitStart, kernelSteps } = step.runner.plan
  const passes = kernelSteps.slice(kernelCommitStart).filter(({ outputs }) => outputs[0]?.shape[0] === size)
  if (passes.length !== 1) throw new Error(`combine: ${passes.length} passes over memory instead of one`)
  const ours = {
    name: 'combine and Adam',
    async run() {
      const { profile } = await step.run({} as never, {}, { parameters })
      return (
        Array.from(profile ?? [])
          .slice(kernelCommitStart)
          .reduce((total, time) => total + time, 0) / 1e6
      )
    },
  }
  const [source, held] = [createParameters(memory, 1), createState(memory)]
  const movers = {
    'memcpy of its bytes': mover((from) => from),
    'copy of its bytes by a chain': mover((x) => add(x, 0.5)),
  }
  const copied = Object.entries(movers).map(([name, program]) => ({
    name,
    async run() {
      const { profile } = await program.run({} as never, {}, { parameters: source, state: held })
      return Array.from(profile ?? []).reduce((total, time) => total + time, 0) / 1e6
    },
  }))
  await ours.run()
  // The first step of Adam moves each weight by the rate, against the sign of its gradient.
  const first = (await parameters.read()).weight as Float32Array
  if (!first.every((x) => Math.abs(Math.abs(x - 1) - 1e-3) < 1e-5)) throw new Error('combine: not a step of Adam')
  const [mine = [], ...copies] = await alternate([ours, ...copied], 7)
  const floors = copies.map((times, index) => ({ name: copied[index]?.name ?? '', time: median(times) }))
  const floor = floors.reduce((least, next) => (next.time < least.time ? next : least))
  const ratio = median(mine) / floor.time
  const beside = floors.map(({ name, time }) => `${(median(mine) / time).toFixed(2)} of ${name}`).join(', ')
  return {
    name: 'combine and Adam, one pass',
    shape: `K ${TASKS}, P ${size / 1e6}M`,
    threads,
    ours: median(mine),
    spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
    floor,
    note: `${beside}; target ${COMBINE_TARGET}: ${ratio <= COMBINE_TARGET ? 'met' : 'missed'}`,
  }
}

export async function paretoBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const results = threads === 1 ? await solverResults(executor, threads) : []
  // The second is too large for any cache that would hold the first from step to step.
  for (const size of [10_000_000, 40_000_000]) results.push(await combineResult(executor, threads, size))
  await executor.close()
  return results
}
