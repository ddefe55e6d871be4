/**
 * Gradient accumulation: several batches count as one. One program runs forward and backward and adds the gradients up;
 * after the last of the batches another moves the parameters by the mean.
 */
import { arrayOf } from '../core/dtype.js'
import type { NativeArray, RunResult } from '../runtime/index.js'
import { variableName, variableOf } from './autodiff.js'
import { specOf, type Tensor, type Variable } from './node.js'
import { GraphRunner, type RunnerOptions, type RunnerRequest } from './runner.js'
import { KEEP, normName, partNames } from './training.js'
import type { Update } from './update.js'

/** A sparse table's rows of the steps so far. */
interface Pending {
  readonly slots: string
  readonly rows: string
  readonly parts: { readonly slots: NativeArray; readonly rows: NativeArray }[]
}

export class Accumulation {
  readonly runner: GraphRunner
  private readonly tables: readonly Pending[]
  /** Steps added up since the parameters moved. */
  private count = 0
  /** The moving of the parameters, while later steps wait for it. */
  private applying: Promise<unknown> | null = null

  constructor(
    updates: readonly Update<Tensor>[],
    private readonly steps: number,
    options: RunnerOptions,
  ) {
    const apply = updates.map((update) => ({ ...update, accumulation: { phase: 'apply' as const, steps } }))
    this.runner = new GraphRunner({ outputs: {}, updates: apply }, options)
    this.tables = updates.flatMap(({ name, groups }) =>
      groups.flatMap(({ parameters }) => {
        const variables = parameters.map((parameter) => variableOf(parameter) as Variable)
        const sparse = variables.filter((variable) => variable.sparse)
        return sparse.map((variable) => ({ ...partNames(name, variableName(variable)), parts: [] }))
      }),
    )
    this.norms = updates.filter(({ gradientNorm }) => gradientNorm).map(({ name }) => normName(name))
  }

  private readonly norms: readonly string[]

  /** Whether the last step moved the parameters: the moment for a checkpoint. */
  get settled(): boolean {
    return this.count === 0
  }

  /** One batch: `adder` runs forward and backward; the last of the steps moves the parameters as well. */
  async run(adder: GraphRunner, request: RunnerRequest): Promise<RunResult> {
    const first = this.count === 0
    const last = ++this.count === this.steps
    if (last) this.count = 0
    const finite = request.requireFinite ?? []
    const own = {
      ...request,
      feeds: this.feedsOf(adder, request),
      requireFinite: finite.filter((name) => !this.norms.includes(name)),
    }
    const { applying } = this
    const added = applying ? this.afterwards(applying, adder, own, first) : adder.run(withKeep(adder, own, first))
    const step = added.then((result) => this.take(result, first))
    if (!last) return step
    const moved = step.then((result) => this.apply(request, finite, result))
    this.applying = moved.catch(() => undefined).then(() => (this.applying = null))
    return moved
  }

  /** Feeds without those that only the moving of the parameters reads: rates. */
  private feedsOf(adder: GraphRunner, { feeds = {} }: RunnerRequest) {
    const known = (runner: GraphRunner, name: string) => runner.inputs.some((one) => one.name === name)
    return Object.fromEntries(Object.entries(feeds).filter(([name]) => known(adder, name) || !known(this.runner, name)))
  }

  /** The parameters must have moved before the next window begins; the caller may reuse its arrays meanwhile. */
  private async afterwards(applying: Promise<unknown>, adder: GraphRunner, request: RunnerRequest, first: boolean) {
    const feeds = Object.fromEntries(
      Object.entries(request.feeds ?? {}).map(([name, feed]) => [name, typeof feed === 'number' ? feed : feed.slice()]),
    )
    await applying
    return adder.run(withKeep(adder, { ...request, feeds }, first))
  }

  private take(result: RunResult, first: boolean): RunResult {
    const outputs = { ...result.outputs }
    for (const { slots, rows, parts } of this.tables) {
      if (first) parts.length = 0
      parts.push({ slots: outputs[slots]?.data as NativeArray, rows: outputs[rows]?.data as NativeArray })
      delete outputs[slots]
      delete outputs[rows]
    }
    return { ...result, outputs }
  }

  private async apply(request: RunnerRequest, finite: readonly string[], result: RunResult): Promise<RunResult> {
    const known = new Set(this.runner.inputs.map(({ name }) => name))
    const feeds: Record<string, NativeArray | number> = Object.fromEntries(
      Object.entries(request.feeds ?? {}).filter(([name]) => known.has(name)),
    )
    for (const { slots, rows, parts } of this.tables) {
      feeds[slots] = joined(parts.map((part) => part.slots))
      feeds[rows] = joined(parts.map((part) => part.rows))
      parts.length = 0
    }
    const requireFinite = finite.filter((name) => this.norms.includes(name))
    const { outputs } = await this.runner.run({ feeds, stores: request.stores ?? {}, requireFinite })
    return { ...result, outputs: { ...result.outputs, ...outputs } }
  }
}

const withKeep = (adder: GraphRunner, request: RunnerRequest, first: boolean): RunnerRequest =>
  adder.inputs.some(({ name }) => name === KEEP)
    ? { ...request, feeds: { ...request.feeds, [KEEP]: first ? 0 : 1 } }
    : request

function joined(parts: readonly NativeArray[]): NativeArray {
  const all = arrayOf(
    parts[0] instanceof Float32Array ? 'float32' : 'int32',
    parts.reduce((sum, { length }) => sum + length, 0),
  )
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Ranks of the results of both programs. */
export const resultRanks = (...runners: readonly GraphRunner[]): ReadonlyMap<string, number> =>
  new Map(
    runners.flatMap(({ plan }) =>
      plan.graph.outputs.map(({ name, value }) => [name, specOf(value).shape.length] as const),
    ),
  )
