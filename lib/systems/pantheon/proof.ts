/** What Pantheon claims and how it is put to the test: six objectives of live rooms with known probabilities. */

import { hypervolume, type Interval, paretoFront } from '../../metrics/index.js'
import { solvers } from '../../optim/index.js'
import type { Executor } from '../../runtime/index.js'
import type {
  AcceptanceLine,
  Proof,
  ProofArm,
  ProofExperiment,
  ProofPoint,
  ProofResults,
  Settings,
  Verdict,
} from '../proof.js'
import { fusedLossIsSum, rankerIsAlone, scaleDoesNotMatter, scoreIsWeightedMean } from './identities.js'
import { pantheonTrainer, TASKS } from './trainer.js'

const baseline = (summary: string, config: Settings): ProofArm => ({ role: 'baseline', summary, config })
const gridded = [1, 7, 49] as const
/** Weights of the slice's objectives: all ratios of these; equal ones once. */
const grid = gridded
  .flatMap((a) => gridded.flatMap((b) => gridded.map((c) => [a, b, c] as const)))
  .filter((weights) => Math.min(...weights) === 1)
const gridName = (weights: readonly number[]) => `grid ${weights.join(':')}`

const arms: Record<string, ProofArm> = {
  pantheon: { role: 'system', summary: 'hidden states, MLP, IPPO', config: { method: 'ippo' } },
  transformer: {
    role: 'system',
    summary: 'hidden states, Transformer, IPPO',
    config: { method: 'ippo', ensemble: 'transformer' },
  },
  'IPPO from 1/rate': {
    role: 'ablation',
    summary: 'as pantheon, its weights beginning at 1 / rate, none above 50 times another',
    config: { method: 'ippo', start: 'rates' },
  },
  "formula's weights": {
    role: 'ablation',
    summary: 'as uniform weights, with the exponents of the formula for weights: where IPPO would have to arrive',
    config: { method: 'formula weights' },
  },
  'uniform weights': baseline('hidden states, MLP, equal weights throughout', { method: 'fixed' }),
  'Pxtr + MLP': baseline('Pxtr in place of hidden states, equal weights', { method: 'fixed', reads: 'pxtr' }),
  'Pxtr + MLP + IPPO': baseline('Pxtr in place of hidden states, IPPO', { method: 'ippo', reads: 'pxtr' }),
  formula: baseline('prod (1 + Pxtr)^alpha, 500 trials of random search', { method: 'formula' }),
  'uniform sum': baseline('sum of Pxtr', { method: 'uniform sum' }),
  'best single': baseline('the Pxtr with the best mean GAUC on validation', { method: 'single' }),
  uncertainty: baseline('uncertainty weights', { method: 'uncertainty' }),
  ...Object.fromEntries(
    Object.keys(solvers).map((method) => [method, baseline('its weights of the objectives, step by step', { method })]),
  ),
  'no user features': {
    role: 'ablation',
    summary: 'without UserFea, IPPO',
    config: { method: 'ippo', own: ['item'] },
  },
  'no own features': {
    role: 'ablation',
    summary: 'hidden states alone, equal weights',
    config: { method: 'fixed', own: [] },
  },
  ...Object.fromEntries(
    grid.map((objectiveWeights) => [
      gridName(objectiveWeights),
      baseline(`weights ${objectiveWeights.join(' : ')}`, { method: 'fixed', objectiveWeights }),
    ]),
  ),
}

/** Sizes of the networks, the same in all arms. */
const config = {
  dimensions: 16,
  experts: 4,
  expertSizes: [64, 32],
  towerSizes: [16],
  ensembleSizes: [64, 32],
  ensembleLayers: 1,
  ensembleHeads: 2,
}
/** Objectives of the slice: of conflicting scores. */
const SLICE = ['click', 'like', 'follow'] as const

const SIX = 'six objectives'
const THREE = 'slice of three'
const STRESS = 'rare objectives'
const RARE = ['likeRate', 'followRate', 'giftRate'] as const
const rates = { likeRate: 0.03, followRate: 0.01, giftRate: 0.003 }
const rarer = (by: number): ProofPoint => ({
  name: `1/${by}`,
  knobs: Object.fromEntries(RARE.map((name) => [name, rates[name] / by])),
  x: by,
})

const data = (more: object = {}): ProofExperiment['data'] => ({
  kind: 'simulator',
  preset: 'pantheon',
  knobs: { users: 20_000, authors: 5000 },
  quickKnobs: { users: 2000, authors: 500 },
  test: 'later',
  ...more,
})

// Acceptance -----------------------------------------------------------------------------------------------------------

/** In points of GAUC. */
const points = (value: number): string => `${value < 0 ? '' : '+'}${(100 * value).toFixed(2)}`
const shown = ({ mean, low, high }: Interval): string => `${points(mean)} [${points(low)}, ${points(high)}]`
const gauc = (name: string) => `GAUC ${name}`
const sumOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

async function beatsFormula(results: ProofResults, point: string, arm: string): Promise<Verdict> {
  const figures: string[] = []
  let pass = true
  for (const name of [...TASKS, 'mean']) {
    const difference = await results.difference(point, arm, 'formula', gauc(name))
    const holds = name === 'mean' ? difference.mean >= 0.01 : difference.low > 0
    pass &&= holds
    figures.push(`${name} ${shown(difference)}${holds ? '' : ' (!)'}`)
  }
  return { pass, figure: figures.join('; ') }
}

async function hiddenAbovePxtr(results: ProofResults): Promise<Verdict> {
  const equal = await results.difference(SIX, 'uniform weights', 'Pxtr + MLP', gauc('mean'))
  const searched = await results.difference(SIX, 'pantheon', 'Pxtr + MLP + IPPO', gauc('mean'))
  return { pass: equal.low > 0, figure: `equal weights ${shown(equal)}; with IPPO ${shown(searched)}` }
}

/** A round in which the reference beats the formula in all, which equal weights do not. */
async function dominates(results: ProofResults): Promise<Verdict> {
  const accepted = results.values(SIX, 'pantheon', 'accepted bases')
  const rounds = results.values(SIX, 'pantheon', 'rounds')
  const behind: string[] = []
  for (const name of TASKS) {
    const difference = await results.difference(SIX, 'uniform weights', 'formula', gauc(name))
    if (!(difference.low > 0)) behind.push(`${name} ${shown(difference)}`)
  }
  return {
    pass: accepted.every((count) => count > 0) && behind.length > 0,
    figure:
      `bases accepted by seed: ${accepted.join(', ')} in ${rounds.join(', ')} rounds; ` +
      `equal weights not ahead of the formula on ${behind.join(', ') || 'none'}`,
  }
}

function basesAscend(results: ProofResults): Verdict {
  const accepted = results.values(SIX, 'pantheon', 'accepted bases')
  const least = results.values(SIX, 'pantheon', 'least lead of accepted')
  const all = sumOf(accepted)
  return {
    pass: all > 0 && least.every((lead, seed) => accepted[seed] === 0 || lead > 0),
    figure:
      all === 0
        ? 'no base was accepted: nothing to show'
        : `${all} accepted; least lead beyond its margin by seed ${least.map(points).join(', ')} points`,
  }
}

const placed = (results: ProofResults, arm: string): number[] =>
  SLICE.map((name) => {
    const values = results.values(THREE, arm, gauc(name))
    return sumOf(values) / values.length
  })

function nearFront(results: ProofResults): Verdict {
  const found = placed(results, 'pantheon')
  const all = grid.map((weights) => placed(results, gridName(weights)))
  const front = paretoFront(all)
  // How much would have to be added to every coordinate for the point to reach the front.
  const distance = Math.min(...front.map((point) => Math.max(...point.map((value, i) => value - (found[i] as number)))))
  const reference = SLICE.map((_, i) => Math.min(...all.map((point) => point[i] as number), found[i] as number) - 0.001)
  const [without, withIt] = [hypervolume(all, reference), hypervolume([...all, found], reference)]
  return {
    pass: distance <= 0.003,
    figure:
      `${points(Math.max(distance, 0))} points behind a front of ${front.length} of ${all.length} grid points, at ` +
      `${found.map((value) => (100 * value).toFixed(2)).join(' / ')}; hypervolume of the grid ${without.toExponential(3)}, ` +
      `with it ${withIt.toExponential(3)}`,
  }
}

function fewerTrainings(results: ProofResults): Verdict {
  const trainings = Math.max(...results.values(THREE, 'pantheon', 'trainings of the search'))
  const rounds = results.values(THREE, 'pantheon', 'rounds')
  return {
    pass: trainings < grid.length,
    figure: `${trainings} pass over the stream in ${rounds.join(', ')} rounds against ${grid.length} trainings of the grid`,
  }
}

function calibrated(results: ProofResults): Verdict {
  const worst = (statistic: string) => Math.max(...results.values(SIX, 'pantheon', statistic).map(Math.abs))
  const [mean, deviation, swapped] = [
    worst('matched mean error'),
    worst('matched deviation error'),
    worst('places changed'),
  ]
  return {
    pass: mean <= 0.01 && deviation <= 0.01 && swapped === 0,
    figure:
      `mean off by ${(100 * mean).toFixed(3)} % of a deviation, deviation by ${(100 * deviation).toFixed(3)} %; ` +
      `${swapped} neighbours changed places`,
  }
}

async function regret(results: ProofResults): Promise<Verdict> {
  const figures: string[] = []
  for (const arm of ['formula', 'pantheon', 'no user features']) {
    const { mean, low, high } = await results.mean(SIX, arm, 'regret')
    figures.push(`${arm} ${(100 * mean).toFixed(2)} % [${(100 * low).toFixed(2)}, ${(100 * high).toFixed(2)}]`)
  }
  const less = await results.difference(SIX, 'pantheon', 'formula', 'regret')
  return { pass: null, figure: `${figures.join('; ')}; less the formula's ${shown(less)} points` }
}

async function survives(results: ProofResults, point: string): Promise<Verdict> {
  const figures: string[] = []
  for (const name of [...TASKS, 'mean']) {
    const difference = await results.difference(point, 'pantheon', 'formula', gauc(name))
    figures.push(`${name} ${shown(difference)}`)
  }
  return { pass: null, figure: figures.join('; ') }
}

const identity = (check: (executor: Executor) => Promise<Verdict>, name: string, text: string): AcceptanceLine => ({
  name: `identity: ${name}`,
  text,
  part: 'identity',
  check: (_, { executor }) => check(executor),
})

const simulated = (name: string, text: string, needs: string, check: AcceptanceLine['check']): AcceptanceLine => ({
  name,
  text,
  part: 'simulator',
  needs: [needs],
  ...(check ? { check } : {}),
})

const acceptance: AcceptanceLine[] = [
  identity(
    rankerIsAlone,
    'isolation',
    'ranker bit-equal with and without the ensemble after 1,000 steps; not so without sg',
  ),
  identity(fusedLossIsSum, 'fused loss', 'equals the sum of N cross entropies to 1e-6, its gradient to 1e-5'),
  identity(scaleDoesNotMatter, 'scale', 'weights by 7 and the rate by 1/7 give the same trajectory (SGD)'),
  identity(scoreIsWeightedMean, 'optimum', "with known p the score's correlation with sum w p / W is above 0.99"),
  simulated(
    'beats the formula',
    'hidden + MLP + IPPO above the tuned formula on all N GAUCs (lower 95 % bound > 0), mean at least +1.0 point',
    SIX,
    (results) => beatsFormula(results, SIX, 'pantheon'),
  ),
  simulated('hidden above Pxtr', 'hidden states above Pxtr on mean GAUC', SIX, hiddenAbovePxtr),
  simulated(
    'IPPO dominates',
    'reaches a round that dominates the formula, which equal weights do not on at least one objective',
    SIX,
    dominates,
  ),
  simulated('bases ascend', 'each accepted base dominates the one before on its held-out window', SIX, basesAscend),
  simulated('slice: near the front', 'final point within 0.3 point of the Pareto front of the grid', THREE, nearFront),
  simulated('slice: fewer trainings', 'IPPO used fewer trainings than the grid', THREE, fewerTrainings),
  {
    ...simulated(
      'personalisation',
      'regret of the first 10 of 300 by true utility: formula, Pantheon, Pantheon without UserFea; no bar is set',
      SIX,
      regret,
    ),
    part: 'report',
  },
  ...[10, 100].map(
    (by): AcceptanceLine => ({
      name: `stress, rates 1/${by}`,
      text: 'rates of rare objectives divided: which gains over the formula survive; no bar is set',
      part: 'stress',
      needs: [`${STRESS} / 1/${by}`],
      check: (results) => survives(results, `${STRESS} / 1/${by}`),
    }),
  ),
  simulated(
    'calibration',
    'after matching, the first two moments agree to 1 % and the order is unchanged',
    SIX,
    calibrated,
  ),
  {
    name: 'KuaiRand-Pure',
    text: 'against the tuned formula on the later standard log and on the random log, mean at least +0.5 point',
    part: 'public data',
    absent: 'KuaiRand-Pure',
  },
  {
    name: 'KuaiLive',
    text: 'click, comment, like, gift against the tuned formula, mean at least +0.5 point',
    part: 'public data',
    absent: 'KuaiLive',
  },
]

const inSix = Object.keys(arms).filter((arm) => !arm.startsWith('grid'))

export const pantheonProof: Proof = {
  system: 'pantheon',
  title: 'Pantheon on live rooms with six known objectives',
  tasks: [...TASKS],
  arms,
  reference: 'pantheon',
  sizes: {
    quick: { seeds: 3, train: 320_000, test: 80_000, epochs: 1, batchSize: 512, learningRate: 3e-3 },
    full: { seeds: 5, train: 1_700_000, test: 300_000, epochs: 1, batchSize: 2048, learningRate: 3e-3 },
    specified: { seeds: 5, train: 1_700_000, test: 300_000 },
  },
  experiments: [
    { name: SIX, data: data({ requests: { count: 300, candidates: 300 } }), arms: inSix, config },
    {
      name: THREE,
      data: data(),
      arms: ['pantheon', 'formula', ...grid.map(gridName)],
      config: { ...config, objectives: [...SLICE] },
      sizes: { quick: { seeds: 1 } },
    },
    {
      name: STRESS,
      data: data(),
      points: [10, 100].map(rarer),
      arms: ['pantheon', 'uniform weights', "formula's weights", 'formula'],
      config,
      sizes: { quick: { seeds: 1 } },
    },
  ],
  trainer: pantheonTrainer as never,
  columns: [
    ...TASKS.map((name) => ({ statistic: gauc(name), title: name })),
    { statistic: gauc('mean'), title: 'mean' },
  ],
  plots: [
    {
      title: 'Mean GAUC as rare objectives grow rarer',
      experiment: STRESS,
      xLabel: 'rates divided by',
      statistic: gauc('mean'),
    },
    {
      title: 'GAUC of gifts as they grow rarer',
      experiment: STRESS,
      xLabel: 'rates divided by',
      statistic: gauc('gift'),
    },
  ],
  acceptance,
}
