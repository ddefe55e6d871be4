/** Programs, loaded and checked, and their bindings to sizes. */
import { KairosError } from '../core/errors.js'
import type {
  BindOptions,
  ExecutableDescription,
  ExecutableHandle,
  NativeArray,
  ProgramDescription,
  ProgramHandle,
  RunRequest,
  RunResult,
} from './addon.js'
import type { Executor } from './executor.js'
import { loadAddon } from './loader.js'
import { awaitNative, callNative, callSiteOf, disposed } from './nativeError.js'
import type { Lease } from './staging.js'
import type { Store } from './store.js'

/** A validated program file. */
export class Program {
  readonly description: ProgramDescription
  private readonly names: ReadonlySet<string>
  private live: ProgramHandle | undefined

  /** @internal Use `executor.loadProgram`. */
  constructor(
    readonly executor: Executor,
    handle: ProgramHandle,
  ) {
    this.live = handle
    this.description = callNative(() => loadAddon().describeProgram(handle))
    this.names = new Set(this.description.inputs.map(({ name }) => name))
  }

  /** Plans memory and prepares kernels for up to `capacities` of each symbol. */
  async bind(capacities: Readonly<Record<string, number>>, options: BindOptions = {}): Promise<Executable> {
    const program = this.live
    if (!program) throw disposed('bind', 'the program')
    const handle = await awaitNative(() => loadAddon().bind(this.executor.handle, program, capacities, options))
    return new Executable(this, capacities, handle)
  }

  /** @internal Feeds by the order of inputs: the border reads no names. A lease goes back where one is not known. */
  inOrder(feeds: NonNullable<RunOptions['feeds']>, lease?: Lease): RunRequest['feeds'] {
    const unknown = Object.keys(feeds).find((name) => !this.names.has(name))
    if (unknown !== undefined) {
      lease?.release()
      throw new KairosError('KAIROS_UNKNOWN_NAME', {
        op: 'run',
        argument: 'feeds',
        expected: `inputs of the program: ${[...this.names].join(', ') || 'none'}`,
        got: `'${unknown}'`,
      })
    }
    return this.description.inputs.map(({ name }) => (Object.hasOwn(feeds, name) ? feeds[name] : undefined))
  }

  [Symbol.dispose](): void {
    if (this.live) loadAddon().dispose(this.live)
    this.live = undefined
  }
}

export interface RunOptions {
  /** Live count of every symbol: 0 .. capacity. */
  readonly counts: Readonly<Record<string, number>>
  /** Arrays are copied before `run` returns; a number feeds a rank-0 input. */
  readonly feeds?: Readonly<Record<string, NativeArray | number>>
  /** A leased batch: its views are detached at once, and its slot is free when the run ends, however it ends. */
  readonly lease?: Lease
  /** One per store slot of the program, in its order; null where the program has no state in that slot. */
  readonly stores?: readonly (Store | null)[]
  /** Names of outputs that must be finite, or the step changes nothing. */
  readonly requireFinite?: readonly string[]
}

/** A program bound to capacities. Runs are queued and take place one at a time. */
export class Executable {
  readonly description: ExecutableDescription
  private live: ExecutableHandle | undefined

  /** @internal Use `program.bind`. */
  constructor(
    readonly program: Program,
    readonly capacities: Readonly<Record<string, number>>,
    handle: ExecutableHandle,
  ) {
    this.live = handle
    this.description = callNative(() => loadAddon().describeExecutable(handle))
  }

  /**
   * One step: forward, and whatever the program updates. A step that fails changes no bit of any store.
   *
   * Throws KAIROS_ID_RANGE, KAIROS_SHAPE, KAIROS_NON_FINITE and their kin, naming the feed, store or output.
   */
  async run(options: RunOptions): Promise<RunResult> {
    const callSite = callSiteOf(this.run)
    const { executor, executable, request } = this.take(options)
    try {
      return await awaitNative(() => loadAddon().run(executor.handle, executable, request), callSite)
    } finally {
      options.lease?.staging.slotFreed()
    }
  }

  /** @internal The same on the calling thread, to show what blocking looks like. */
  runBlocking(options: RunOptions): RunResult {
    const { executor, executable, request } = this.take(options)
    try {
      return callNative(() => loadAddon().runBlocking(executor.handle, executable, request))
    } finally {
      options.lease?.staging.slotFreed()
    }
  }

  [Symbol.dispose](): void {
    if (this.live) loadAddon().dispose(this.live)
    this.live = undefined
  }

  private take({ counts, feeds = {}, lease, stores = [], requireFinite = [] }: RunOptions) {
    if (!this.live) throw disposed('run', 'the executable')
    const handles = stores.map((store) => store?.handleFor('run') ?? null)
    const request: RunRequest = {
      counts,
      feeds: this.program.inOrder(feeds, lease),
      stores: handles,
      requireFinite,
      ...(lease && { leased: lease.take() }),
    }
    return { executor: this.program.executor, executable: this.live, request }
  }
}
