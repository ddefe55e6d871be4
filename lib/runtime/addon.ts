/**
 * The native module's contract, written by hand: `native/napi` implements it, the rest of `lib` imports only this.
 *
 * Every promise settles from the executor's own threads; nothing here blocks the event loop or uses libuv's pool.
 * Every refusal is an Error with `code`, `op`, `argument`, `expected`, `got` and `hint` properties (see core/errors).
 */
import type { DType } from '../core/dtype.js'

declare const tag: unique symbol
interface Handle<Name extends string> {
  readonly [tag]: Name
}

/** A team of threads with a queue of jobs, run in order. */
export type ExecutorHandle = Handle<'executor'>
/** A validated program file. */
export type ProgramHandle = Handle<'program'>
/** A program bound to capacities: arena, prepared kernels. */
export type ExecutableHandle = Handle<'executable'>
/** Named buffers that outlive a run: parameters, optimiser state, other state. Buffers are shared until written. */
export type StoreHandle = Handle<'store'>
/** A ring of native feed buffers. */
export type StagingHandle = Handle<'staging'>

/** Where programs run. `emulated` is a GPU that tests pretend to have. */
export type DeviceKind = 'cpu' | 'cuda' | 'emulated'
export type CpuVariant = 'baseline' | 'avx2' | 'avx512'
export type NativeArray = Float32Array | Int32Array | Uint8Array

export interface AddonDescription {
  readonly version: string
  readonly cpu: {
    readonly name: string
    readonly cores: number
    /** Variants that this machine can run, best last; KAIROS_CPU caps it. */
    readonly variants: readonly CpuVariant[]
  }
  readonly cuda: {
    readonly available: boolean
    readonly reason: string
    /** Of the runtime inside the addon, and the newest that the driver serves; absent without. */
    readonly runtime?: string
    readonly driver?: string
    readonly gpus: readonly {
      readonly name: string
      readonly bytes: number
      readonly capability: string
      readonly multiprocessors: number
    }[]
    /** `reason` is the version where it was found. */
    readonly cublasLt: { readonly available: boolean; readonly reason: string }
  }
  readonly oneDnn: { readonly available: boolean; readonly reason: string }
  readonly kernels: readonly string[]
}

export interface StoreEntry {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Copied; zeros when absent. */
  readonly data?: NativeArray
}

export interface StagingEntry {
  readonly name: string
  readonly dtype: DType
  /** Elements. */
  readonly capacity: number
}

export interface ProgramDescription {
  readonly symbols: readonly string[]
  readonly inputs: readonly { readonly name: string; readonly dtype: DType; readonly rank: number }[]
  readonly outputs: readonly { readonly name: string; readonly dtype: DType; readonly rank: number }[]
  /** Names of the store slots, in the order in which a run gives stores. */
  readonly stores: readonly string[]
  readonly steps: readonly { readonly op: string; readonly source: string }[]
}

export interface BindOptions {
  /** Fill the arena, outputs and unused tails with NaN before each run: for tests. */
  readonly poison?: boolean
  /** Report nanoseconds per step. */
  readonly profile?: boolean
}

export interface ExecutableDescription {
  /** Bytes of the arena that temporaries share, and their sum if nothing were shared. */
  readonly arenaBytes: number
  readonly temporaryBytes: number
  readonly scratchBytes: number
  readonly constantBytes: number
  /** What kernels keep from run to run: weights in the order in which products read them. */
  readonly keptBytes: number
}

export interface RunRequest {
  /** Live count of every symbol: 0 .. capacity. */
  readonly counts: Readonly<Record<string, number>>
  /** Arrays are copied before `run` returns; a number feeds a rank-0 input. */
  /** In the order of the program's inputs; undefined where a leased slot has it, or nobody. */
  readonly feeds: readonly (NativeArray | number | undefined)[]
  /**
   * Feeds that live in a leased staging slot. Its ArrayBuffers are detached at once; it is free again when the run
   * has ended or was refused. Entries that the program has no input for are passed over.
   */
  readonly leased?: { readonly staging: StagingHandle; readonly slot: number }
  /** One per store slot of the program, in its order; null where the program has no state in that slot. */
  readonly stores: readonly (StoreHandle | null)[]
  /** Names of outputs that must be finite, or the step changes nothing and fails with KAIROS_NON_FINITE. */
  readonly requireFinite?: readonly string[]
}

export interface RunResult {
  readonly outputs: Readonly<Record<string, { readonly data: NativeArray; readonly shape: readonly number[] }>>
  readonly milliseconds: number
  /** Nanoseconds per step when bound with `profile`. */
  readonly profile?: Float64Array
}

export interface Addon {
  describe(): AddonDescription

  /** Lets go of what a handle holds, once work in flight is done with it. Not for executors: close those. */
  dispose(handle: ProgramHandle | ExecutableHandle | StoreHandle | StagingHandle): void

  createExecutor(options: {
    threads: number
    variant: CpuVariant
    matmul: 'own' | 'onednn' | 'auto'
    /** Default: cpu. */
    device?: DeviceKind
    /** Default: float32. */
    precision?: 'float32' | 'tf32' | 'bfloat16'
  }): ExecutorHandle
  /** Names of the kernels of its device. */
  executorKernels(executor: ExecutorHandle): readonly string[]
  /** Resolves after the queue has drained and the threads have ended. */
  closeExecutor(executor: ExecutorHandle): Promise<void>

  loadProgram(executor: ExecutorHandle, bytes: Uint8Array): Promise<ProgramHandle>
  describeProgram(program: ProgramHandle): ProgramDescription
  bind(
    executor: ExecutorHandle,
    program: ProgramHandle,
    capacities: Readonly<Record<string, number>>,
    options: BindOptions,
  ): Promise<ExecutableHandle>
  describeExecutable(executable: ExecutableHandle): ExecutableDescription
  run(executor: ExecutorHandle, executable: ExecutableHandle, request: RunRequest): Promise<RunResult>
  /** The same run on the calling thread: exists only so that a test can show what blocking looks like. */
  runBlocking(executor: ExecutorHandle, executable: ExecutableHandle, request: RunRequest): RunResult

  createStore(entries: readonly StoreEntry[]): StoreHandle
  storeEntries(store: StoreHandle): readonly StoreEntry[]
  /** Shares every buffer with the original until either is written. */
  cloneStore(executor: ExecutorHandle, store: StoreHandle): Promise<StoreHandle>
  readStore(executor: ExecutorHandle, store: StoreHandle, names: readonly string[]): Promise<NativeArray[]>
  writeStore(executor: ExecutorHandle, store: StoreHandle, values: Readonly<Record<string, NativeArray>>): Promise<void>
  /** A copy of elements [begin, end) of one entry. */
  readStoreRange(
    executor: ExecutorHandle,
    store: StoreHandle,
    name: string,
    begin: number,
    end: number,
  ): Promise<NativeArray>
  writeStoreRange(
    executor: ExecutorHandle,
    store: StoreHandle,
    name: string,
    begin: number,
    end: number,
    values: NativeArray,
  ): Promise<void>
  /** target = sum of weights[i] * stores[i] over float32 entries; other entries are copied from the first store. */
  averageStores(
    executor: ExecutorHandle,
    target: StoreHandle,
    stores: readonly StoreHandle[],
    weights: readonly number[],
  ): Promise<void>

  createStaging(entries: readonly StagingEntry[], slots: number): StagingHandle
  /** Takes a free slot, or answers null while all are in use. */
  acquireStaging(staging: StagingHandle): { slot: number; buffers: ArrayBuffer[] } | null
  /** Gives a slot back without running. */
  releaseStaging(staging: StagingHandle, slot: number): void
}
