/**
 * A lowered program and its bindings: the one way from a graph to results. `compile` and `tensor.data()` both stand
 * on it.
 */

import { type Shape, symbolsOf } from '../core/dim.js'
import { type DType, dtypeOfArray } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import {
  type BindOptions,
  callSiteOf,
  defaultExecutor,
  type Executable,
  type Executor,
  type Lease,
  type NativeArray,
  type Program,
  type RunResult,
  type Store,
  thrownAt,
} from '../runtime/index.js'
import { computedSymbols } from './computed.js'
import { type Counts, growCapacities, inferCounts } from './counts.js'
import { encode, storeSlots } from './encode.js'
import { type Leaf, type Node, type StoreSlot, specOf } from './node.js'
import { type LowerOptions, lower } from './passes.js'
import type { Plan } from './plan.js'
import type { TraceRequest } from './trace.js'

export type Feed = NativeArray | number
export type Stores = Partial<Readonly<Record<StoreSlot, Store>>>

export interface RunnerOptions extends BindOptions, LowerOptions {
  readonly executor?: Executor
}

export interface RunnerRequest {
  readonly feeds?: Readonly<Record<string, Feed>>
  /** A leased batch: its views are taken, and detached, by the run. */
  readonly lease?: Lease
  readonly stores?: Stores
  readonly counts?: Counts
  /** Least capacities to bind. */
  readonly capacities?: Counts
  readonly requireFinite?: readonly string[]
}

/** Bindings kept per program: one per growth step is plenty. */
const KEPT_BINDINGS = 4

/** An input of a program. */
export interface ProgramInput {
  readonly name: string
  readonly node: Node
  readonly dtype: DType
  readonly shape: Shape
  /** What feeds it where nobody does. */
  readonly otherwise: number | undefined
}

export class GraphRunner {
  readonly plan: Plan
  readonly inputs: readonly ProgramInput[]
  readonly symbols: readonly string[]
  private readonly names: ReadonlySet<string>
  private readonly bytes: Uint8Array
  private readonly bindings = new Map<string, Promise<Executable>>()
  private readonly options: RunnerOptions
  private ready: { readonly capacities: Counts; readonly executable: Executable } | null = null
  private program: Promise<Program> | null = null
  private capacities: Counts | null = null
  /** Runs go to the executor in the order of their calls, bindings included. */
  private submitted: Promise<unknown> = Promise.resolve()
  private waiting = 0

  constructor(request: TraceRequest | TraceRequest['outputs'], options: RunnerOptions = {}) {
    this.options = options
    this.plan = lower(isRequest(request) ? request : { outputs: request }, options)
    this.bytes = encode(this.plan)
    const { nodes } = this.plan.graph
    this.inputs = nodes.filter(isInput).map((node) => {
      const { name, otherwise } = node.leaf
      return { name, node, ...specOf({ node, index: 0 }), otherwise }
    })
    this.names = new Set(this.inputs.map(({ name }) => name))
    const computed = new Set(computedSymbols(nodes).map(({ symbol }) => symbol))
    const symbols = symbolsOf(this.plan.buffers.flatMap(({ value }) => specOf(value).shape))
    this.symbols = symbols.filter((symbol) => !computed.has(symbol))
  }

  get executor(): Executor {
    return this.options.executor ?? defaultExecutor()
  }

  /** The program file: what checkpoints store and servers load. */
  get programFile(): Uint8Array {
    return this.bytes.slice()
  }

  /**
   * Runs once. Feeds are copied, or a lease is taken, before the call returns; the promise settles from the
   * executor's threads.
   */
  run(request: RunnerRequest): Promise<RunResult> {
    try {
      return this.submit(request)
    } catch (error) {
      // Refused before the lease was taken: its slot must not stay in use.
      request.lease?.release()
      throw error
    }
  }

  private submit(request: RunnerRequest): Promise<RunResult> {
    const { feeds, lengths } = this.collectFeeds(request)
    const counts = inferCounts(this.inputs, lengths, this.symbols, { ...request.lease?.counts, ...request.counts })
    const capacities = growCapacities(this.capacities, counts, { ...request.lease?.capacities, ...request.capacities })
    this.capacities = capacities
    const start = (executable: Executable, given: Readonly<Record<string, Feed>>) =>
      executable.run({
        counts,
        feeds: given,
        stores: storeSlots.map((slot) => request.stores?.[slot] ?? null),
        ...(request.lease ? { lease: request.lease } : {}),
        ...(request.requireFinite ? { requireFinite: request.requireFinite } : {}),
      })
    if (this.waiting === 0 && this.ready?.capacities === capacities) return start(this.ready.executable, feeds)

    // Something must be awaited first: the caller may reuse its arrays meanwhile, so they are copied now.
    const copies = Object.fromEntries(
      Object.entries(feeds).map(([name, feed]) => [name, typeof feed === 'number' ? feed : feed.slice()]),
    )
    this.waiting++
    const executable = this.submitted.then(() => this.bind(capacities))
    const result = executable.then((bound) => submitted(start(bound, copies)))
    this.submitted = result.then(
      () => this.waiting--,
      () => this.waiting--,
    )
    const callSite = callSiteOf(this.run)
    return result
      .then(({ promise }) => promise)
      .catch((error: unknown) => {
        request.lease?.release()
        throw thrownAt(error, callSite)
      })
  }

  /** Whether the program has an input of this name. */
  reads(name: string): boolean {
    return this.names.has(name)
  }

  /** Loads and binds ahead of the first run. */
  async prepare(capacities: Counts): Promise<Executable> {
    return this.bind(capacities)
  }

  private async bind(capacities: Counts): Promise<Executable> {
    const key = JSON.stringify(capacities)
    this.program ??= this.executor.loadProgram(this.bytes)
    const program = await this.program
    const executable = await (this.bindings.get(key) ?? this.newBinding(program, key, capacities))
    this.ready = { capacities, executable }
    return executable
  }

  private newBinding(program: Program, key: string, capacities: Counts): Promise<Executable> {
    const { poison = false, profile = false } = this.options
    const binding = program.bind(capacities, { poison, profile })
    this.bindings.set(key, binding)
    // A failed binding is forgotten, so that the next run may try again.
    binding.catch(() => this.bindings.delete(key))
    if (this.bindings.size > KEPT_BINDINGS) this.bindings.delete(this.bindings.keys().next().value as string)
    return binding
  }

  private collectFeeds({ feeds = {}, lease }: RunnerRequest) {
    const given: Record<string, Feed> = {}
    const lengths: Record<string, number> = {}
    for (const { name, dtype, shape, otherwise } of this.inputs) {
      if (lease && name in lease.views) continue
      const feed = feeds[name] ?? otherwise
      if (feed === undefined) throw this.missing(name, feeds)
      if (typeof feed === 'number') {
        if (shape.length > 0) throw wrongFeed(name, `${dtype} array of shape [${shape.join(', ')}]`, 'a number')
      } else if (dtypeOfArray(feed) !== dtype) {
        throw wrongFeed(name, `dtype ${dtype}`, dtypeOfArray(feed) ?? Object.prototype.toString.call(feed).slice(8, -1))
      } else lengths[name] = feed.length
      given[name] = feed
    }
    for (const name of Object.keys(feeds)) {
      if (this.names.has(name)) continue
      throw new KairosError('KAIROS_UNKNOWN_NAME', {
        op: 'run',
        argument: `feeds.${name}`,
        expected: `one of ${this.inputs.map((known) => `'${known.name}'`).join(', ') || 'no feeds at all'}`,
        got: `'${name}'`,
      })
    }
    return { feeds: given, lengths }
  }

  private missing(name: string, feeds: Readonly<Record<string, Feed>>): KairosError {
    return new KairosError('KAIROS_MISSING', {
      op: 'run',
      argument: `feeds.${name}`,
      expected: 'an array or a number',
      got: 'nothing',
      hint: `Given were: ${Object.keys(feeds).join(', ') || 'none'}`,
    })
  }
}

/** Boxes a promise, so that waiting for the submission does not wait for the run. */
const submitted = <T>(promise: Promise<T>): { readonly promise: Promise<T> } => {
  promise.catch(() => undefined)
  return { promise }
}

const wrongFeed = (name: string, expected: string, got: string) =>
  new KairosError('KAIROS_DTYPE', { op: 'run', argument: `feeds.${name}`, expected, got })

const isInput = (node: Node): node is Node & { leaf: Extract<Leaf, { kind: 'input' }> } => node.leaf?.kind === 'input'

const isRequest = (request: TraceRequest | TraceRequest['outputs']): request is TraceRequest =>
  'outputs' in request && !('value' in request.outputs)
