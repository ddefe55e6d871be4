/** IPPO over windows of a stream: section 3.4, on states that a ranker kept. */
import { gaucStatistics, rowsByUser, statisticValue, UserBootstrap, type UserStatistic } from '../../metrics/index.js'
import { IterativeParetoPolicy, type ParetoPolicyRound } from '../../optim/index.js'
import type { Audit, TrainerTools } from '../proof.js'
import type { KeptRanker } from './keptRanker.js'
import type { KeptEnsemble } from './rivals.js'

export interface SearchOptions {
  /** Rows before the first round, of a window, and of the held-out rows that follow a window. */
  readonly first: number
  readonly window: number
  readonly ahead: number
  readonly step?: number
  /** Weights to begin with; equal unless told. */
  readonly weights?: readonly number[]
  readonly seed: number
}

/** What judges a base: its scores of stream rows. */
export interface Base {
  score(begin: number, end: number): Promise<Float32Array>
}

export interface SearchResult {
  readonly rounds: readonly ParetoPolicyRound[]
  readonly objectives: readonly string[]
  /** Weights that the last accepted base was trained to, or the last ones. */
  readonly weights: readonly number[]
  readonly accepted: number
}

/** Resamples of users behind a margin, and the confidence whose half width is two standard errors. */
const RESAMPLES = { resamples: 200, confidence: 0.9545 }

/**
 * Trains `reference` over the stream: rows before the first round with equal weights, then window after window, each judged
 * on the rows that follow it. When it ends the reference is the last accepted base, where there is one; otherwise it has
 * learnt from the whole stream. null when a signal ended it.
 */
export async function searchWeights(
  reference: KeptEnsemble,
  formula: Base,
  ranker: KeptRanker,
  { rows, signal }: TrainerTools,
  { first, window, ahead, seed, ...settings }: SearchOptions,
): Promise<SearchResult | null> {
  const { objectives } = reference
  const { of, begin, end } = ranker.part('stream')
  const count = end - begin
  const users = rows.users(of)
  const labels = objectives.map((name) => [name, rows.column(of, name)] as const)
  const policy = new IterativeParetoPolicy(objectives, settings)
  const bootstrap = await UserBootstrap.create(1, { ...RESAMPLES, seed })
  let base = formula
  let kept: Awaited<ReturnType<KeptEnsemble['copy']>> | null = null
  let weights = policy.weights

  if (!(await reference.learn(0, first, policy.weights))) return null
  let at = first
  while (at + window + ahead <= count && !policy.finished) {
    const trained = policy.weights
    if (!(await reference.learn(at, at + window, trained))) return null
    at += window
    const held = { from: at, to: at + ahead }
    const byUser = await rowsByUser(slice(users, begin + held.from, begin + held.to))
    const columns = Object.fromEntries(
      labels.map(([name, values]) => [name, slice(values, begin + held.from, begin + held.to)]),
    )
    const ours = await gaucStatistics(await reference.score('stream', held.from, held.to), columns, byUser)
    const theirs = await gaucStatistics(await base.score(held.from, held.to), columns, byUser)
    if (signal.aborted) return null
    const { accepted } = policy.observe({
      reference: objectives.map((name) => statisticValue(ours[name] as UserStatistic)),
      base: objectives.map((name) => statisticValue(theirs[name] as UserStatistic)),
      margins: await Promise.all(
        objectives.map(async (name) => {
          const [a, b] = [ours[name], theirs[name]] as [UserStatistic, UserStatistic]
          const { low, high } = await bootstrap.interval(
            (_, times) => statisticValue(a, times) - statisticValue(b, times),
          )
          return (high - low) / 2
        }),
      ),
    })
    if (!accepted) continue
    kept?.[Symbol.dispose]()
    kept = await reference.copy()
    weights = trained
    // Frozen as it is now, its scores of all that is left are known.
    const [from, scores] = [at, await reference.score('stream', at, count)]
    base = { score: async (begin, end) => scores.subarray(begin - from, end - from) }
  }
  if (kept) reference.take(kept)
  else {
    weights = policy.weights
    if (!(await reference.learn(at, count, weights))) return null
  }
  return {
    rounds: policy.rounds,
    objectives,
    weights,
    accepted: policy.rounds.filter(({ accepted }) => accepted).length,
  }
}

/** The trail and its curves: weights, and by how much the reference leads on each objective, over the rounds. */
export function auditOf({ rounds, objectives, weights, accepted }: SearchResult, title: string): Audit {
  const curves = (value: (round: ParetoPolicyRound, objective: number) => number) =>
    objectives.map((name, i) => ({
      name,
      points: rounds.map((round): readonly [number, number] => [round.round, value(round, i)]),
    }))
  return {
    title,
    trail: { objectives, weights, accepted, rounds },
    charts: [
      { title: `${title}: weights`, xLabel: 'round', series: curves(({ weights }, i) => weights[i] as number) },
      {
        title: `${title}: lead in GAUC over the base`,
        xLabel: 'round',
        series: curves(({ reference, base }, i) => (reference[i] as number) - (base[i] as number)),
      },
    ],
  }
}

/** Rows [begin, end), without a copy where the values allow it. */
export function slice(values: ArrayLike<number>, begin: number, end: number): ArrayLike<number> {
  if (ArrayBuffer.isView(values)) return (values as Float32Array).subarray(begin, end)
  return Array.from({ length: end - begin }, (_, i) => values[begin + i] as number)
}
