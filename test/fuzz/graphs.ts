/**
 * Random graphs, forward and backward, on every CPU variant with one thread and two: results against the float64
 * interpreter, equal bits where the setting is equal, at live counts below the capacity with unused bytes poisoned.
 */
import { createRandom } from '../../lib/core/random.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { reachable } from '../../lib/graph/graph.js'
import { type Tensor, tensorOf, type Variable } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { createParameters } from '../../lib/graph/stores.js'
import { toTyped } from '../../lib/ops/support.js'
import { type CpuVariant, describe, Executor, type NativeArray, type ParameterSet } from '../../lib/runtime/index.js'
import type { Counts } from './graphGenerator.js'
import { TrainingFuzzer } from './graphTraining.js'
import { Finding, isRefusal, show } from './judge.js'
import { type Expected, expect, judge } from './oracle.js'
import { initialValues, type Outputs, randomGraph, referenceFeeds, someCounts, textOf, traced } from './randomGraph.js'
import type { Fuzzer, Note } from './watch.js'

export interface Setting {
  readonly variant: CpuVariant
  readonly threads: number
}

const settings: readonly Setting[] = describe().cpu.variants.flatMap((variant) =>
  [1, 2].map((threads) => ({ variant, threads })),
)

/** One iteration in so many is a training program. */
const TRAINING = 5

/** At some counts: what to feed, what to expect. */
interface Point {
  readonly counts: Counts
  readonly feeds: Readonly<Record<string, ReferenceArray>>
  readonly expected: readonly Expected[]
}

/** A graph with all that its runs need. */
interface Prepared {
  readonly outputs: Outputs
  readonly points: readonly [Point, Point]
  readonly capacities: Counts
  readonly parameters: ParameterSet
  readonly variables: ReadonlyMap<Variable, ReferenceArray>
}

interface Problem {
  readonly what: string
  readonly point: Point
}

export class GraphFuzzer implements Fuzzer {
  private readonly executors = new Map<Setting, Executor>()
  private readonly tally = { graphs: 0, nodes: 0, trainings: 0, runs: 0, right: 0, unknown: 0, refused: 0 }
  private readonly training = new TrainingFuzzer(settings, (setting) => this.executorOf(setting), this.tally)

  constructor(private readonly seed: number) {}

  counts(): Record<string, number> {
    return this.tally
  }

  complaint(): string | undefined {
    const { graphs, right, unknown, refused } = this.tally
    if (graphs < 20) return undefined
    if (unknown > right) return `${unknown} results could not be judged, of ${right + unknown}`
    if (refused > graphs / 10) return `${refused} of ${graphs} graphs were refused`
    return undefined
  }

  async iterate(iteration: number, note: Note): Promise<void> {
    const random = createRandom(this.seed).fork(iteration)
    if (random.int(TRAINING) === 0) {
      this.tally.trainings++
      return this.training.iterate(random, note)
    }
    const { outputs, generator } = randomGraph(random)
    const text = textOf(outputs)
    note(text)
    this.tally.graphs++
    this.tally.nodes += reachable(Object.values(outputs).map(({ value }) => value)).length

    const variables = initialValues(generator.model)
    const pointAt = (counts: Counts): Point => {
      const feeds = referenceFeeds(generator, counts)
      const tensors = Object.values(traced(outputs))
      return { counts, feeds, expected: expect(tensors, { feeds, variables, counts }, random.fork('noise')) }
    }
    const points = [pointAt(someCounts(random)), pointAt(someCounts(random))] as const
    const capacities = Object.fromEntries(
      Object.keys(points[0].counts).map((symbol) => {
        const most = Math.max(...points.map(({ counts }) => counts[symbol] as number))
        return [symbol, most + random.int(9)]
      }),
    )
    using parameters = createParameters(generator.model)
    await this.check({ outputs, points, capacities, parameters, variables }, (line) => note(`${line}\n${text}`))
  }

  private async check(graph: Prepared, note: (line: string) => void): Promise<void> {
    const lowered = new GraphRunner(graph.outputs, { check: true })
    for (const setting of settings) {
      const where = `${setting.variant}, ${setting.threads} threads`
      note(`${where}, capacities ${JSON.stringify(graph.capacities)}`)
      const problem = await this.runOn(setting, lowered, graph)
      if (problem === 'refused') {
        this.tally.refused++
        return
      }
      if (!problem) continue
      const { what, point } = problem
      const counts = `counts ${JSON.stringify(point.counts)} of ${JSON.stringify(graph.capacities)}`
      throw new Finding(`${what}\n${where}, ${counts}\n${await this.firstWrong(setting, graph, point)}`)
    }
  }

  /** Runs at the first point, the second and the first again, which must give the bits that it gave. */
  private async runOn(setting: Setting, lowered: GraphRunner, graph: Prepared): Promise<Problem | 'refused' | null> {
    using program = await this.executorOf(setting).loadProgram(lowered.programFile)
    using executable = await program.bind(only(lowered.symbols, graph.capacities), { poison: true })
    const before: NativeArray[] = []
    const [first, second] = graph.points
    for (const [turn, point] of [first, second, first].entries()) {
      const request = {
        counts: only(lowered.symbols, point.counts),
        feeds: feedsFor(lowered, point),
        stores: [graph.parameters, null, null],
      }
      this.tally.runs++
      const run = await executable.run(request).catch((error: unknown) => error)
      // Some sizes hold for some counts only: k of topK along a live axis.
      if (isRefusal(run) && run.code === 'KAIROS_SHAPE') return 'refused'
      if (run instanceof Error) return { what: `the run failed with ${show(run)}`, point }
      const results = (run as Awaited<ReturnType<typeof executable.run>>).outputs
      for (const [index, name] of Object.keys(graph.outputs).entries()) {
        const got = results[name]?.data as NativeArray
        if (turn === 0) before.push(got)
        if (turn === 2 && !sameBits(got, before[index] as NativeArray)) {
          return { what: `${name} has other bits when it is computed again`, point }
        }
        const verdict = judge(got, point.expected[index] as Expected)
        if (verdict.is === 'wrong') return { what: `${name}: ${verdict.how}`, point }
        this.tally[verdict.is]++
      }
    }
    return null
  }

  /** Computes value after value by itself, operands first, and tells which is the first that is wrong. */
  private async firstWrong(setting: Setting, graph: Prepared, point: Point): Promise<string> {
    const { counts, feeds } = point
    const nodes = reachable(Object.values(traced(graph.outputs)).map(({ value }) => value))
    const values = nodes.flatMap((node) => (node.op ? node.outputs.map((_, index) => tensorOf({ node, index })) : []))
    const expected = expect(values, { feeds, variables: graph.variables, counts }, createRandom(1))
    for (const [index, tensor] of values.entries()) {
      const how = await this.wrongAlone(setting, graph, point, { tensor, expected: expected[index] as Expected })
      if (how) return `first wrong by itself: ${how}\n${textOf({ y: tensor }).split('\n').slice(-12).join('\n')}`
    }
    return 'every value is right by itself'
  }

  private async wrongAlone(
    setting: Setting,
    { capacities, parameters }: Prepared,
    point: Point,
    { tensor, expected }: { readonly tensor: Tensor; readonly expected: Expected },
  ): Promise<string | null> {
    const runner = new GraphRunner({ y: tensor }, { executor: this.executorOf(setting), poison: true })
    const request = {
      feeds: feedsFor(runner, point),
      stores: { parameters },
      counts: only(runner.symbols, point.counts),
      capacities: only(runner.symbols, capacities),
    }
    const run = await runner.run(request).catch(show)
    if (typeof run === 'string') return run
    const verdict = judge(run.outputs.y?.data as NativeArray, expected)
    return verdict.is === 'wrong' ? verdict.how : null
  }

  private executorOf(setting: Setting): Executor {
    const executor = this.executors.get(setting) ?? new Executor({ ...setting, matmul: 'own' })
    this.executors.set(setting, executor)
    return executor
  }
}

const only = (symbols: readonly string[], counts: Counts): Counts =>
  Object.fromEntries(symbols.map((symbol) => [symbol, counts[symbol] as number]))

const feedsFor = ({ inputs }: GraphRunner, { feeds }: Point): Record<string, NativeArray> =>
  Object.fromEntries(inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))

export const sameBits = (a: NativeArray, b: NativeArray): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
