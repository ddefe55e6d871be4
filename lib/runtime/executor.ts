/** Executors: teams of native threads with a queue of jobs. */
import { KairosError } from '../core/errors.js'
import type { AddonDescription, CpuVariant, DeviceKind, ExecutorHandle } from './addon.js'
import { loadAddon } from './loader.js'
import { awaitNative, callNative } from './nativeError.js'
import { Program } from './program.js'

export type MatmulEngine = 'own' | 'onednn' | 'auto'
export type Precision = 'float32' | 'tf32' | 'bfloat16'

export interface ExecutorOptions {
  /** Default: every core that this process may use, at most KAIROS_THREADS. */
  readonly threads?: number | undefined
  /** Default: the best that this machine runs, at most KAIROS_CPU. */
  readonly variant?: CpuVariant | undefined
  readonly matmul?: MatmulEngine | undefined
  /** Default: KAIROS_DEVICE, or cpu. On another device the threads and variant are of no account. */
  readonly device?: DeviceKind | undefined
  /**
   * What a GPU multiplies matrices in: operands are rounded to it on their way into the tensor cores, and everything
   * else (memory, sums, parameters, optimiser state, losses) stays float32. Default: float32, on the ordinary units.
   * The cpu has float32 alone.
   */
  readonly precision?: Precision | undefined
}

/** Asked once: the processor does not change, and KAIROS_CPU is read when the process starts to use it. */
let description: AddonDescription | undefined

/** What this build and this machine offer. */
export function describe(): AddonDescription {
  description ??= callNative(() => loadAddon().describe())
  return description
}

/** The variants of this machine that are no better than `cap`, best last. */
export function variantsUpTo(cap: CpuVariant): readonly CpuVariant[] {
  const order: readonly CpuVariant[] = ['baseline', 'avx2', 'avx512']
  return describe().cpu.variants.filter((variant) => order.indexOf(variant) <= order.indexOf(cap))
}

function defaultThreads(): number {
  const { cores } = describe().cpu
  const cap = process.env.KAIROS_THREADS
  if (!cap) return cores
  if (/^[1-9]\d{0,3}$/.test(cap)) return Math.min(cores, Number(cap))
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'environment',
    argument: 'KAIROS_THREADS',
    expected: 'a number from 1 to 9999',
    got: `'${cap}'`,
  })
}

function defaultDevice(): DeviceKind {
  const device = process.env.KAIROS_DEVICE || 'cpu'
  if (device === 'cpu' || device === 'cuda' || device === 'emulated') return device
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'environment',
    argument: 'KAIROS_DEVICE',
    expected: 'cpu or cuda',
    got: `'${device}'`,
  })
}

/**
 * Runs programs, one after another, off the event loop. An idle executor does not keep the process alive; a promise
 * that waits for one does. Executors times threads should not exceed the cores.
 */
export class Executor {
  readonly threads: number
  readonly variant: CpuVariant
  readonly device: DeviceKind
  readonly precision: Precision
  /** @internal */
  readonly handle: ExecutorHandle
  private closing: Promise<void> | undefined

  constructor({ threads, variant, matmul = 'auto', device = defaultDevice(), precision }: ExecutorOptions = {}) {
    this.device = device
    this.precision = precision ?? 'float32'
    this.threads = device === 'cpu' ? (threads ?? defaultThreads()) : 1
    this.variant = variant ?? (describe().cpu.variants.at(-1) as CpuVariant)
    const options = { threads: this.threads, variant: this.variant, matmul, device, precision: this.precision }
    this.handle = callNative(() => loadAddon().createExecutor(options))
  }

  /** Names of the kernels that its device has. */
  get kernels(): readonly string[] {
    return callNative(() => loadAddon().executorKernels(this.handle))
  }

  get closed(): boolean {
    return this.closing !== undefined
  }

  /** Checks a whole program file. Throws KAIROS_PROGRAM_FILE, naming the part and the byte. */
  async loadProgram(bytes: Uint8Array): Promise<Program> {
    return new Program(this, await awaitNative(() => loadAddon().loadProgram(this.handle, bytes)))
  }

  /** Resolves when queued work is done and the threads have ended. Later calls are refused with KAIROS_CLOSED. */
  close(): Promise<void> {
    this.closing ??= awaitNative(() => loadAddon().closeExecutor(this.handle))
    return this.closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const shared = new Map<DeviceKind, Executor>()

/**
 * The executor of a device, made by the first call, and again after it was closed. Throws KAIROS_UNSUPPORTED, saying
 * why, where there is no such device.
 */
export function device(kind: DeviceKind): Executor {
  let executor = shared.get(kind)
  if (!executor || executor.closed) {
    executor = new Executor({ device: kind })
    shared.set(kind, executor)
  }
  return executor
}

/** The executor used where none is named: KAIROS_DEVICE's, or the processor's. */
export function defaultExecutor(): Executor {
  return device(defaultDevice())
}
