/**
 * Sequences with a planted signal, so that what a model should find is known before it is trained.
 *
 * An item has three coordinates: a cluster (what it is about), a group (its kind) and a rank (how popular it is within
 * its cell of cluster and group):
 *
 *     id = 1 + (cluster * groups + group) * itemsPerCell + rank
 *
 * The item at step t of user u is drawn coordinate by coordinate, each draw independent of the others:
 *
 *     cluster   from the user's taste, theta_u[k] ~ (k + 1)^-1/2 * exp(tasteSpread * z_uk), z_uk standard normal: plain
 *               popularity of clusters, bent by a preference that does not change;
 *     rank      from a Zipf law, P(r) ~ (r + 1)^-skew;
 *     group     with probability `signal` from the user's rhythm, else uniformly.
 *
 * The rhythm is a square wave of period p_u and phase s_u between two groups a_u and b_u of the user's own:
 *
 *     wave_u(t) = a_u if (t + s_u) mod p_u < p_u / 2, else b_u
 *
 * p_u is one of `periods`. With the periods 2 and 8 a user either changes group at every step (all the energy at the
 * highest frequency) or keeps it for four steps (most of the energy in the lowest bins). Let x be the last item's group
 * signal and low its low-passed value: the next group is -x for a fast user, for whom low is near 0, and mostly +x for a
 * slow one, for whom low is near x. So one linear rule, a * low - b * x, serves both, and only a model that holds the low
 * band apart from the rest has it at hand; popularity sees nothing of it.
 *
 * With signal = 0 the steps of a user are independent and alike given the taste, hence exchangeable: the order of a
 * history says nothing that its set does not, and a model of order can gain nothing but noise.
 */
import { KairosError } from '../core/errors.js'
import { createRandom, type Random } from '../core/random.js'
import type { Sequences } from './sequences.js'

export interface PlantedOptions {
  /** Share of steps whose group follows the rhythm, 0 to 1. */
  readonly signal: number
  readonly seed: number
  readonly users?: number
  readonly clusters?: number
  readonly groups?: number
  readonly itemsPerCell?: number
  /** Least and greatest number of items of a user. */
  readonly lengths?: readonly [number, number]
  /** Rhythms that users have, all equally often. */
  readonly periods?: readonly number[]
  /** Standard deviation of a user's log preference for a cluster. */
  readonly tasteSpread?: number
  /** Exponent of popularity within a cell. */
  readonly skew?: number
}

export interface PlantedSequences extends Sequences {
  /** The truth about each user. */
  readonly truth: {
    readonly period: Int32Array
    readonly phase: Int32Array
    /** [users, 2]: the two groups of the wave. */
    readonly pair: Int32Array
    /** [users, clusters] */
    readonly taste: Float64Array
  }
}

export const plantedDefaults = {
  users: 2000,
  clusters: 8,
  groups: 6,
  itemsPerCell: 8,
  lengths: [24, 40],
  periods: [2, 8],
  tasteSpread: 1.5,
  skew: 0.8,
} as const satisfies Required<Omit<PlantedOptions, 'signal' | 'seed'>>

/** The coordinates of an item id. */
export function plantedCell(item: number, { groups, itemsPerCell }: { groups: number; itemsPerCell: number }) {
  const cell = Math.floor((item - 1) / itemsPerCell)
  return { cluster: Math.floor(cell / groups), group: cell % groups, rank: (item - 1) % itemsPerCell }
}

/** Equal options give equal sequences. Users have streams of their own: more users do not change the first ones. */
export function plantedSequences(options: PlantedOptions): PlantedSequences {
  const { signal, seed, users, clusters, groups, itemsPerCell, lengths, periods, tasteSpread, skew } = {
    ...plantedDefaults,
    ...options,
  }
  check({ signal, users, clusters, groups, itemsPerCell, lengths, periods })
  const random = createRandom(seed).fork('planted sequences')
  const popularity = cumulative(Float64Array.from({ length: itemsPerCell }, (_, rank) => (rank + 1) ** -skew))

  const offsets = new Int32Array(users + 1)
  const values = new Int32Array(users * lengths[1])
  const truth = {
    period: new Int32Array(users),
    phase: new Int32Array(users),
    pair: new Int32Array(users * 2),
    taste: new Float64Array(users * clusters),
  }
  let end = 0
  for (let user = 0; user < users; user++) {
    const own = random.fork(user)
    const length = lengths[0] + own.int(lengths[1] - lengths[0] + 1)
    const weights = Float64Array.from(
      { length: clusters },
      (_, cluster) => (cluster + 1) ** -0.5 * Math.exp(tasteSpread * own.normal()),
    )
    const taste = cumulative(weights)
    const period = periods[own.int(periods.length)] as number
    const phase = own.int(period)
    const first = own.int(groups)
    const second = (first + 1 + own.int(groups - 1)) % groups

    for (let t = 0; t < length; t++) {
      const cluster = draw(taste, own)
      const wave = (t + phase) % period < period / 2 ? first : second
      const group = own.uniform() < signal ? wave : own.int(groups)
      values[end++] = 1 + (cluster * groups + group) * itemsPerCell + draw(popularity, own)
    }
    offsets[user + 1] = end
    truth.period[user] = period
    truth.phase[user] = phase
    truth.pair.set([first, second], 2 * user)
    truth.taste.set(differences(taste), user * clusters)
  }
  return {
    source: `planted sequences (signal ${signal}, seed ${seed})`,
    users: Int32Array.from({ length: users }, (_, user) => user + 1),
    values: values.slice(0, end),
    offsets,
    maxItem: clusters * groups * itemsPerCell,
    truth,
  }
}

/** Running sums of weights, scaled to end at 1. */
function cumulative(weights: Float64Array): Float64Array {
  let sum = 0
  const sums = weights.map((weight) => (sum += weight))
  return sums.map((value) => value / sum)
}

const differences = (sums: Float64Array): Float64Array =>
  sums.map((value, i) => value - (i > 0 ? (sums[i - 1] as number) : 0))

/** An index with probability sums[i] - sums[i - 1]. */
function draw(sums: Float64Array, random: Random): number {
  const u = random.uniform()
  let index = 0
  while (index < sums.length - 1 && u >= (sums[index] as number)) index++
  return index
}

function check(options: {
  signal: number
  users: number
  clusters: number
  groups: number
  itemsPerCell: number
  lengths: readonly [number, number]
  periods: readonly number[]
}): void {
  const refuse = (argument: string, expected: string, got: unknown): never => {
    throw new KairosError('KAIROS_ARGUMENT', { op: 'plantedSequences', argument, expected, got: String(got) })
  }
  const { signal, groups, lengths, periods } = options
  if (!(signal >= 0 && signal <= 1)) refuse('signal', 'a number from 0 to 1', signal)
  for (const name of ['users', 'clusters', 'itemsPerCell'] as const) {
    if (!(Number.isInteger(options[name]) && options[name] > 0)) refuse(name, 'a positive integer', options[name])
  }
  if (!(Number.isInteger(groups) && groups > 1)) refuse('groups', 'an integer above 1', groups)
  if (!(Number.isInteger(lengths[0]) && Number.isInteger(lengths[1]) && lengths[0] >= 1 && lengths[1] >= lengths[0])) {
    refuse('lengths', 'two ascending positive integers', lengths)
  }
  if (periods.length === 0 || !periods.every((period) => Number.isInteger(period) && period >= 2)) {
    refuse('periods', 'integers above 1', periods)
  }
}
