/**
 * Learning rates over time. A schedule is a pure function from the step, counted from 0, to a rate: it has no state to
 * save, and resuming at a step gives that step's rate. Feed it: `program.step(batch, { lr: schedule(step) })`.
 *
 *     warmup(cosine({ peak: 1e-3, steps: 10_000 }), 500)
 */
import { requireSetting } from './slots.js'

export type Schedule = (step: number) => number

export const constant =
  (rate: number): Schedule =>
  () =>
    rate

/** Straight from one rate to another, which stays. */
export function linear({ from, to, steps }: { from: number; to: number; steps: number }): Schedule {
  requireSteps('linear', steps)
  return (step) => from + (to - from) * Math.min(step / steps, 1)
}

/** Half a cosine from `peak` to `end`, which stays (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts). */
export function cosine({ peak, steps, end = 0 }: { peak: number; steps: number; end?: number }): Schedule {
  requireSteps('cosine', steps)
  return (step) => end + 0.5 * (peak - end) * (1 + Math.cos(Math.PI * Math.min(step / steps, 1)))
}

/** Times `factor` after every `every` steps: PyTorch's `StepLR`. */
export function stepwise({ from, every, factor = 0.1 }: { from: number; every: number; factor?: number }): Schedule {
  requireSteps('stepwise', every, 'every')
  return (step) => from * factor ** Math.floor(step / every)
}

/** Times `factor` per `every` steps, smoothly; with `every` 1 PyTorch's `ExponentialLR`. */
export function exponential({ from, factor, every = 1 }: { from: number; factor: number; every?: number }): Schedule {
  requireSteps('exponential', every, 'every')
  return (step) => from * factor ** (step / every)
}

/**
 * peak sqrt(scale / (step + scale)). After a warm-up of as many steps as the scale it is the schedule of Vaswani et al.
 * 2017, equation 3: `warmup(inverseSquareRoot({ peak, scale: n }), n)`.
 */
export function inverseSquareRoot({ peak, scale }: { peak: number; scale: number }): Schedule {
  requireSteps('inverseSquareRoot', scale, 'scale')
  return (step) => peak * Math.sqrt(scale / (step + scale))
}

/**
 * Up to `peak` and down to next to nothing, each along half a cosine (Smith and Topin 2018): PyTorch's `OneCycleLR`
 * with its defaults, momentum left alone.
 */
export function oneCycle({
  peak,
  steps,
  rising = 0.3,
  startDivisor = 25,
  endDivisor = 1e4,
}: {
  peak: number
  steps: number
  /** Share of the steps that rise. */
  rising?: number
  /** The first rate is peak / startDivisor, the last the first / endDivisor. */
  startDivisor?: number
  endDivisor?: number
}): Schedule {
  requireSteps('oneCycle', steps)
  requireSetting('oneCycle', 'rising', rising * steps > 1 && rising < 1, `above 1 / ${steps} and below 1`, rising)
  const start = peak / startDivisor
  const end = start / endDivisor
  const top = rising * steps - 1
  const last = steps - 1
  return (step) =>
    step <= top
      ? cosine({ peak: start, end: peak, steps: top })(step)
      : cosine({ peak, end, steps: last - top })(step - top)
}

/** Straight up to the first rate of another schedule, in `steps` steps from the share `from` of it; then that schedule. */
export function warmup(then: Schedule, steps: number, { from = 0 }: { readonly from?: number } = {}): Schedule {
  requireSteps('warmup', steps)
  requireSetting('warmup', 'from', from >= 0 && from <= 1, 'in [0, 1]', from)
  return (step) => (step < steps ? then(0) * (from + (1 - from) * (step / steps)) : then(step - steps))
}

/** One schedule for some steps, then another from its beginning: PyTorch's `SequentialLR`. */
export function sequence(first: Schedule, steps: number, then: Schedule): Schedule {
  requireSteps('sequence', steps)
  return (step) => (step < steps ? first(step) : then(step - steps))
}

export interface PlateauOptions {
  /** Whether the metric is a loss ('min') or a score ('max'). */
  readonly mode?: 'min' | 'max'
  readonly factor?: number
  /** Observations without improvement that are borne. */
  readonly patience?: number
  /** An improvement is one by more than this share. */
  readonly threshold?: number
  /** Observations after a reduction that are not judged. */
  readonly cooldown?: number
  /** The scale does not fall below it. */
  readonly minimum?: number
}

/** What a plateau controller remembers: plain data, for checkpoints. */
export interface PlateauState {
  readonly scale: number
  readonly best: number | null
  readonly bad: number
  readonly cooling: number
}

/**
 * Lowers the rate when a metric stops improving: PyTorch's `ReduceLROnPlateau`, as a factor on any schedule. The one
 * schedule with a memory, which is `state`.
 *
 *     const plateau = new ReduceOnPlateau({ mode: 'max', patience: 3 })
 *     const schedule = plateau.over(warmup(constant(1e-3), 100))
 *     plateau.observe(validation.auc) // after each evaluation
 */
export class ReduceOnPlateau {
  private readonly options: Required<PlateauOptions>
  private current: PlateauState

  constructor(options: PlateauOptions = {}, state: PlateauState = { scale: 1, best: null, bad: 0, cooling: 0 }) {
    this.options = {
      mode: 'min',
      factor: 0.1,
      patience: 10,
      threshold: 1e-4,
      cooldown: 0,
      minimum: 0,
      ...options,
    }
    const { factor, patience } = this.options
    requireSetting('ReduceOnPlateau', 'factor', factor > 0 && factor < 1, 'between 0 and 1', factor)
    requireSetting('ReduceOnPlateau', 'patience', patience >= 0, 'at least 0', patience)
    this.current = state
  }

  get scale(): number {
    return this.current.scale
  }

  get state(): PlateauState {
    return this.current
  }

  over(schedule: Schedule): Schedule {
    return (step) => schedule(step) * this.current.scale
  }

  /** Takes a new value of the metric and answers the scale from now on. NaN is no improvement. */
  observe(metric: number): number {
    const { factor, patience, cooldown, minimum } = this.options
    const { best, cooling, scale } = this.current
    const improved = this.improves(metric, best)
    const waiting = Math.max(cooling - 1, 0)
    const bad = improved || cooling > 0 ? 0 : this.current.bad + 1
    const kept = improved ? metric : best
    this.current =
      bad > patience
        ? { scale: Math.max(scale * factor, minimum), best: kept, bad: 0, cooling: cooldown }
        : { scale, best: kept, bad, cooling: waiting }
    return this.current.scale
  }

  private improves(metric: number, best: number | null): boolean {
    if (best === null) return !Number.isNaN(metric)
    const { mode, threshold } = this.options
    return mode === 'min' ? metric < best * (1 - threshold) : metric > best * (1 + threshold)
  }
}

function requireSteps(op: string, steps: number, argument = 'steps'): void {
  requireSetting(op, argument, steps > 0 && Number.isFinite(steps), 'above 0', steps)
}
