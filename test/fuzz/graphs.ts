/**
 * Random graphs, forward and backward, on every CPU variant with one thread and two: results against the float64
 * interpreter, equal bits where the setting is equal, at live counts below the capacity with unused bytes poisoned.
 */
import { createRandom, type Random } from '../../lib/core/random.js'
import { variableName } from '../../lib/graph/autodiff.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { reachable } from '../../lib/graph/graph.js'
import { type InterpretOptions, interpret } from '../../lib/graph/interpret.js'
import { type Node, type Tensor, tensorOf, type Value, type Variable } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { createParameters } from '../../lib/graph/stores.js'
import { toTyped } from '../../lib/ops/support.js'
import {
  type CpuVariant,
  type DeviceKind,
  describe,
  type Executable,
  Executor,
  type MatmulEngine,
  type NativeArray,
  ParameterSet,
} from '../../lib/runtime/index.js'
import { checkDirection } from './directional.js'
import type { Counts } from './graphGenerator.js'
import { TrainingFuzzer } from './graphTraining.js'
import { answerOf, Finding, isRefusal, show, unlessIdRefused } from './judge.js'
import { type Expected, expect, judge } from './oracle.js'
import {
  initialValues,
  LARGE_SIZES,
  type Outputs,
  type RandomGraph,
  randomGraph,
  referenceFeeds,
  someCounts,
  textOf,
  traced,
} from './randomGraph.js'
import type { Fuzzer, Note } from './watch.js'

export interface Setting {
  readonly variant: CpuVariant
  readonly threads: number
  readonly matmul: MatmulEngine
  readonly device?: DeviceKind
}

const { cpu, oneDnn } = describe()
const elsewhere = (process.env.KAIROS_DEVICE || 'cpu') !== 'cpu'
const onProcessor: readonly Setting[] = [
  ...cpu.variants.flatMap((variant) => [1, 2].map((threads) => ({ variant, threads, matmul: 'own' as const }))),
  ...(oneDnn.available ? [{ variant: cpu.variants.at(-1) as CpuVariant, threads: 2, matmul: 'onednn' as const }] : []),
]

/** KAIROS_DEVICE sends everything to another device, where variants and threads mean nothing. */
const settings: readonly Setting[] = elsewhere
  ? [{ variant: 'baseline', threads: 1, matmul: 'own', device: process.env.KAIROS_DEVICE as DeviceKind }]
  : onProcessor

/** One iteration in so many is a training program. */
const TRAINING = 5
/** One graph in so many is short and runs over many rows. */
const LARGE = 8

/** At some counts: what to feed, what to expect. */
interface Point {
  readonly counts: Counts
  readonly feeds: Readonly<Record<string, ReferenceArray>>
  /** null where the reference refuses an id, as the device must. */
  readonly expected: readonly Expected[] | null
}

/** Whether some `floor` or `sign` is taken where it jumps: residues of sums that cancel fall to either side. */
function standsOnStep(loss: Tensor, options: InterpretOptions): boolean {
  const steps = reachable([loss.value]).filter(({ op }) => op?.name === 'floor' || op?.name === 'sign')
  const operands = steps.map(({ inputs }) => tensorOf(inputs[0] as Value))
  return interpret(operands, options).some(({ data }) => data.some((x) => Math.abs(x - Math.round(x)) < 1e-9))
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
  private readonly tally = {
    graphs: 0,
    nodes: 0,
    trainings: 0,
    runs: 0,
    right: 0,
    unknown: 0,
    slopes: 0,
    kinks: 0,
    refused: 0,
    /** Graphs with an op that the device has no kernel for yet. */
    lacking: 0,
  }
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
    const isLarge = random.int(LARGE) === 0
    const { outputs, gradientNames, generator } = randomGraph(random, isLarge ? 4 : 17)
    const text = textOf(outputs)
    note(text)
    this.tally.graphs++
    this.tally.nodes += reachable(Object.values(outputs).map(({ value }) => value)).length

    const variables = initialValues(generator.model)
    const pointAt = (counts: Counts): Point => {
      const feeds = referenceFeeds(generator, counts)
      const tensors = Object.values(traced(outputs))
      const expected = unlessIdRefused(() => expect(tensors, { feeds, variables, counts }, random.fork('noise')))
      return { counts, feeds, expected }
    }
    const points = [
      pointAt(someCounts(random, isLarge ? LARGE_SIZES : undefined)),
      pointAt(someCounts(random)),
    ] as const
    const capacities = Object.fromEntries(
      Object.keys(points[0].counts).map((symbol) => {
        const most = Math.max(...points.map(({ counts }) => counts[symbol] as number))
        return [symbol, most + random.int(9)]
      }),
    )
    if (points[1].expected) this.checkGradients(outputs, gradientNames, { ...points[1], variables }, random)
    using parameters = createParameters(generator.model)
    await this.check({ outputs, points, capacities, parameters, variables }, (line) => note(`${line}\n${text}`))
  }

  private checkGradients(
    outputs: Outputs,
    names: RandomGraph['gradientNames'],
    options: InterpretOptions,
    random: Random,
  ): void {
    const tensors = traced(outputs)
    // Padding rows have no gradient, nor what is held constant, by definition and against all slopes.
    const loss = tensors.loss as Tensor
    const isHeld = ({ op, attributes }: Node) => attributes.paddingIndex !== undefined || op?.name === 'stopGradient'
    if (reachable([loss.value]).some(isHeld)) return
    if (standsOnStep(loss, options)) {
      this.tally.kinks++
      return
    }
    const moving = [...names].map(([leaf, name]) => ({
      leaf,
      gradient: name === null ? null : (tensors[name] ?? null),
    }))
    const verdict = checkDirection(loss, moving, options, random)
    this.tally[verdict === null ? 'slopes' : 'kinks']++
    if (verdict !== null && verdict !== 'unknown')
      throw new Finding(`${verdict}
counts ${JSON.stringify(options.counts)}`)
  }

  private async check(graph: Prepared, note: (line: string) => void): Promise<void> {
    const lowered = new GraphRunner(graph.outputs, { check: true })
    for (const setting of settings) {
      const where = Object.values(setting).join(' ')
      note(`${where}, capacities ${JSON.stringify(graph.capacities)}`)
      const problem = await this.runOn(setting, lowered, graph)
      if (problem === 'refused' || problem === 'lacking') {
        this.tally[problem]++
        return
      }
      if (!problem) continue
      const { what, point } = problem
      const counts = `counts ${JSON.stringify(point.counts)} of ${JSON.stringify(graph.capacities)}`
      throw new Finding(`${what}\n${where}, ${counts}\n${await this.firstWrong(setting, graph, point)}`)
    }
  }

  /** Runs at the first point, the second and the first again, which must give the bits that it gave. */
  private async runOn(
    setting: Setting,
    lowered: GraphRunner,
    graph: Prepared,
  ): Promise<Problem | 'refused' | 'lacking' | null> {
    using program = await this.executorOf(setting).loadProgram(lowered.programFile)
    const bound = await answerOf('bind', () => program.bind(only(lowered.symbols, graph.capacities), { poison: true }))
    // Some ops take some sizes only: k of topK along a live axis, rows of gram.
    if ('refused' in bound && bound.refused === 'KAIROS_SHAPE') return 'refused'
    if ('refused' in bound && bound.refused === 'KAIROS_UNSUPPORTED' && elsewhere) return 'lacking'
    if ('refused' in bound) return { what: `bind refused with ${bound.refused}`, point: graph.points[0] }
    using executable = bound.value
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
      if (isRefusal(run) && run.code === 'KAIROS_SHAPE') return 'refused'
      if (!point.expected) {
        if (isRefusal(run) && run.code === 'KAIROS_ID_RANGE') return 'refused'
        return { what: 'an id that the reference refuses was taken', point }
      }
      if (run instanceof Error) return { what: `the run failed with ${show(run)}`, point }
      const results = (run as Awaited<ReturnType<typeof executable.run>>).outputs
      for (const [index, name] of Object.keys(graph.outputs).entries()) {
        const got = results[name]?.data as NativeArray
        if (turn === 0) before.push(got)
        if (turn === 2 && !sameBits(got, before[index] as NativeArray)) {
          return { what: `${name} has other bits when it is computed again`, point }
        }
        const verdict = judge(got, point.expected[index] as Expected)
        if (verdict.is !== 'wrong') this.tally[verdict.is]++
        else if (await this.isRounding(executable, lowered, graph, { point, name, got })) this.tally.unknown++
        else return { what: `${name}: ${verdict.how}`, point }
      }
    }
    return null
  }

  /**
   * An error that comes out otherwise when every operand moves by about a rounding is one of rounding: sums that cancel
   * beyond what the oracle foresaw. What is wrong stays wrong.
   */
  private async isRounding(
    executable: Executable,
    lowered: GraphRunner,
    { outputs, variables }: Prepared,
    { point, name, got }: { readonly point: Point; readonly name: string; readonly got: NativeArray },
  ): Promise<boolean> {
    const tensor = traced(outputs)[name] as Tensor
    const { counts } = point
    const errorsOf = (values: NativeArray, at: InterpretOptions): Float64Array =>
      (interpret([tensor], { ...at, counts })[0] as ReferenceArray).data.map((x, i) => (values[i] as number) - x)
    const first = errorsOf(got, { feeds: point.feeds, variables })
    const random = createRandom(2)
    const moved = (array: ReferenceArray, by: number): ReferenceArray =>
      array.dtype === 'float32'
        ? { ...array, data: array.data.map((x) => Math.fround(x * (1 + by * random.normal()))) }
        : array
    const worst = greatest(first)
    for (let turn = 0; turn < 6 && Number.isFinite(worst); turn++) {
      // A mean over many moves by less than a rounding: further each time.
      const by = 1e-6 * 4 ** turn
      const feeds = Object.fromEntries(Object.entries(point.feeds).map(([feed, array]) => [feed, moved(array, by)]))
      const values = new Map([...variables].map(([variable, array]) => [variable, moved(array, by)]))
      using parameters = ParameterSet.create(
        [...values].map(([variable, array]) => ({ ...array, name: variableName(variable), data: toTyped(array) })),
      )
      const run = await executable.run({
        counts: only(lowered.symbols, counts),
        feeds: feedsFor(lowered, { feeds }),
        stores: [parameters, null, null],
      })
      const second = errorsOf(run.outputs[name]?.data as NativeArray, { feeds, variables: values })
      if (greatest(first.map((x, i) => x - (second[i] as number))) > worst / 3) return true
    }
    return false
  }

  /** Computes value after value by itself, operands first, and tells which is the first that is wrong. */
  private async firstWrong(setting: Setting, graph: Prepared, point: Point): Promise<string> {
    const { counts, feeds } = point
    if (!point.expected) return 'the reference refuses an id'
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
    const executor = this.executors.get(setting) ?? new Executor(setting)
    this.executors.set(setting, executor)
    return executor
  }
}

const only = (symbols: readonly string[], counts: Counts): Counts =>
  Object.fromEntries(symbols.map((symbol) => [symbol, counts[symbol] as number]))

const feedsFor = ({ inputs }: GraphRunner, { feeds }: Pick<Point, 'feeds'>): Record<string, NativeArray> =>
  Object.fromEntries(inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))

const greatest = (values: Float64Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0)

export const sameBits = (a: NativeArray, b: NativeArray): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
