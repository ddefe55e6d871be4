/** Executors of one thread beside each other: two should do nearly twice the work of one, a third should cost little. */
import { Executor } from '../lib/index.js'
import { BATCH, buildMmoe, compileMmoeServing, drawOwn } from './mmoe.js'
import { type BenchResult, median, timesOf } from './support.js'

const ROUNDS = 5
const ROUND_MILLISECONDS = 600

/** How many work together, and what their throughput must be beside that of so many. */
const cases = [
  { count: 2, beside: 1, least: 1.7 },
  { count: 3, beside: 2, least: 0.9 },
] as const

/** Says nothing for more threads: the executors here have one each. */
export async function executorsBench(threads: number): Promise<BenchResult[]> {
  if (threads !== 1) return []
  const model = buildMmoe()
  const { parameters, batches } = await drawOwn(model)
  const executors = [1, 2, 3].map(() => new Executor({ threads: 1 }))
  const programs = executors.map((executor) => compileMmoeServing(model, executor))
  const { label: _, ...request } = batches[0] ?? {}

  /** Milliseconds of the machine per call, while the first so many executors work. */
  async function timePerCall(count: number): Promise<number> {
    const start = performance.now()
    const loops = programs.slice(0, count).map(async (program) => {
      let calls = 0
      for (; performance.now() - start < ROUND_MILLISECONDS; calls++)
        await program.step(request as never, {}, { parameters })
      return calls
    })
    const calls = await Promise.all(loops)
    return (performance.now() - start) / calls.reduce((a, b) => a + b, 0)
  }

  const times = new Map([1, 2, 3].map((count): [number, number[]] => [count, []]))
  for (let round = -1; round < ROUNDS; round++) {
    for (const [count, list] of times) {
      const time = await timePerCall(count)
      if (round >= 0) list.push(time)
    }
  }
  await Promise.all(executors.map((executor) => executor.close()))
  return cases.map(({ count, beside, least }) => {
    const mine = (times.get(count) ?? []).toSorted((a, b) => a - b)
    const other = (times.get(beside) ?? []).toSorted((a, b) => a - b)
    const factor = median(other) / median(mine)
    return {
      name: `${count} executors of one thread`,
      shape: `MMoE inference, batch ${BATCH}`,
      threads,
      ...timesOf(mine),
      peer: { name: beside === 1 ? 'one executor' : `${beside} executors`, time: median(other) },
      target: { text: `at least ${least}x the throughput of ${beside}`, met: factor >= least },
      note: `${factor.toFixed(2)}x the throughput`,
    }
  })
}
