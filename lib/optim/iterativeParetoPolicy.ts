import { KairosError } from '../core/errors.js'
import { requireSetting } from './slots.js'

export interface ParetoPolicyOptions {
  /** Weight added to the objective furthest behind, as a share of the mean weight. The paper's 0.1 / N is 0.1. */
  readonly step?: number
  /** Greatest ratio of two weights. */
  readonly cap?: number
  /** Rounds without a new base before the search ends. */
  readonly patience?: number
  /** Weights to begin with, by objective; equal unless told. */
  readonly weights?: readonly number[]
  readonly state?: ParetoPolicyState
}

/** What happened in a round: one line of the audit trail. */
export interface ParetoPolicyRound {
  /** From 1. */
  readonly round: number
  /** Weights that the reference was trained with in this round, of sum N. */
  readonly weights: readonly number[]
  /**
   * The metric by objective, of the reference and of the base on the same held-out rows; higher is better. NaN where they
   * cannot tell: then nothing is accepted, and this weight is not raised.
   */
  readonly reference: readonly number[]
  readonly base: readonly number[]
  /** What a difference has to exceed to count: two standard errors. */
  readonly margins: readonly number[]
  /** The reference is the base from here on. */
  readonly accepted: boolean
  /** The objective whose weight was raised; null where the base was replaced, or no weight may rise. */
  readonly raised: string | null
}

export interface ParetoPolicyState {
  /** Weights of sum 1. */
  readonly shares: readonly number[]
  readonly rounds: readonly ParetoPolicyRound[]
}

/** Metrics of a round by objective. */
export type ParetoPolicyMetrics = Pick<ParetoPolicyRound, 'reference' | 'base' | 'margins'>

/**
 * Iterative Pareto policy optimisation: weights of losses by rule. After each window of training a reference model is
 * compared with a base on held-out rows, objective by objective:
 *
 *     better in all, each beyond its margin    the reference becomes the base
 *     otherwise                                w_i += step / N for the i most behind; sum(w) = 1
 *
 *     while (!policy.finished) { train(policy.weights); policy.observe({ reference, base, margins }) }
 *
 * Weights are kept on the paper's scale, where they begin at 1 / N, and given with sum N, so that the learning rate keeps
 * its meaning. No weight rises beyond `cap` times the smallest. Throws KAIROS_ARGUMENT for settings and lengths that do
 * not fit. Source: Pantheon, arXiv 2505.13894, section 3.4; margin, normalisation, cap and stop are reconstructed.
 */
export class IterativeParetoPolicy {
  readonly objectives: readonly string[]
  private readonly step: number
  private readonly cap: number
  private readonly patience: number
  /** Of sum 1. */
  private shares: readonly number[]
  private history: readonly ParetoPolicyRound[]

  constructor(
    objectives: readonly string[],
    { step = 0.1, cap = 50, patience = 50, weights, state }: ParetoPolicyOptions = {},
  ) {
    requireSetting('IterativeParetoPolicy', 'step', step > 0, 'above 0', step)
    requireSetting('IterativeParetoPolicy', 'cap', cap >= 1, 'at least 1', cap)
    requireSetting('IterativeParetoPolicy', 'patience', patience >= 1, 'at least 1', patience)
    this.objectives = objectives
    this.step = step
    this.cap = cap
    this.patience = patience
    const given = state?.shares ?? weights ?? objectives.map(() => 1)
    this.requireEach('weights', given)
    // Kept shares are taken as they are, to the bit.
    this.shares = state ? given : scaled(given, 1)
    this.history = state?.rounds ?? []
  }

  /** Of sum N, in the order of the objectives. */
  get weights(): readonly number[] {
    return scaled(this.shares, this.objectives.length)
  }

  /** The audit trail. */
  get rounds(): readonly ParetoPolicyRound[] {
    return this.history
  }

  get state(): ParetoPolicyState {
    return { shares: this.shares, rounds: this.history }
  }

  /** Whether `patience` rounds went by without a new base. */
  get finished(): boolean {
    const last = this.history.map(({ accepted }) => accepted).lastIndexOf(true)
    return this.history.length - (last + 1) >= this.patience
  }

  observe(metrics: ParetoPolicyMetrics): ParetoPolicyRound {
    for (const name of ['reference', 'base', 'margins'] as const) this.requireEach(name, metrics[name])
    const { reference, base, margins } = metrics
    const gaps = base.map((value, i) => value - (reference[i] as number))
    const accepted = gaps.every((gap, i) => gap < -(margins[i] as number))
    const weights = this.weights
    const raised = accepted ? -1 : this.furthestBehind(gaps)
    if (raised >= 0) {
      const added = this.step / this.objectives.length
      this.shares = scaled(
        this.shares.map((share, i) => (i === raised ? share + added : share)),
        1,
      )
    }
    const round = {
      ...metrics,
      round: this.history.length + 1,
      weights,
      accepted,
      raised: this.objectives[raised] ?? null,
    }
    this.history = [...this.history, round]
    return round
  }

  /** Among those that may still rise; -1 where none may. */
  private furthestBehind(gaps: readonly number[]): number {
    const added = this.step / this.objectives.length
    const limit = this.cap * Math.min(...this.shares)
    const mayRise = (gap: number, i: number) => !Number.isNaN(gap) && (this.shares[i] as number) + added <= limit
    const open = gaps.map((gap, i) => (mayRise(gap, i) ? gap : Number.NEGATIVE_INFINITY))
    const most = Math.max(...open)
    return Number.isFinite(most) ? open.indexOf(most) : -1
  }

  private requireEach(argument: string, values: readonly number[]): void {
    const isWeights = argument === 'weights'
    const fits =
      values.length === this.objectives.length && !values.some((value) => Math.abs(value) === Number.POSITIVE_INFINITY)
    if (fits && (!isWeights || values.every((value) => value > 0))) return
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'IterativeParetoPolicy',
      argument,
      expected: `${this.objectives.length} finite numbers${isWeights ? ' above 0' : ''}`,
      got: `[${values.join(', ')}]`,
    })
  }
}

function scaled(values: readonly number[], sum: number): number[] {
  const total = values.reduce((a, b) => a + b, 0)
  return values.map((value) => (value * sum) / total)
}
