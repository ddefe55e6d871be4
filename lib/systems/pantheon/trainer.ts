/** Trains the arms of Pantheon's proof: one ranker for each seed, and from what it kept every way to sort. */
import { createTimeSlice, inSlices } from '../../core/timeSlice.js'
import {
  gaucStatistics,
  plainStatistic,
  type RowsByUser,
  ratioStatistic,
  rowsByUser,
  statisticValue,
  type UserStatistic,
} from '../../metrics/index.js'
import type { ParetoPolicyRound } from '../../optim/index.js'
import type { ArmResult, ArmRun, ArmTrainer, TrainerTools } from '../proof.js'
import { type PantheonConfig, pantheonConfig } from './config.js'
import { formulaScores, logsOf, searchFormula } from './formula.js'
import { KeptRanker } from './keptRanker.js'
import { KeptEnsemble } from './rivals.js'
import { matched, RunningMoments } from './scoreMatching.js'
import { auditOf, type Base, type SearchResult, searchWeights, slice } from './search.js'

/** Labels in the order of the tasks. */
export const TASKS = ['click', 'effectiveView', 'longView', 'like', 'follow', 'gift'] as const
/** Shown of each request of the personalisation test. */
const SHOWN = 10
/** Rows whose scores move running moments at once. */
const MOMENTS = 1000

/** Settings of an arm beside the model's. */
export interface ArmSettings {
  /**
   * 'formula', 'uniform sum', 'single'; 'fixed', 'formula weights' (the formula's exponents as weights), 'ippo',
   * 'uncertainty', or a solver of the Pareto set.
   */
  readonly method: string
  /** Of 'ippo', as shares of the stream. */
  readonly first: number
  readonly window: number
  readonly ahead: number
  readonly step: number
  /** Weights to begin with: equal ones, or 1 / rate, none above 50 times another. */
  readonly start: 'equal' | 'rates'
}

const settings: ArmSettings = { method: 'fixed', first: 0.4, window: 0.01, ahead: 0.15, step: 0.1, start: 'equal' }
/** Greatest ratio of two weights of IPPO. */
const CAP = 50

/** What the arms of a seed share. */
interface Shared {
  readonly ranker: KeptRanker
  /** log(1 + p) of a part's rows. */
  readonly logs: Map<string, Promise<Float32Array>>
  /** Formulas by the objectives that they were tuned for. */
  readonly formulas: Map<string, Promise<Formula>>
  readonly validationByUser: RowsByUser
  readonly testByUser: RowsByUser
  readonly testLabels: Readonly<Record<string, ArrayLike<number>>>
}

export const pantheonTrainer: ArmTrainer<Shared> = {
  async prepare(run, tools) {
    const { config } = settingsOf(run)
    const ranker = await KeptRanker.train(TASKS, config, run, tools)
    if (!ranker) return null
    const { rows } = tools
    const { of, begin, end } = ranker.part('validation')
    return {
      ranker,
      logs: new Map(),
      formulas: new Map(),
      validationByUser: await rowsByUser(slice(rows.users(of), begin, end)),
      testByUser: await rowsByUser(rows.users('test')),
      testLabels: Object.fromEntries(TASKS.map((name) => [name, rows.column('test', name)])),
    }
  },

  async train(run, shared, tools) {
    const { method } = settingsOf(run).arm
    switch (method) {
      case 'formula':
      case 'uniform sum':
      case 'single':
        return sortByRule(method, run, shared, tools)
      default:
        return sortByEnsemble(run, shared, tools)
    }
  },

  release: ({ ranker }) => ranker.close(),
}

/** Settings of the arm and, apart from them, those of the model. */
function settingsOf({ config }: ArmRun): { readonly arm: ArmSettings; readonly config: PantheonConfig } {
  const own = Object.entries(config).filter(([name]) => name in settings)
  const others = Object.entries(config).filter(([name]) => !(name in settings))
  return {
    arm: { ...settings, ...Object.fromEntries(own) },
    config: pantheonConfig.parse(Object.fromEntries(others)),
  }
}

// Rules ----------------------------------------------------------------------------------------------------------------

type Score = (part: string) => Promise<Float32Array>

/** A sort by Pxtr alone. */
async function sortByRule(method: string, run: ArmRun, shared: Shared, tools: TrainerTools): Promise<ArmResult> {
  const { objectives } = settingsOf(run).config
  let score: Score = (part) => sumOf(part, () => 1, shared)
  let more: Record<string, UserStatistic> = {}
  if (method === 'formula') {
    const formula = await formulaFor(objectives, run, shared, tools)
    score = formula.scoreOf
    more = statisticsOf('exponent', formula.exponents)
  } else if (method === 'single') {
    const values: number[] = []
    for (const task of TASKS.keys())
      values.push(await validated(await sumOf('validation', only(task), shared), objectives, shared, tools))
    const best = values.indexOf(Math.max(...values))
    score = (part) => sumOf(part, only(best), shared)
    more = statisticsOf('validated', values)
  }
  const { statistics, predictSeconds } = await measured(score, run, shared, tools)
  return { statistics: { ...statistics, ...more }, trainSeconds: 0, predictSeconds }
}

const statisticsOf = (title: string, values: readonly number[]): Record<string, UserStatistic> =>
  Object.fromEntries(TASKS.map((name, task) => [`${title} ${name}`, plainStatistic(values[task] as number)]))

const only = (chosen: number) => (task: number) => Number(task === chosen)

/** sum_k w_k p_k of each row. */
async function sumOf(part: string, weight: (task: number) => number, { ranker }: Shared): Promise<Float32Array> {
  const { logits } = ranker.part(part)
  const weights = TASKS.map((_, task) => weight(task))
  const sums = new Float32Array(logits.length / weights.length)
  await inSlices(sums.length, createTimeSlice(), (begin, end) => {
    for (let row = begin; row < end; row++) {
      let sum = 0
      for (const [task, w] of weights.entries()) {
        if (w !== 0) sum += w / (1 + Math.exp(-(logits[row * weights.length + task] as number)))
      }
      sums[row] = sum
    }
  })
  return sums
}

function once<K, V>(made: Map<K, V>, key: K, make: () => V): V {
  const found = made.get(key) ?? make()
  made.set(key, found)
  return found
}

const logsFor = (part: string, { logs, ranker }: Shared): Promise<Float32Array> =>
  once(logs, part, () => logsOf(ranker.part(part).logits))

/** Mean GAUC of scores of the validation rows over these objectives, all unless told. */
async function validated(
  scores: Float32Array,
  objectives: readonly string[],
  { ranker, validationByUser }: Shared,
  { rows }: TrainerTools,
): Promise<number> {
  const { of, begin, end } = ranker.part('validation')
  const names = objectives.length > 0 ? objectives : TASKS
  const labels = Object.fromEntries(names.map((name) => [name, slice(rows.column(of, name), begin, end)]))
  const found = Object.values(await gaucStatistics(scores, labels, validationByUser))
  const told = found.map((one) => statisticValue(one)).filter((value) => !Number.isNaN(value))
  return told.reduce((sum, value) => sum + value / told.length, 0)
}

/** Mean Pxtr by task, from log(1 + p). */
function ratesOf(logs: Float32Array): number[] {
  const sums = TASKS.map(() => 0)
  for (const [i, log] of logs.entries()) sums[i % TASKS.length] = (sums[i % TASKS.length] as number) + Math.expm1(log)
  return sums.map((sum) => (sum * TASKS.length) / logs.length)
}

interface Formula {
  readonly exponents: readonly number[]
  readonly scoreOf: Score
}

/** Tuned for these objectives on the validation rows. */
function formulaFor(
  objectives: readonly string[],
  { seed }: ArmRun,
  shared: Shared,
  tools: TrainerTools,
): Promise<Formula> {
  return once(shared.formulas, objectives.join(' '), async () => {
    const logs = await logsFor('validation', shared)
    const rates = ratesOf(logs)
    const { exponents } = await searchFormula(logs, rates, (scores) => validated(scores, objectives, shared, tools), {
      seed,
    })
    return { exponents, scoreOf: async (part: string) => formulaScores(await logsFor(part, shared), exponents) }
  })
}

// Ensembles ------------------------------------------------------------------------------------------------------------

async function sortByEnsemble(run: ArmRun, shared: Shared, tools: TrainerTools): Promise<ArmResult | null> {
  const { arm, config } = settingsOf(run)
  const { ranker } = shared
  const { begin, end } = ranker.part('stream')
  const formula = await formulaFor(config.objectives, run, shared, tools)
  const started = performance.now()
  const ensemble = await KeptEnsemble.create(arm.method, config, ranker, run, tools)
  try {
    let search: SearchResult | null = null
    if (arm.method === 'ippo') {
      const rates = ratesOf(await logsFor('validation', shared))
      const base: Base = { score: async (from, to) => (await formula.scoreOf('stream')).subarray(from, to) }
      const options = searchOptions(arm, run, end - begin)
      const weights = ensemble.objectives.map((name) => 1 / (rates[TASKS.indexOf(name as never)] as number))
      const start = arm.start === 'rates' ? { weights: capped(weights) } : {}
      search = await searchWeights(ensemble, base, ranker, tools, { ...options, ...start })
      if (!search) return null
    } else {
      const exponents = ensemble.objectives.map((name) => formula.exponents[TASKS.indexOf(name as never)] as number)
      const weights = arm.method === 'formula weights' ? scaledTo(exponents, exponents.length) : undefined
      if (!(await ensemble.learn(0, end - begin, weights))) return null
    }
    const trainSeconds = (performance.now() - started) / 1000
    const { statistics, predictSeconds } = await measured((part: string) => ensemble.score(part), run, shared, tools)
    if (tools.signal.aborted) return null
    return {
      statistics: { ...statistics, ...(search ? searchStatistics(search) : {}) },
      trainSeconds,
      predictSeconds,
      ...(search ? { audit: auditOf(search, `${run.arm}, seed ${run.seed}`) } : {}),
    }
  } finally {
    ensemble.dispose()
  }
}

const searchStatistics = ({ rounds, accepted, objectives, weights }: SearchResult): Record<string, UserStatistic> => ({
  rounds: plainStatistic(rounds.length),
  'accepted bases': plainStatistic(accepted),
  'trainings of the search': plainStatistic(1),
  'least lead of accepted': plainStatistic(leastLead(rounds)),
  ...Object.fromEntries(objectives.map((name, i) => [`weight ${name}`, plainStatistic(weights[i] as number)])),
})

function capped(weights: readonly number[]): number[] {
  const least = Math.min(...weights)
  return weights.map((weight) => Math.min(weight, CAP * least))
}

function scaledTo(weights: readonly number[], sum: number): number[] {
  const whole = weights.reduce((a, b) => a + b, 0)
  return weights.map((weight) => (weight * sum) / whole)
}

/** By how much, beyond its margin, an accepted base led the one before on the objective where it led least. */
const leastLead = (rounds: readonly ParetoPolicyRound[]): number =>
  Math.min(
    1,
    ...rounds
      .filter(({ accepted }) => accepted)
      .flatMap(({ reference, base, margins }) =>
        reference.map((value, i) => value - (base[i] as number) - (margins[i] as number)),
      ),
  )

/** Windows are whole batches. */
function searchOptions(
  { first, window, ahead, step }: ArmSettings,
  { seed, sizes: { batchSize } }: ArmRun,
  count: number,
) {
  const rows = (share: number) => Math.max(1, Math.round((share * count) / batchSize)) * batchSize
  return { first: rows(first), window: rows(window), ahead: rows(ahead), step, seed }
}

// Statistics -----------------------------------------------------------------------------------------------------------

/** GAUC of the test rows by objective and on average, regret where there are requests, and moments once matched. */
async function measured(score: Score, run: ArmRun, shared: Shared, tools: TrainerTools) {
  const started = performance.now()
  const scores = await score('test')
  const each = await gaucStatistics(scores, shared.testLabels, shared.testByUser)
  const { objectives } = settingsOf(run).config
  const names = objectives.length > 0 ? objectives : TASKS
  const statistics: Record<string, UserStatistic> = {
    ...Object.fromEntries(Object.entries(each).map(([name, one]) => [`GAUC ${name}`, one])),
    'GAUC mean': meanOf(names.map((name) => each[name] as UserStatistic)),
    ...(await matching(scores, run, shared, tools)),
    ...(shared.ranker.has('requests') ? { regret: await regretOf(await score('requests'), tools) } : {}),
  }
  return { statistics, predictSeconds: (performance.now() - started) / 1000 }
}

/** Over those that the rows tell of: an objective may be too rare to come true among them. */
function meanOf(all: readonly UserStatistic[]): UserStatistic {
  const statistics = all.filter((one) => !Number.isNaN(statisticValue(one)))
  const share = 1 / statistics.length
  return {
    offset: statistics.reduce((sum, { offset }) => sum + offset * share, 0),
    terms: statistics.flatMap(({ terms }) =>
      terms.map(({ numerators, denominators }) => ({
        numerators: numerators.map((value) => value * share),
        denominators,
      })),
    ),
  }
}

/** Of scores matched to the formula's: relative errors of their moments, and neighbours that changed places. */
async function matching(scores: Float32Array, run: ArmRun, shared: Shared, tools: TrainerTools) {
  const base = await (await formulaFor(settingsOf(run).config.objectives, run, shared, tools)).scoreOf('test')
  const [from, to] = [new RunningMoments(), new RunningMoments()]
  for (let row = 0; row < scores.length; row += MOMENTS) {
    from.update(scores.subarray(row, row + MOMENTS))
    to.update(base.subarray(row, row + MOMENTS))
  }
  const made = matched(scores, from, to)
  const [found, wanted] = [new RunningMoments(), new RunningMoments()]
  found.update(made)
  wanted.update(base)
  let swapped = 0
  for (let row = 1; row < made.length; row++) {
    const before = Math.sign((scores[row] as number) - (scores[row - 1] as number))
    if (Math.sign((made[row] as number) - (made[row - 1] as number)) !== before) swapped++
  }
  return {
    'matched mean error': plainStatistic(Math.abs(found.mean - wanted.mean) / wanted.deviation),
    'matched deviation error': plainStatistic(Math.abs(found.deviation / wanted.deviation - 1)),
    'places changed': plainStatistic(swapped),
  }
}

/** Share of the greatest true utility that the first places of requests miss, by user. */
async function regretOf(scores: Float32Array, { rows }: TrainerTools): Promise<UserStatistic> {
  const [utility, position] = [rows.column('requests', 'truth.utility'), rows.column('requests', 'truth.place')]
  const users = rows.users('requests')
  const begins: number[] = []
  for (let row = 0; row < scores.length; row++) if (position[row] === 0) begins.push(row)
  const best = (order: ArrayLike<number>, begin: number, end: number) => {
    const list = Array.from({ length: end - begin }, (_, i) => begin + i)
    const shown = list.sort((a, b) => (order[b] as number) - (order[a] as number)).slice(0, SHOWN)
    return shown.reduce((sum, row) => sum + (utility[row] as number), 0)
  }
  const sums: { readonly user: number; readonly oracle: number; readonly ours: number }[] = []
  await inSlices(
    begins.length,
    createTimeSlice(),
    (request) => {
      const [begin, end] = [begins[request] as number, begins[request + 1] ?? scores.length]
      sums.push({ user: users[begin] as number, oracle: best(utility, begin, end), ours: best(scores, begin, end) })
    },
    1,
  )
  return ratioStatistic({
    count: sums.length,
    users: sums.map(({ user }) => user),
    numerator: (i) => (sums[i] as (typeof sums)[number]).oracle - (sums[i] as (typeof sums)[number]).ours,
    denominator: (i) => (sums[i] as (typeof sums)[number]).oracle,
  })
}
