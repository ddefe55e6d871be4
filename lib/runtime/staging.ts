/** Staging: a ring of native feed buffers that a loader fills in place. */
import { evaluateDim, type Shape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { NativeArray, RunRequest, StagingHandle } from './addon.js'
import { loadAddon } from './loader.js'
import { callNative, disposed } from './nativeError.js'

type Counts = Readonly<Record<string, number>>

export interface StagedInput {
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}

interface Acquired {
  readonly slot: number
  readonly buffers: readonly ArrayBuffer[]
}

interface Waiter {
  readonly resolve: (acquired: Acquired) => void
  readonly reject: (error: unknown) => void
}

const views = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

const elementsOf = ({ shape }: StagedInput, counts: Counts): number =>
  shape.reduce<number>((product, dim) => product * evaluateDim(dim, counts), 1)

/** A slot of a staging ring: fill `views`, then give the lease to one run, which takes it. */
export class Lease {
  private taken = false

  /** @internal Use `staging.lease`. */
  constructor(
    readonly staging: Staging,
    /** Live counts that the views are sized for. */
    readonly counts: Counts,
    /** One array per input, over native memory; detached by the run. Contents are what the last user left. */
    readonly views: Readonly<Record<string, NativeArray>>,
    private readonly slot: number,
  ) {}

  get names(): readonly string[] {
    return Object.keys(this.views)
  }

  /** What the ring was made for. */
  get capacities(): Counts {
    return this.staging.capacities
  }

  /** Gives the slot back unused. Does nothing after a run took it. */
  release(): void {
    if (this.taken) return
    this.taken = true
    this.staging.release(this.slot)
  }

  /** @internal Hands the slot to a run. */
  take(): NonNullable<RunRequest['leased']> {
    if (this.taken) {
      throw new KairosError('KAIROS_DETACHED', {
        op: 'run',
        argument: 'the lease',
        expected: 'one that no run has taken',
        got: 'one that was used or released',
        hint: 'Lease a new batch for every run',
      })
    }
    this.taken = true
    return { staging: this.staging.handleFor('run'), slot: this.slot }
  }
}

export class Staging {
  private live: StagingHandle | undefined
  private readonly waiting: Waiter[] = []

  constructor(
    private readonly inputs: readonly StagedInput[],
    readonly capacities: Counts,
    slots = 3,
  ) {
    const entries = inputs.map((input) => ({
      name: input.name,
      dtype: input.dtype,
      capacity: elementsOf(input, capacities),
    }))
    this.live = callNative(() => loadAddon().createStaging(entries, slots))
  }

  /** A free slot with views for `counts`; waits, in order, while all are in use. */
  async lease(counts: Counts = this.capacities): Promise<Lease> {
    for (const [symbol, capacity] of Object.entries(this.capacities)) {
      if ((counts[symbol] ?? 0) > capacity) {
        throw new KairosError('KAIROS_SHAPE', {
          op: 'lease',
          argument: `counts.${symbol}`,
          expected: `at most ${capacity}, the capacity of the ring`,
          got: `${counts[symbol]}`,
        })
      }
    }
    const { slot, buffers } =
      this.tryAcquire() ?? (await new Promise<Acquired>((resolve, reject) => this.waiting.push({ resolve, reject })))
    const named = this.inputs.map((input, index) => [
      input.name,
      new views[input.dtype](buffers[index] as ArrayBuffer, 0, elementsOf(input, counts)),
    ])
    return new Lease(this, counts, Object.fromEntries(named), slot)
  }

  private tryAcquire(): Acquired | null {
    const handle = this.handleFor('lease')
    return callNative(() => loadAddon().acquireStaging(handle))
  }

  /** @internal */
  release(slot: number): void {
    if (!this.live) return
    const handle = this.live
    callNative(() => loadAddon().releaseStaging(handle, slot))
    this.slotFreed()
  }

  /** @internal A slot has become free: it goes to whoever has waited longest. */
  slotFreed(): void {
    const next = this.live && this.waiting.length > 0 ? this.tryAcquire() : null
    if (next) this.waiting.shift()?.resolve(next)
  }

  /** @internal */
  handleFor(op: string): StagingHandle {
    if (!this.live) throw disposed(op, 'the staging ring')
    return this.live
  }

  [Symbol.dispose](): void {
    if (this.live) loadAddon().dispose(this.live)
    this.live = undefined
    for (const { reject } of this.waiting.splice(0)) reject(disposed('lease', 'the staging ring'))
  }
}
