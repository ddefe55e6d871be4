/** Parameter sets, optimiser state and other state: native buffers by name that outlive a run. */
import { bytesOf } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { NativeArray, StoreEntry, StoreHandle } from './addon.js'
import { defaultExecutor, type Executor } from './executor.js'
import { loadAddon } from './loader.js'
import { awaitNative, callNative, disposed } from './nativeError.js'

/** What a store holds under one name. */
export type Entry = Omit<StoreEntry, 'data'>

/** What is common to the three kinds. Work on values happens on an executor's thread, in the order of its queue. */
export abstract class Store {
  abstract readonly kind: 'parameters' | 'optimizer' | 'state'
  readonly entries: readonly Entry[]
  private live: StoreHandle | undefined

  /** @internal Use `create`. */
  constructor(handle: StoreHandle) {
    this.live = handle
    this.entries = callNative(() => loadAddon().storeEntries(handle))
  }

  /** Bytes of all entries; clones share them until one side is written. */
  get bytes(): number {
    const sizes = this.entries.map(({ dtype, shape }) =>
      shape.reduce((product, size) => product * size, bytesOf[dtype]),
    )
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  /** The same values under a handle of its own: cheap, since buffers are shared until one side is written. */
  async clone(executor: Executor = defaultExecutor()): Promise<this> {
    const handle = this.handleFor('clone')
    const copy = await awaitNative(() => loadAddon().cloneStore(executor.handle, handle))
    return new (this.constructor as new (handle: StoreHandle) => this)(copy)
  }

  /** Copies of the named entries, or of all. */
  async read(
    names: readonly string[] = this.entries.map(({ name }) => name),
    executor: Executor = defaultExecutor(),
  ): Promise<Record<string, NativeArray>> {
    const handle = this.handleFor('read')
    const arrays = await awaitNative(() => loadAddon().readStore(executor.handle, handle, names))
    return Object.fromEntries(names.map((name, index) => [name, arrays[index] as NativeArray]))
  }

  /** Replaces the named entries. Values are copied before the call returns. */
  async write(values: Readonly<Record<string, NativeArray>>, executor: Executor = defaultExecutor()): Promise<void> {
    const handle = this.handleFor('write')
    await awaitNative(() => loadAddon().writeStore(executor.handle, handle, values))
  }

  /** A copy of elements [begin, end) of an entry, in row-major order: large tables are saved piece by piece. */
  async readRange(
    name: string,
    begin: number,
    end: number,
    executor: Executor = defaultExecutor(),
  ): Promise<NativeArray> {
    const handle = this.handleFor('readRange')
    return awaitNative(() => loadAddon().readStoreRange(executor.handle, handle, name, begin, end))
  }

  /** Replaces the elements of an entry from `begin` on. Values are copied before the call returns. */
  async writeRange(
    name: string,
    begin: number,
    values: NativeArray,
    executor: Executor = defaultExecutor(),
  ): Promise<void> {
    const handle = this.handleFor('writeRange')
    const end = begin + values.length
    await awaitNative(() => loadAddon().writeStoreRange(executor.handle, handle, name, begin, end, values))
  }

  /**
   * Becomes the sum of weights[i] * stores[i], over float32 entries; others are those of the first store. May be among
   * the stores itself, as in a moving average: `ema.average([ema, model], [0.99, 0.01])`.
   */
  async average(
    stores: readonly this[],
    weights: readonly number[] = stores.map(() => 1 / stores.length),
    executor: Executor = defaultExecutor(),
  ): Promise<void> {
    const target = this.handleFor('average')
    const handles = stores.map((store) => store.handleFor('average'))
    await awaitNative(() => loadAddon().averageStores(executor.handle, target, handles, weights))
  }

  /** @internal The native handle, or KAIROS_DISPOSED. */
  handleFor(op: string): StoreHandle {
    if (!this.live) throw disposed(op, `the ${this.kind}`)
    return this.live
  }

  /** Gives the memory back, once work in flight is done with it. */
  [Symbol.dispose](): void {
    if (this.live) loadAddon().dispose(this.live)
    this.live = undefined
  }
}

function create(entries: readonly StoreEntry[]): StoreHandle {
  if (!Array.isArray(entries))
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'create',
      argument: 'entries',
      expected: 'an array',
      got: typeof entries,
    })
  return callNative(() => loadAddon().createStore(entries))
}

/** The trainable values of a model. */
export class ParameterSet extends Store {
  readonly kind = 'parameters'
  static create(entries: readonly StoreEntry[]): ParameterSet {
    return new ParameterSet(create(entries))
  }
}

/** What an optimiser remembers between steps. */
export class OptimizerState extends Store {
  readonly kind = 'optimizer'
  static create(entries: readonly StoreEntry[]): OptimizerState {
    return new OptimizerState(create(entries))
  }
}

/** Values that programs assign: codebooks, running moments, averages. */
export class State extends Store {
  readonly kind = 'state'
  static create(entries: readonly StoreEntry[]): State {
    return new State(create(entries))
  }
}
