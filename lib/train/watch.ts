/** Which evaluation was the best so far, and how long ago. */
import { KairosError } from '../core/errors.js'

export interface WatchOptions {
  /** Name among what `evaluate` gives. */
  readonly metric: string
  /** Whether greater or smaller is better. Default: 'max'. */
  readonly direction?: 'max' | 'min'
  /** Evaluations without a better one before training ends. Default: no end. */
  readonly patience?: number
}

export interface Best {
  readonly value: number
  readonly epoch: number
  readonly step: number
}

export class Watch {
  best: Best | null = null
  /** Evaluations since the best one. */
  stale = 0

  constructor(private readonly options: WatchOptions) {}

  /** True when it beats all before it; a tie and NaN do not. */
  observe(metrics: Readonly<Record<string, number>>, epoch: number, step: number): boolean {
    const { metric, direction = 'max' } = this.options
    const value = metrics[metric]
    if (value === undefined) {
      throw new KairosError('KAIROS_UNKNOWN_NAME', {
        op: 'fitLoop',
        argument: 'watch.metric',
        expected: `one of ${Object.keys(metrics).join(', ') || 'no metrics at all'}`,
        got: `'${metric}'`,
      })
    }
    const better =
      !Number.isNaN(value) &&
      (this.best === null || (direction === 'max' ? value > this.best.value : value < this.best.value))
    if (better) this.best = { value, epoch, step }
    this.stale = better ? 0 : this.stale + 1
    return better
  }

  get exhausted(): boolean {
    return this.stale >= (this.options.patience ?? Number.POSITIVE_INFINITY)
  }

  save() {
    return { best: this.best && { ...this.best }, stale: this.stale }
  }

  restore({ best, stale }: ReturnType<Watch['save']>): void {
    this.best = best
    this.stale = stale
  }
}
