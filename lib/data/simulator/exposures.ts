/**
 * The process of 'chorus-cvr' and 'pantheon': requests of users, filled by a logging policy, with objectives whose
 * logits are standardised scores. A unit is a request.
 */
import { firstAbove } from '../../core/firstAbove.js'
import { interceptFor, mixing, momentsOf, sigmoid, zipf } from './calibration.js'
import { Draws } from './draws.js'
import { type Draw, type Prepared, type Process, START } from './process.js'
import { type ColumnKind, createTable, intsOf, type Table, type TableColumn } from './tables.js'

/** Knobs that this process reads; presets have more. */
export interface ExposureKnobs {
  readonly seed: number
  readonly events: number
  readonly users: number
  readonly days: number
  readonly perRequest: number
  readonly selection: number
  readonly positionBias: number
  readonly popularity: number
}

export interface ObjectiveLaw {
  readonly name: string
  readonly rate: number
  /** Deviation of the logit. */
  readonly scale: number
  /** The objective without which this one is not seen. */
  readonly after?: string
  /** Mean seconds until it is reported, where that takes time. */
  readonly delay?: number
  /** Seconds after which it no longer is. */
  readonly window?: number
}

/** The latents of a preset, made once. */
export interface Platform {
  readonly users: Table
  readonly items: Table
  readonly authors: Table
  readonly state: Readonly<Record<string, Float64Array | Int32Array>>
}

/** What a preset adds to requests and their filling. It holds scratch of its own: one per thread. */
export interface ExposureModel {
  /** A request of a user, 0 .. users - 1. */
  openRequest(user: number, time: number): void
  /** What belongs to the exposure and to no item. */
  openExposure(draws: Draws): void
  /** Raw scores of the first `count` objectives for an item, into `raw`. */
  score(item: number, count: number, raw: Float64Array): void
  /** Added to an objective's logit beside its score. */
  shift(objective: number): number
  /** Writes the features and the truth of the item that was scored last. */
  write(row: number, draws: Draws, p: Float64Array): void
}

export interface ExposurePreset<K extends ExposureKnobs> {
  objectives(knobs: K): readonly ObjectiveLaw[]
  /** Row-major correlations of the scores. */
  correlations(knobs: K): Float64Array
  /** Things to show: authors' rooms or items. */
  shown(knobs: K): number
  platform(knobs: K): Platform
  /** Columns of rows and truth beside those of every log. */
  readonly rowColumns: (knobs: K) => Record<string, ColumnKind>
  readonly truthColumns: (knobs: K) => Record<string, ColumnKind>
  model(knobs: K, platform: Platform, rows: Table, truth: Table): ExposureModel
}

/** Exposures that moments and intercepts are taken from. */
const PILOT = 65_536

const capital = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}`
export const probabilityColumn = (objective: string) => `p${capital(objective)}`

export function exposureProcess<K extends ExposureKnobs>(preset: ExposurePreset<K>): Process<K> {
  function prepare({ knobs, exposure }: Draw<K>): Prepared {
    const objectives = preset.objectives(knobs)
    const n = objectives.length
    const platform = preset.platform(knobs)
    const popularity = zipf(preset.shown(knobs), knobs.popularity)
    const pilot = tablesOf(preset, knobs, 1)
    const model = preset.model(knobs, platform, pilot.rows, pilot.truth)

    // Scores are standardised over what a policy without preferences shows.
    const draws = new Draws(knobs.seed, 'pilot')
    const raws = new Float64Array(PILOT * n)
    const raw = new Float64Array(n)
    for (let i = 0; i < PILOT; i++) {
      draws.at(i)
      model.openRequest(draws.int(knobs.users), START + draws.uniform() * knobs.days * 86400)
      model.openExposure(draws)
      model.score(firstAbove(popularity, draws.uniform()), n, raw)
      raws.set(raw, i * n)
    }
    const moments = momentsOf(raws, n)
    const mix = mixing(moments, preset.correlations(knobs), n)
    const state = { mean: moments.mean, mix, popularity, intercepts: new Float64Array(n), ...platform.state }

    // Intercepts are those of the policy as it is.
    const logits = objectives.map(() => new Float64Array(PILOT))
    const weights = new Float64Array(PILOT)
    const policy = createPolicy(knobs, knobs, state, 'pilot policy', model, objectives)
    for (let i = 0; i < PILOT; i++) {
      const position = i % knobs.perRequest
      if (position === 0) policy.openRequest(i / knobs.perRequest, PILOT / knobs.perRequest)
      policy.expose(position)
      for (let k = 0; k < n; k++) (logits[k] as Float64Array)[i] = policy.logits[k] as number
      weights[i] = examination(knobs, position)
    }
    for (const [k, { rate, after }] of objectives.entries())
      state.intercepts[k] = interceptFor(rate, logits[k] as Float64Array, after === undefined ? weights : undefined)

    const { rows, truth } = tablesOf(preset, knobs, exposure.events)
    const { users, items, authors } = platform
    const tables = { rows, truth, events: rows, eventTruth: truth, users, items, authors }
    const units = Math.ceil(exposure.events / exposure.perRequest)
    return { tables, state, units, events: exposure.events }
  }

  function filler({ knobs, exposure, part }: Draw<K>, { tables, state, units }: Prepared) {
    const { rows, truth } = tables
    const objectives = preset.objectives(knobs)
    const model = preset.model(knobs, { ...tables, state } as Platform, rows, truth)
    const policy = createPolicy(knobs, exposure, state, `events ${part}`, model, objectives)
    const write = rowWriter(objectives, rows, truth, state.intercepts as Float64Array)
    const { user, time, client, position } = rows.columns as Record<string, TableColumn>
    const clients = intsOf(tables.users, 'client')
    return (begin: number, end: number) => {
      for (let request = begin; request < end; request++) {
        const first = request * exposure.perRequest
        const last = Math.min(first + exposure.perRequest, exposure.events)
        policy.openRequest(request, units)
        for (let row = first; row < last; row++) {
          const place = row - first
          policy.expose(place)
          user!.values[row] = policy.user + 1
          time!.values[row] = policy.time
          client!.values[row] = clients[policy.user] as number
          position!.values[row] = place
          const p = write(row, policy.logits, policy.scores, examination(exposure, place), policy.draws)
          model.write(row, policy.draws, p)
        }
      }
    }
  }

  return { prepare, filler, overridable: ['events', 'perRequest', 'selection', 'positionBias'] }
}

const examination = ({ positionBias }: ExposureKnobs, position: number): number => (position + 1) ** -positionBias

function tablesOf<K extends ExposureKnobs>(preset: ExposurePreset<K>, knobs: K, rowCount: number) {
  const rows: Record<string, ColumnKind> = { user: 'int32', time: 'float64', client: 'int32', position: 'int32' }
  const truth: Record<string, ColumnKind> = { examined: 'float32' }
  for (const { name, after, delay } of preset.objectives(knobs)) {
    rows[name] = 'float32'
    if (delay !== undefined) rows[`${name}Delay`] = 'float32'
    truth[probabilityColumn(name)] = 'float32'
    truth[`${name}Score`] = 'float32'
    if (after !== undefined) truth[name] = 'float32'
  }
  return {
    rows: createTable(rowCount, { ...rows, ...preset.rowColumns(knobs) }),
    truth: createTable(rowCount, { ...truth, ...preset.truthColumns(knobs) }),
  }
}

/** Fills the places of requests; user, time, scores and logits (without intercepts) are those of the last one. */
function createPolicy(
  knobs: ExposureKnobs,
  { perRequest, selection }: ExposureKnobs,
  state: Prepared['state'],
  stream: string,
  model: ExposureModel,
  objectives: readonly ObjectiveLaw[],
) {
  const n = objectives.length
  const { mean, mix, popularity } = state as Record<'mean' | 'mix' | 'popularity', Float64Array>
  const draws = new Draws(knobs.seed, stream)
  const raw = new Float64Array(n)
  const policy = {
    user: 0,
    time: 0,
    scores: new Float64Array(n),
    logits: new Float64Array(n),
    draws,
    openRequest,
    expose,
  }
  let request = 0

  function openRequest(which: number, of: number): void {
    request = which
    draws.at(request)
    policy.user = draws.int(knobs.users)
    policy.time = START + (86400 * knobs.days * (request + draws.uniform())) / of
    model.openRequest(policy.user, policy.time)
  }

  /** The click score of an item, which is all that the policy looks at. */
  function preference(item: number): number {
    model.score(item, 1, raw)
    return (mix[0] as number) * ((raw[0] as number) - (mean[0] as number))
  }

  function expose(place: number): void {
    draws.at(request, place + 1)
    model.openExposure(draws)
    let item = firstAbove(popularity, draws.uniform())
    if (selection > 0) {
      // The first places are the most selective; their mean is `selection`.
      const strength = 2 * selection * (1 - (place + 0.5) / perRequest)
      const other = firstAbove(popularity, draws.uniform())
      if (draws.uniform() < sigmoid(strength * (preference(other) - preference(item)))) item = other
    }
    model.score(item, n, raw)
    for (let k = 0; k < n; k++) {
      let score = 0
      for (let j = 0; j <= k; j++) score += (mix[k * n + j] as number) * ((raw[j] as number) - (mean[j] as number))
      policy.scores[k] = score
      policy.logits[k] = (objectives[k] as ObjectiveLaw).scale * score + model.shift(k)
    }
  }

  return policy
}

/** Draws labels and writes them with their probabilities, which it answers. */
function rowWriter(objectives: readonly ObjectiveLaw[], rows: Table, truth: Table, intercepts: Float64Array) {
  const p = new Float64Array(objectives.length)
  const examined = (truth.columns.examined as TableColumn).values
  const columns = objectives.map(({ name }) => ({
    label: (rows.columns[name] as TableColumn).values,
    delay: rows.columns[`${name}Delay`]?.values,
    probability: (truth.columns[probabilityColumn(name)] as TableColumn).values,
    score: (truth.columns[`${name}Score`] as TableColumn).values,
    drawn: truth.columns[name]?.values,
  }))
  const earlier = objectives.map(({ after }) => objectives.findIndex(({ name }) => name === after))
  return (row: number, logits: Float64Array, scores: Float64Array, seen: number, draws: Draws): Float64Array => {
    examined[row] = seen
    for (let k = 0; k < objectives.length; k++) {
      const { delay: mean, window = Number.POSITIVE_INFINITY } = objectives[k] as ObjectiveLaw
      const { label, delay, probability, score, drawn } = columns[k] as (typeof columns)[number]
      const before = earlier[k] as number
      const probabilityHere = sigmoid((intercepts[k] as number) + (logits[k] as number)) * (before < 0 ? seen : 1)
      const happens = draws.uniform() < probabilityHere ? 1 : 0
      const wait = mean === undefined ? 0 : mean * draws.exponential()
      const shown = before < 0 || columns[before]?.label[row] === 1
      const isReported = happens === 1 && shown && wait <= window
      p[k] = probabilityHere
      probability[row] = probabilityHere
      score[row] = scores[k] as number
      label[row] = isReported ? 1 : 0
      if (drawn) drawn[row] = happens
      if (delay) delay[row] = isReported ? wait : -1
    }
    return p
  }
}
