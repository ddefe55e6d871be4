/**
 * Training programs over random graphs: some steps with a random optimizer, clipping, accumulation and groups against
 * the optimizers' formulas in float64 over gradients of the interpreter. Sparse tables and dense ones have one oracle.
 */
import { isKairosError } from '../../lib/core/errors.js'
import type { Random } from '../../lib/core/random.js'
import { backward, gradients, variableName, variableOf } from '../../lib/graph/autodiff.js'
import { compile } from '../../lib/graph/compile.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { reachable } from '../../lib/graph/graph.js'
import { interpret } from '../../lib/graph/interpret.js'
import { scalar } from '../../lib/graph/leaf.js'
import { parametersOf } from '../../lib/graph/module.js'
import { type Node, type Tensor, tensorOf, type Value, type Variable, valueKey } from '../../lib/graph/node.js'
import { createParameters } from '../../lib/graph/stores.js'
import { toTyped } from '../../lib/ops/support.js'
import { adam, rowWiseAdagrad, sgd } from '../../lib/optim/index.js'
import type { Executor, NativeArray } from '../../lib/runtime/index.js'
import { type Counts, GraphGenerator, pick } from './graphGenerator.js'
import type { Setting } from './graphs.js'
import { Finding, show, unlessIdRefused } from './judge.js'
import { type RuleOptions, rules } from './optimizerFormulas.js'
import { type Expected, judge, markOf, modes, type NoiseMode, noisy } from './oracle.js'
import { grow, initialValues, lossOf, referenceFeeds, someCounts, textOf, traced } from './randomGraph.js'
import type { Note } from './watch.js'

const optimizers = { sgd, adam, rowWiseAdagrad }

const MOVES = 3
const SAMPLES = 6
const SIZES = [1, 2, 6, 7, 13]

interface Group {
  readonly rule: keyof typeof rules
  readonly options: RuleOptions
  readonly parameters: readonly Tensor[]
}

/** What is trained, how, and on what. */
interface Training {
  readonly loss: Tensor
  readonly groups: readonly Group[]
  readonly clipNorm: number | undefined
  readonly accumulate: number
  readonly batches: readonly { readonly counts: Counts; readonly feeds: Readonly<Record<string, ReferenceArray>> }[]
}

export class TrainingFuzzer {
  constructor(
    private readonly settings: readonly Setting[],
    private readonly executorOf: (setting: Setting) => Executor,
    private readonly tally: { right: number; unknown: number; runs: number; lacking: number },
  ) {}

  async iterate(random: Random, note: Note): Promise<void> {
    const generator = new GraphGenerator(random)
    grow(generator, 2 + random.int(9))
    const loss = lossOf(generator)
    const reached = gradients(loss, parametersOf(generator.model))
    const parameters = parametersOf(generator.model).filter((_, index) => reached[index] !== null)
    if (parameters.length === 0) return
    const accumulate = random.int(3) === 0 ? 2 : 1
    const training: Training = {
      loss: traced({ loss }).loss as Tensor,
      groups: groupsOf(random, parameters),
      clipNorm: random.int(2) === 0 ? pick(random, [0.01, 1, 1000]) : undefined,
      accumulate,
      batches: Array.from({ length: MOVES * accumulate }, () => {
        const counts = someCounts(random, SIZES)
        return { counts, feeds: referenceFeeds(generator, counts) }
      }),
    }
    const { groups, clipNorm } = training
    const rulesUsed = groups.map(({ rule, options, parameters: own }) => ({ rule, options, names: own.map(nameOf) }))
    note(`${JSON.stringify({ rulesUsed, clipNorm, accumulate })}\n${textOf({ loss })}`)

    const expected = unlessIdRefused(() => simulate(training, initialValues(generator.model)))
    if (!expected) return
    const samples = Array.from({ length: SAMPLES }, (_, sample) => {
      return simulate(training, initialValues(generator.model), {
        random,
        mode: modes[sample % modes.length] as NoiseMode,
      })
    })
    const setting = pick(random, this.settings)
    const first = await this.train(generator, training, setting)
    const again = await this.train(generator, training, setting)
    if (!first || !again) {
      this.tally.lacking++
      return
    }
    for (const parameter of parameters) {
      const name = nameOf(parameter)
      const variable = variableOf(parameter) as Variable
      const got = first[name] as NativeArray
      if (!Buffer.from(got.buffer).equals(Buffer.from((again[name] as NativeArray).buffer))) {
        throw new Finding(`${name} has other bits after the same training again, on ${JSON.stringify(setting)}`)
      }
      const wanted: Expected = {
        exact: expected.get(variable) as ReferenceArray,
        samples: samples.map((values) => values.get(variable) as ReferenceArray),
      }
      const verdict = judge(got, wanted)
      if (verdict.is === 'wrong') {
        throw new Finding(`${name} after ${MOVES} moves on ${JSON.stringify(setting)}: ${verdict.how}`)
      }
      this.tally[verdict.is]++
    }
  }

  /** The parameters after all batches; null where the device lacks a kernel. */
  private async train(
    { model }: GraphGenerator,
    { loss, groups, clipNorm, accumulate, batches }: Training,
    setting: Setting,
  ): Promise<Record<string, NativeArray> | null> {
    const executor = this.executorOf(setting)
    const inputs = reachable([loss.value]).filter(({ leaf }) => leaf?.kind === 'input')
    const schema = Object.fromEntries(inputs.map((node) => [inputName(node), node.outputs[0]]))
    const compiled = compile(model, () => ({ loss }), {
      schema: schema as never,
      updates: [
        {
          loss: 'loss',
          ...(clipNorm === undefined ? {} : { clipNorm }),
          groups: groups.map(({ rule, options, parameters }) => ({
            parameters,
            optimizer: optimizers[rule](options),
          })),
        },
      ],
      accumulate,
      executor,
      poison: true,
      check: true,
    })
    using parameters = createParameters(model)
    for (const { counts, feeds } of batches) {
      const batch = Object.fromEntries(
        Object.keys(schema).map((name) => [name, toTyped(feeds[name] as ReferenceArray)]),
      )
      const own = Object.fromEntries(compiled.runner.symbols.map((symbol) => [symbol, counts[symbol] as number]))
      const more = Object.fromEntries(Object.entries(own).map(([symbol, count]) => [symbol, count + 3]))
      try {
        await compiled.step(batch as never, { lr: RATE }, { parameters, counts: own, capacities: more })
      } catch (error) {
        if (setting.device && isKairosError(error, 'KAIROS_UNSUPPORTED')) return null
        throw new Finding(`a step failed with ${show(error)}, on ${JSON.stringify(setting)}`)
      }
      this.tally.runs++
    }
    return parameters.read(undefined, executor)
  }
}

const RATE = 0.0625
const EPSILON = 0.0625

const nameOf = (parameter: Tensor): string => variableName(variableOf(parameter) as Variable)

const inputName = ({ leaf }: Node): string => (leaf?.kind === 'input' ? leaf.name : '')

/** One rule for all, or two for halves. */
function groupsOf(random: Random, parameters: readonly Tensor[]): Group[] {
  const group = (own: readonly Tensor[]): Group => {
    const rule = pick(random, Object.keys(rules) as (keyof typeof rules)[])
    const weightDecay = pick(random, [0, 0.01])
    // Where gradients cancel, a small epsilon would make steps of their rounding.
    const more = rule === 'sgd' ? { momentum: pick(random, [0, 0.5]) } : { epsilon: EPSILON }
    return { rule, options: { weightDecay, ...more }, parameters: own }
  }
  const middle = random.int(parameters.length)
  return middle === 0 ? [group(parameters)] : [group(parameters.slice(0, middle)), group(parameters.slice(middle))]
}

// Oracle -----------------------------------------------------------------------------------------------------------

/** The parameters after all batches; with `noise`, what rounding might make of them. */
function simulate(
  { loss, groups, clipNorm, accumulate, batches }: Training,
  variables: Map<Variable, ReferenceArray>,
  noise?: { readonly random: Random; readonly mode: NoiseMode },
): ReadonlyMap<Variable, ReferenceArray> {
  const parameters = groups.flatMap((group) => group.parameters)
  const own = parameters.map((parameter) => variableOf(parameter) as Variable)
  const lookups = lookupsOf(loss, parameters)
  const wanted = [...(gradients(loss, parameters) as Tensor[]), ...lookups.map(({ ids }) => tensorOf(ids))]
  const states = new Map(
    groups.map((group) => [group, group.parameters.map(() => rules[group.rule](group.options, RATE))]),
  )
  let sums = own.map(({ shape }) => new Float64Array(shape.reduce((product, size) => product * size, 1)))
  let touched = own.map(() => new Set<number>())
  batches.forEach(({ counts, feeds }, step) => {
    const values = interpret(noise ? noisy(wanted, noise.random, noise.mode) : wanted, { counts, feeds, variables })
    sums = sums.map((sum, index) => sum.map((x, i) => x + (values[index] as ReferenceArray).data[i]! / accumulate))
    lookups.forEach(({ variable, padding }, index) => {
      const rows = touched[own.indexOf(variable)]
      for (const id of (values[parameters.length + index] as ReferenceArray).data) if (id !== padding) rows?.add(id)
    })
    if ((step + 1) % accumulate !== 0) return
    const norm = Math.sqrt(sums.reduce((total, sum) => total + sum.reduce((all, x) => all + x * x, 0), 0))
    const factor = clipNorm === undefined ? 1 : Math.min(1, clipNorm / (norm + 1e-6))
    for (const [group, updates] of states) {
      group.parameters.forEach((parameter, position) => {
        const index = parameters.indexOf(parameter)
        const variable = own[index] as Variable
        const before = variables.get(variable) as ReferenceArray
        const gradient = (sums[index] as Float64Array).map((x) => x * factor)
        const rows = variable.sparse ? [...(touched[index] as Set<number>)] : null
        const data = (updates[position] as (typeof updates)[number])(before, gradient, rows)
        variables.set(variable, { ...before, data: noise ? data.map((x) => roundedOrMarked(x, noise.mode)) : data })
      })
    }
    sums = sums.map((sum) => sum.fill(0))
    touched = touched.map(() => new Set())
  })
  return variables
}

/** Marks stay marks: a rule that decays an infinite parameter by 0 would make NaN of it in every sample. */
const roundedOrMarked = (x: number, mode: NoiseMode): number => (Number.isFinite(x) ? Math.fround(x) : markOf(mode))

/** What the loss takes from sparse tables: a lookup of which only the order counts brings no gradient, and no row. */
function lookupsOf(
  loss: Tensor,
  parameters: readonly Tensor[],
): { readonly variable: Variable; readonly ids: Value; readonly padding: unknown }[] {
  const tables = parameters.filter((parameter) => variableOf(parameter)?.sparse)
  const keys = new Set(tables.map(({ value }) => valueKey(value)))
  const { lookups } = backward([loss], [scalar(1)], parameters, keys)
  return tables.flatMap((table) =>
    (lookups.get(valueKey(table.value)) ?? []).map(({ ids, attributes }) => ({
      variable: variableOf(table) as Variable,
      ids: ids.value,
      padding: attributes.paddingIndex,
    })),
  )
}
