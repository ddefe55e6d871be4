/** What FARM claims and how it is put to the test: histories whose slow and rare interests are known. */
import { type Interval, ratioStatistic, type UserStatistic, withinUsersStatistic } from '../../metrics/index.js'
import { aucStatistic } from '../../metrics/userStatistic.js'
import type { Executor } from '../../runtime/index.js'
import type { AcceptanceLine, Proof, ProofArm, ProofOutcome, ProofPoint, ProofResults, Verdict } from '../proof.js'
import {
  bandsAddUp,
  cutoffsAtTheEnds,
  formsAgree,
  gradientsMatchDifferences,
  highSumsToZero,
  lowIsProjection,
  shiftsWithTheSequence,
} from './identities.js'

/** PLE over the candidate's attention to the acts as they are. */
const plain = { encoder: 'plain', fuse: 'target', align: 'none' }

const arms = {
  farm: { role: 'system', summary: 'frequency-aware, aligned, fused' },
  base: { role: 'baseline', summary: 'PLE and target attention', config: plain },
  'base, no behaviours': {
    role: 'baseline',
    summary: 'the base without what was done in an act',
    config: { ...plain, behaviour: false },
  },
  'base, rare acts': {
    role: 'baseline',
    summary: 'the base with likes and gifts as a subsequence of their own',
    config: { ...plain, rare: 'rare' },
  },
  'MLP gate': {
    role: 'baseline',
    summary: 'FARM with as many parameters, all frequencies times alpha + beta',
    config: { filter: 'gate' },
  },
  sasrec: { role: 'baseline', summary: 'causal self-attention as encoder', config: { ...plain, encoder: 'sasrec' } },
  bsarec: {
    role: 'baseline',
    summary: 'self-attention and Low + b^2 High as encoder',
    config: { ...plain, encoder: 'bsarec' },
  },
  'no frequency': { role: 'ablation', summary: 'encoder without a filter', config: { filter: 'none' } },
  'beta 0': { role: 'ablation', summary: 'no high frequencies', config: { fixedBeta: 0 } },
  'gates fixed': { role: 'ablation', summary: 'alpha = beta = 1/2', config: { fixedAlpha: 0.5, fixedBeta: 0.5 } },
  'b^2 High': { role: 'ablation', summary: 'Low + b^2 High, b by channel', config: { filter: 'channel' } },
  'learned filter': { role: 'ablation', summary: 'a complex weight for each frequency', config: { filter: 'full' } },
  ragged: { role: 'ablation', summary: 'transforms without padding', config: { ragged: true } },
  'cutoff 2': { role: 'ablation', summary: 'low: 2 bins of video', config: { cutoffShare: 0.007 } },
  'cutoff 17': { role: 'ablation', summary: 'low: 17 bins of video', config: { cutoffShare: 0.12 } },
  'no align': { role: 'ablation', summary: 'without L_align', config: { align: 'none' } },
  'align after fuse': { role: 'ablation', summary: 'L_align of what domains read', config: { align: 'after' } },
  'no fuse': { role: 'ablation', summary: 'pooled vectors side by side', config: { fuse: 'pooled' } },
  'live only': { role: 'ablation', summary: 'without short video', config: { domains: 'live', align: 'none' } },
} as const satisfies Record<string, ProofArm>

type Arm = keyof typeof arms
const onGrid: Arm[] = ['farm', 'base', 'base, rare acts', 'MLP gate', 'no frequency', 'beta 0']
const elsewhere = (Object.keys(arms) as Arm[]).filter((arm) => !onGrid.includes(arm) || arm === 'farm')

/** A small network, equal for all; candidates of a request share what is read of their user. */
const config = {
  dimensions: 32,
  embeddingDimensions: 8,
  heads: 2,
  videoLength: 135,
  liveLength: 100,
  gateSees: 'user',
  perRequest: 10,
  products: true,
  levels: 1,
  expertSizes: [64, 32],
  towerSizes: [32],
  dropout: 0,
}

/** Fewer authors and items than the preset, so that a short run meets each often; labels of high contrast. */
const platform = { authors: 64, videos: 640, rooms: 128, authorSpread: 0.2, sharpness: 20, scale: 5, clickRate: 0.5 }
const simulator = (knobs: object) =>
  ({ kind: 'simulator', preset: 'farm', content: 'item', knobs: { ...platform, ...knobs } }) as const

const weight = (omega: number): ProofPoint => ({ name: `omega ${omega}`, knobs: { omega }, x: omega })
const acts = (live: number): ProofPoint => ({ name: `${live} live acts`, knobs: { liveActs: live }, x: live })
const OMEGAS = [0, 0.25, 0.5, 0.75, 1]

/** Users with fewer acts than this are of low activity: about a third where activity varies. */
const FEW_ACTS = 40

// Statistics -----------------------------------------------------------------------------------------------------------

async function measure({ count, predictions, users, column }: ProofOutcome): Promise<Record<string, UserStatistic>> {
  const scores = predictions.click as Float32Array
  const [labels, p, before] = ['click', 'truth.pClick', 'truth.acts'].map(column) as [
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
  ]
  const isLow = (row: number) => (before[row] as number) < FEW_ACTS
  const gauc = (where?: (row: number) => boolean) => withinUsersStatistic(scores, labels, users, where ? { where } : {})
  const share = (alpha: Float32Array | undefined, beta: Float32Array | undefined) =>
    ratioStatistic({
      count,
      users,
      numerator: (row) => beta?.[row] ?? Number.NaN,
      denominator: (row) => (alpha?.[row] ?? Number.NaN) + (beta?.[row] ?? Number.NaN),
    })
  const { alphaVideo, betaVideo, alphaLive, betaLive } = predictions as Readonly<Record<string, Float32Array>>
  return {
    GAUC: await gauc(),
    UAUC: await withinUsersStatistic(scores, labels, users, { even: true }),
    AUC: await aucStatistic(scores, labels, users),
    'best GAUC': await withinUsersStatistic(Float32Array.from(p), labels, users),
    'GAUC low': await gauc(isLow),
    'GAUC high': await gauc((row) => !isLow(row)),
    MAE: await ratioStatistic({
      count,
      users,
      numerator: (row) => Math.abs((scores[row] as number) - (p[row] as number)),
    }),
    ...(betaVideo ? { 'beta share, video': await share(alphaVideo, betaVideo) } : {}),
    ...(betaLive ? { 'beta share, live': await share(alphaLive, betaLive) } : {}),
  }
}

// Acceptance -----------------------------------------------------------------------------------------------------------

const signed = (value: number): string => `${value < 0 ? '' : '+'}${(100 * value).toFixed(2)}`
/** In points of GAUC. */
const shown = ({ mean, low, high }: Interval): string => `${signed(mean)} [${signed(low)}, ${signed(high)}]`
const onOmega = (omega: number) => `omega / omega ${omega}`

const lessThan = (results: ProofResults, point: string, other: Arm, statistic = 'GAUC', ours: Arm = 'farm') =>
  results.difference(point, ours, other, statistic)

/** Spearman's rank correlation of short lists without ties. */
function rankCorrelation(x: readonly number[], y: readonly number[]): number {
  const ranks = (values: readonly number[]) => values.map((value) => values.filter((other) => other < value).length)
  const [a, b] = [ranks(x), ranks(y)]
  const squares = a.reduce((sum, rank, i) => sum + (rank - (b[i] as number)) ** 2, 0)
  return 1 - (6 * squares) / (x.length * (x.length ** 2 - 1))
}

/** A figure of each omega that was run, and how it rises. */
async function alongOmega(results: ProofResults, figure: (point: string) => Promise<number>) {
  const omegas = OMEGAS.filter((omega) => results.has(onOmega(omega)))
  const values: number[] = []
  for (const omega of omegas) values.push(await figure(onOmega(omega)))
  return { omegas, values, correlation: rankCorrelation(omegas, values) }
}

async function highPath(results: ProofResults): Promise<Verdict> {
  const gain = (point: string) => lessThan(results, point, 'beta 0')
  const { omegas, values, correlation } = await alongOmega(results, async (point) => (await gain(point)).mean)
  const at0 = await gain(onOmega(0))
  return {
    pass: Math.abs(at0.mean) <= 0.001 && correlation >= 0.9,
    figure: `at omega 0 ${shown(at0)}; over omega ${omegas.join(', ')}: ${values.map(signed).join(', ')}, Spearman ${correlation.toFixed(2)}`,
  }
}

async function gatesRise(results: ProofResults): Promise<Verdict> {
  const figures: string[] = []
  let pass = true
  for (const domain of ['video', 'live']) {
    const { values, correlation } = await alongOmega(
      results,
      async (point) => (await results.mean(point, 'farm', `beta share, ${domain}`)).mean,
    )
    pass &&= correlation >= 0.9
    figures.push(`${domain} ${values.map((value) => value.toFixed(3)).join(', ')}, Spearman ${correlation.toFixed(2)}`)
  }
  return { pass, figure: `beta / (alpha + beta) over omega: ${figures.join('; ')}` }
}

async function lowActivity(results: ProofResults, other: Arm): Promise<Verdict> {
  const [low, high] = [
    await lessThan(results, 'activity', other, 'GAUC low'),
    await lessThan(results, 'activity', other, 'GAUC high'),
  ]
  return {
    pass: low.mean > high.mean && low.low > 0,
    figure: `less ${other}: below ${FEW_ACTS} acts ${shown(low)}, from there ${shown(high)}`,
  }
}

async function honesty(results: ProofResults): Promise<Verdict> {
  const figures: string[] = []
  for (const omega of OMEGAS.filter((each) => results.has(onOmega(each)))) {
    const difference = await lessThan(results, onOmega(omega), 'base, rare acts')
    const word = difference.low > 0 ? 'ahead' : difference.high < 0 ? 'behind' : 'equal'
    figures.push(`omega ${omega}: ${shown(difference)}, ${word}`)
  }
  return { pass: null, figure: `FARM less the base with rare acts told apart: ${figures.join('; ')}` }
}

const identity = (check: (executor: Executor) => Promise<Verdict>, text: string): AcceptanceLine => ({
  name: `identity: ${text.split(':')[0]}`,
  text,
  part: 'identity',
  check: (_, { executor }) => check(executor),
})

const simulated = (
  name: string,
  text: string,
  needs: readonly string[],
  check: (results: ProofResults) => Promise<Verdict>,
): AcceptanceLine => ({ name, text, part: 'simulator', needs, check })

const acceptance: AcceptanceLine[] = [
  identity(bandsAddUp, 'bands: Low + High = V to 1e-6'),
  identity(lowIsProjection, 'projection: Low of Low = Low'),
  identity(formsAgree, 'forms: both kernels agree to 1e-5 at eight lengths'),
  identity(cutoffsAtTheEnds, 'cutoffs: c = 0 gives Low = 0, all bins give Low = V'),
  identity(gradientsMatchDifferences, 'gradients: as finite differences'),
  identity(highSumsToZero, 'sums: High is 0 summed over time'),
  identity(shiftsWithTheSequence, 'shifts: a turned sequence turns what comes of it'),
  ...OMEGAS.filter((omega) => omega >= 0.5).map((omega) =>
    simulated(
      `(1) frequency, omega ${omega}`,
      `GAUC above that without the filter, lower bound > 0${omega === 1 ? ', at least +0.5 point' : ''}`,
      [onOmega(omega)],
      async (results) => {
        const gain = await lessThan(results, onOmega(omega), 'no frequency')
        return { pass: gain.low > 0 && (omega < 1 || gain.mean >= 0.005), figure: shown(gain) }
      },
    ),
  ),
  simulated(
    '(1) high path',
    'less FARM with beta = 0: within 0.1 point at omega 0, rising with omega (Spearman at least 0.9)',
    [onOmega(0), onOmega(1)],
    highPath,
  ),
  simulated('(2) gates', 'learned beta / alpha rises with omega', [onOmega(0), onOmega(1)], gatesRise),
  simulated(
    '(3) align, 3 live acts',
    'all valuable acts in video: GAUC at least 0.5 point above that without L_align',
    ['align / 3 live acts'],
    async (results) => {
      const gain = await lessThan(results, 'align / 3 live acts', 'no align')
      return { pass: gain.mean >= 0.005, figure: shown(gain) }
    },
  ),
  simulated(
    '(3) align shrinks',
    'that gain shrinks as live history grows to 100',
    ['align / 3 live acts', 'align / 100 live acts'],
    async (results) => {
      const few = await lessThan(results, 'align / 3 live acts', 'no align')
      const many = await lessThan(results, 'align / 100 live acts', 'no align')
      return { pass: many.mean < few.mean && few.mean > 0, figure: `${shown(few)}, then ${shown(many)}` }
    },
  ),
  simulated('(4) low activity', 'users with few acts gain most', ['activity'], (results) =>
    lowActivity(results, 'base'),
  ),
  {
    name: '(5) permuted',
    text: 'time order permuted within each history: the gain of the high path is at most 0.1 point',
    part: 'negative control',
    needs: ['permuted / omega 1'],
    async check(results) {
      const gain = await lessThan(results, 'permuted / omega 1', 'beta 0')
      return { pass: gain.mean <= 0.001, figure: shown(gain) }
    },
  },
  { ...simulated('(6) honesty', 'base with a subsequence of rare acts', [onOmega(1)], honesty), part: 'report' },
  simulated('base and BSARec', 'GAUC above the base, and not below BSARec', ['parts / omega 0.5'], async (results) => {
    const [base, bsarec] = [
      await lessThan(results, onOmega(0.5), 'base'),
      await lessThan(results, 'parts / omega 0.5', 'bsarec'),
    ]
    return {
      pass: base.low > 0 && bsarec.mean >= 0,
      figure: `less the base ${shown(base)}; less BSARec ${shown(bsarec)}`,
    }
  }),
  {
    name: 'KuaiLive',
    text: 'frequency module alone on click, like and gift, last 3 days test',
    part: 'public data',
    absent: 'KuaiLive',
  },
  {
    name: 'KuaiRand-Pure',
    text: 'rich and poor domain at 9:1: GAUC at least the better of base and BSARec, lower bound above base',
    part: 'public data',
    absent: 'KuaiRand-Pure',
  },
  {
    name: 'Amazon pairs',
    text: 'leave-one-out HR@10 and NDCG@10 over users that two domains share',
    part: 'public data',
    notRun:
      'data unfit: the pairs at hand (sport and cloth) have no times, and without an order there are no frequencies',
  },
  {
    name: 'LastFM',
    text: 'the frequency module on public sequences',
    part: 'public data',
    notRun:
      'data unfit: one domain, no behaviours and no exposures without a click, so neither gates, align nor labels have ' +
      "anything to learn; the module alone ranks LastFM as the system 'frequency'",
  },
]

export const farmProof: Proof<Arm> = {
  system: 'farm',
  title: 'FARM on histories with known interests',
  tasks: ['click'],
  arms,
  reference: 'farm',
  sizes: {
    quick: { seeds: 2, train: 30_000, test: 20_000, epochs: 4, batchSize: 100, learningRate: 3e-3, clipNorm: 5 },
    full: { seeds: 5, train: 100_000, test: 50_000, epochs: 4, batchSize: 200, learningRate: 3e-3, clipNorm: 5 },
    specified: { seeds: 5 },
  },
  experiments: [
    {
      name: 'omega',
      data: simulator({ rareActs: true }),
      points: OMEGAS.map(weight),
      quickPoints: [0, 0.5, 1].map((omega) => weight(omega).name),
      arms: onGrid,
      quickArms: onGrid.filter((arm) => arm !== 'MLP gate'),
      config,
    },
    {
      name: 'parts',
      data: simulator({}),
      points: [weight(0.5), weight(1)],
      quickPoints: ['omega 0.5'],
      arms: elsewhere,
      quickArms: ['farm', 'sasrec', 'bsarec', 'no align', 'no fuse', 'live only', 'learned filter'],
      config,
      sizes: { quick: { seeds: 1 } },
    },
    {
      name: 'align',
      data: simulator({ videoOnly: 1, omega: 1 }),
      points: [3, 15, 50, 100].map(acts),
      quickPoints: ['3 live acts'],
      arms: ['farm', 'no align'],
      // Nobody would be aligned who has but 3 acts.
      config: { ...config, leastActs: 1 },
    },
    {
      name: 'activity',
      data: simulator({ activitySpread: 1, omega: 0.5 }),
      arms: ['farm', 'base', 'no align'],
      quickArms: ['farm', 'base'],
      config,
    },
    {
      name: 'permuted',
      data: simulator({ permute: true }),
      points: [weight(1)],
      arms: ['farm', 'beta 0', 'no frequency'],
      quickArms: ['farm', 'beta 0'],
      config,
    },
  ],
  measure,
  columns: [
    { statistic: 'GAUC', title: 'GAUC' },
    { statistic: 'UAUC', title: 'UAUC' },
    { statistic: 'AUC', title: 'AUC' },
    { statistic: 'best GAUC', title: 'of the truth' },
    { statistic: 'GAUC low', title: 'GAUC, few acts' },
    { statistic: 'GAUC high', title: 'GAUC, many' },
    { statistic: 'MAE', title: 'MAE' },
  ],
  plots: [
    { title: 'GAUC', experiment: 'omega', xLabel: 'omega', statistic: 'GAUC' },
    {
      title: 'Share of the high path, short video',
      experiment: 'omega',
      xLabel: 'omega',
      statistic: 'beta share, video',
      arms: ['farm'],
    },
    { title: 'Align: all valuable acts in video', experiment: 'align', xLabel: 'live acts', statistic: 'GAUC' },
  ],
  acceptance,
}
