/** What ChorusCVR claims and how it is put to the test: funnels whose conversion is known for every exposure. */
import { createTimeSlice, inSlices } from '../../core/timeSlice.js'
import {
  aucStatistic,
  EqualMassCalibration,
  type Interval,
  measure as measureMetric,
  plainStatistic,
  rankCorrelation,
  ratioStatistic,
  type UserStatistic,
} from '../../metrics/index.js'
import type { Executor } from '../../runtime/index.js'
import type { AcceptanceLine, Proof, ProofArm, ProofOutcome, ProofPoint, ProofResults, Verdict } from '../proof.js'
import {
  alignHasEveryFixedPoint,
  alignStopsAtClick,
  certainClicksWeighOne,
  gradientMatchesDifferences,
  lossMatchesReference,
  propensityIsUnbiased,
} from './identities.js'

const arms = {
  chorus: { role: 'system', summary: 'NDM and SAM, w_a ramped to 0.5' },
  // Nothing but conversion on clicks: its tower of clicks learns nothing.
  'single-task': { role: 'baseline', summary: 'CVR on O', config: { method: 'single-task', without: ['ctr'] } },
  esmm: { role: 'baseline', summary: 'L_ctr + L_ctcvr', config: { method: 'esmm' } },
  'escm2-ipw': {
    role: 'baseline',
    summary: 'ESMM and CVR weighed by propensity, both by 0.5',
    config: { method: 'escm2-ipw', cvrWeight: 0.5, ctcvrWeight: 0.5 },
  },
  'escm2-dr': {
    role: 'baseline',
    summary: 'the same with an imputed loss (doubly robust)',
    config: { method: 'escm2-dr', cvrWeight: 0.5, ctcvrWeight: 0.5 },
  },
  dcmt: { role: 'baseline', summary: 'a counterfactual CVR beside CVR', config: { method: 'dcmt' } },
  ddpo: { role: 'baseline', summary: 'pseudo labels of conversion on N', config: { method: 'ddpo' } },
  'no NDM': { role: 'ablation', summary: 'no unCVR tower: ESCM2-IPW by weights of 1', config: { method: 'escm2-ipw' } },
  'no unCVR IPW': { role: 'ablation', summary: 'without L_uncvr^IPW', config: { without: ['uncvr'] } },
  'no align': { role: 'ablation', summary: 'without L_align^IPW', config: { without: ['align'] } },
  'align on O': { role: 'ablation', summary: 'align on clicks only', config: { alignOn: 'clicked' } },
  'align on N': { role: 'ablation', summary: 'align on the rest only', config: { alignOn: 'unclicked' } },
  'align one way': { role: 'ablation', summary: 'align moves rhat only', config: { alignLearns: 'cvr' } },
  'no IPW': { role: 'ablation', summary: 'weights of 1', config: { without: ['ipw'] } },
  'no CTR loss': { role: 'ablation', summary: 'click learnt through products', config: { without: ['ctr'] } },
  'w_a 0.25': { role: 'ablation', summary: 'align weighs 0.25', config: { alignWeight: 0.25 } },
  'w_a 1': { role: 'ablation', summary: 'align weighs 1', config: { alignWeight: 1 } },
  'w_a 2': { role: 'ablation', summary: 'align weighs 2', config: { alignWeight: 2 } },
  'no ramp': { role: 'ablation', summary: 'align weighs 0.5 from the first step', config: { alignRamp: 0 } },
} as const satisfies Record<string, ProofArm>

type Arm = keyof typeof arms
const compared: Arm[] = ['chorus', 'single-task', 'esmm', 'escm2-ipw', 'escm2-dr', 'dcmt', 'ddpo']
const ablations = (Object.keys(arms) as Arm[]).filter((arm) => arms[arm].role === 'ablation')

/** Sizes of the paper's reproduction. */
const config = { dimensions: 16, bottomSizes: [256, 128], towerSizes: [64, 32], dropout: 0.1 }

const rho = (correlation: number): ProofPoint => ({
  name: `rho ${correlation}`,
  knobs: { correlation },
  x: correlation,
})
const clicks = (clickRate: number): ProofPoint => ({
  name: `CTR ${100 * clickRate} %`,
  knobs: { clickRate, correlation: 0.5 },
  x: 100 * clickRate,
})
const selected = (clickScale: number): ProofPoint => ({
  name: `strength ${clickScale}`,
  knobs: { clickScale, correlation: 0.9 },
  x: clickScale,
})
const simulator = (knobs: object) => ({ kind: 'simulator', preset: 'chorus-cvr', knobs: { ...knobs } }) as const

// Statistics -----------------------------------------------------------------------------------------------------------

/** Bias, error, calibration and order of rhat against the truth on D, O and N; what is usually seen; and nhat. */
async function measure({ count, predictions, users, column }: ProofOutcome): Promise<Record<string, UserStatistic>> {
  const { CTR, CVR, CTCVR, unCVR } = predictions as Record<string, Float32Array>
  const [click, shown, r, p] = ['click', 'conversion', 'truth.conversion', 'truth.pConversion'].map(column) as [
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
  ]
  const rhat = CVR as Float32Array
  const at = (values: ArrayLike<number>, row: number) => values[row] as number
  const isClicked = (row: number) => click[row] === 1
  const isNot = (row: number) => click[row] === 0
  const ratio = (numerator: (row: number) => number, more: object = {}) =>
    ratioStatistic({ count, users, numerator, ...more })
  const bias = (where: (row: number) => boolean) =>
    ratio((row) => at(rhat, row) - at(p, row), { denominator: (row: number) => at(p, row), where })
  const bought = new Uint8Array(count)
  const real = new Uint8Array(count)
  await inSlices(count, createTimeSlice(), (begin, end) => {
    for (let row = begin; row < end; row++) {
      real[row] = at(r, row)
      bought[row] = isClicked(row) && shown[row] === 1 ? 1 : 0
    }
  })
  const logLoss = (row: number) => -Math.log(Math.max(real[row] === 1 ? at(rhat, row) : 1 - at(rhat, row), 1e-7))
  const { ece } = await measureMetric(new EqualMassCalibration(20), { scores: rhat, labels: real })
  return {
    B_D: await bias(() => true),
    B_O: await bias(isClicked),
    B_N: await bias(isNot),
    MAE: await ratio((row) => Math.abs(at(rhat, row) - at(p, row))),
    ECE: plainStatistic(ece),
    'AUC D': await aucStatistic(rhat, real, users),
    'AUC N': await aucStatistic(rhat, real, users, isNot),
    'log-loss': await ratio(logLoss),
    'CTR-AUC': await aucStatistic(CTR as Float32Array, click, users),
    'CVR-AUC': await aucStatistic(rhat, bought, users, isClicked),
    'CTCVR-AUC': await aucStatistic(CTCVR as Float32Array, bought, users),
    PCOC: await ratio((row) => at(rhat, row), { denominator: (row: number) => at(bought, row), where: isClicked }),
    ...(unCVR ? await discrimination(unCVR, { count, users, click, bought, p }) : {}),
  }
}

interface NdmRows {
  readonly count: number
  readonly users: ArrayLike<number>
  readonly click: ArrayLike<number>
  readonly bought: Uint8Array
  readonly p: ArrayLike<number>
}

/** How far factual negatives stand above ambiguous ones, in standard deviations over all rows. */
class Gap {
  private readonly sums = { factual: 0, ambiguous: 0, converted: 0 }
  private readonly counts = { factual: 0, ambiguous: 0, converted: 0 }
  private squares = 0

  add(value: number, side: 'factual' | 'ambiguous' | 'converted'): void {
    this.sums[side] += value
    this.counts[side]++
    this.squares += value * value
  }

  get share(): number {
    const { sums, counts } = this
    const [sum, count] = [sums, counts].map((of) => of.factual + of.ambiguous + of.converted) as [number, number]
    const spread = Math.sqrt(Math.max(this.squares / count - (sum / count) ** 2, 0))
    return (sums.factual / counts.factual - sums.ambiguous / counts.ambiguous) / spread
  }
}

/** Whether nhat tells factual from ambiguous negatives, and orders the latter. */
async function discrimination(nhat: Float32Array, { count, users, click, bought, p }: NdmRows) {
  const pause = createTimeSlice()
  const [ofTower, ofTruth] = [new Gap(), new Gap()]
  let unclicked = 0
  const [left, truth] = [new Float32Array(count), new Float32Array(count)]
  await inSlices(count, pause, (begin, end) => {
    for (let row = begin; row < end; row++) {
      const side = click[row] === 0 ? 'ambiguous' : bought[row] === 0 ? 'factual' : 'converted'
      ofTower.add(nhat[row] as number, side)
      ofTruth.add(1 - (p[row] as number), side)
      if (side !== 'ambiguous') continue
      left[unclicked] = 1 - (nhat[row] as number)
      truth[unclicked++] = p[row] as number
    }
  })
  const onN = [left, truth].map((values) => values.subarray(0, unclicked)) as [Float32Array, Float32Array]
  return {
    'nhat gap': plainStatistic(ofTower.share),
    'true gap': plainStatistic(ofTruth.share),
    'nhat rank': plainStatistic(await rankCorrelation(...onN)),
    'nhat bias N': await ratioStatistic({
      count,
      users,
      numerator: (row) => 1 - (nhat[row] as number) - (p[row] as number),
      denominator: (row) => p[row] as number,
      where: (row) => click[row] === 0,
    }),
  }
}

// Acceptance -----------------------------------------------------------------------------------------------------------

const signed = (value: number): string => `${value < 0 ? '' : '+'}${value.toFixed(4)}`
const shown = ({ mean, low, high }: Interval): string => `${signed(mean)} [${signed(low)}, ${signed(high)}]`
const setting1 = (correlation: number) => `setting 1 / rho ${correlation}`

/** |B| of chorus below ESMM's: by 30 %, and more than by chance. */
async function lessBias(results: ProofResults, point: string, statistic: string): Promise<Verdict> {
  const ours = await results.mean(point, 'chorus', statistic, 'absolute')
  const theirs = await results.mean(point, 'esmm', statistic, 'absolute')
  const less = await results.difference(point, 'esmm', 'chorus', statistic, 'absolute')
  const share = 1 - ours.mean / theirs.mean
  return {
    pass: less.low > 0 && share >= 0.3,
    figure: `${ours.mean.toFixed(4)} against ${theirs.mean.toFixed(4)}, ${(100 * share).toFixed(0)} % less; difference ${shown(less)}`,
  }
}

async function atLeast(
  results: ProofResults,
  point: string,
  others: readonly Arm[],
  statistic: string,
  least: number,
): Promise<Verdict> {
  const figures: string[] = []
  let pass = true
  for (const other of others) {
    const difference = await results.difference(point, 'chorus', other, statistic)
    pass &&= difference.mean >= least
    figures.push(`less ${other}'s ${shown(difference)}`)
  }
  return { pass, figure: figures.join('; ') }
}

/** No interval of |B| of chorus less another's lies above 0. */
async function noLoss(results: ProofResults, point: string): Promise<Verdict> {
  const figures: string[] = []
  let pass = true
  for (const other of ['escm2-ipw', 'dcmt'] as const) {
    const difference = await results.difference(point, 'chorus', other, 'B_N', 'absolute')
    pass &&= difference.low <= 0
    figures.push(`less ${other}'s ${shown(difference)}`)
  }
  return { pass, figure: figures.join('; ') }
}

async function control(results: ProofResults, point: string): Promise<Verdict> {
  const figures: string[] = []
  let pass = true
  for (const arm of compared.filter((name) => name !== 'single-task')) {
    const difference = await results.difference(point, arm, 'single-task', 'B_D', 'absolute')
    const isNoise = difference.low <= 0 && difference.high >= 0
    pass &&= isNoise
    figures.push(`${arm} ${shown(difference)}${isNoise ? '' : ' (!)'}`)
  }
  return { pass, figure: figures.join('; ') }
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
function variance(values: readonly number[]): number {
  const middle = mean(values)
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1)
}

function stressed(results: ProofResults, point: string): Verdict {
  const [ours, theirs] = ['chorus', 'escm2-ipw'].map((arm) => variance(results.values(point, arm, 'B_D'))) as [
    number,
    number,
  ]
  const size = mean(results.values(point, 'chorus', 'training.effectiveSampleSize'))
  const clipped = mean(results.values(point, 'chorus', 'training.clippedShare'))
  return {
    pass: ours <= 2 * theirs,
    figure:
      `variance of B_D ${ours.toExponential(2)} against ${theirs.toExponential(2)}, ratio ${(ours / theirs).toFixed(2)}; ` +
      `effective sample size ${size.toFixed(1)} a batch, ${(100 * clipped).toFixed(1)} % of weights at their bound`,
  }
}

const identity = (check: (executor: Executor) => Promise<Verdict>, text: string): AcceptanceLine => ({
  name: `identity: ${text.split(':')[0]}`,
  text,
  part: 'identity',
  check: (_, { executor }) => check(executor),
})

const perRho: AcceptanceLine[] = [0.5, 0.9].flatMap((correlation) => {
  const point = setting1(correlation)
  const at = `rho ${correlation}`
  const line = (name: string, text: string, check: (results: ProofResults) => Promise<Verdict>): AcceptanceLine => ({
    name: `${name}, ${at}`,
    text,
    part: 'simulator',
    needs: [point],
    check,
  })
  return [
    line('bias on D', '|B_D| below that of ESMM, lower 95 % bound > 0, at least 30 % less', (results) =>
      lessBias(results, point, 'B_D'),
    ),
    line('bias on N', '|B_N| below that of ESMM, lower 95 % bound > 0, at least 30 % less', (results) =>
      lessBias(results, point, 'B_N'),
    ),
    line('AUC on D', 'AUC on D at least that of ESMM and of single-task CVR', (results) =>
      atLeast(results, point, ['esmm', 'single-task'], 'AUC D', 0),
    ),
    line('CTR-AUC', 'CTR-AUC not below that of ESMM by more than 0.001', (results) =>
      atLeast(results, point, ['esmm'], 'CTR-AUC', -0.001),
    ),
    line('no loss', 'no loss in |B_N| against ESCM2-IPW and DCMT (two-sided 95 %)', (results) =>
      noLoss(results, point),
    ),
  ]
})

const acceptance: AcceptanceLine[] = [
  identity(lossMatchesReference, 'losses: as in float64, logits to +-30'),
  identity(gradientMatchesDifferences, 'gradients: as finite differences in float64, logits to +-30'),
  identity(alignStopsAtClick, 'stop-gradient: d L_align / d l_o = 0'),
  identity(certainClicksWeighOne, "certain clicks: with ohat = 1 L_cvr^IPW is the clicked rows' BCE over |D|"),
  identity(propensityIsUnbiased, 'unbiased: IPW gives the mean over D on two cells of known propensity'),
  identity(alignHasEveryFixedPoint, 'fixed point: rhat = 1 - nhat = t minimises align for every t'),
  ...perRho,
  {
    name: 'negative control, rho 0',
    text: "no model's |B_D| differs from that of single-task by more than noise",
    part: 'negative control',
    needs: [setting1(0)],
    check: (results) => control(results, setting1(0)),
  },
  {
    name: 'discrimination, rho 0.9',
    text: 'mean of nhat on factual negatives above that on N by at least 0.2 of its spread',
    part: 'simulator',
    needs: [setting1(0.9)],
    async check(results) {
      const gap = await results.mean(setting1(0.9), 'chorus', 'nhat gap')
      const truth = await results.mean(setting1(0.9), 'chorus', 'true gap')
      return { pass: gap.mean >= 0.2, figure: `${shown(gap)} of the spread; of the true 1 - p itself ${shown(truth)}` }
    },
  },
  {
    name: 'order of N, rho 0.9',
    text: 'rank correlation of 1 - nhat with the true CVR on N at least 0.5',
    part: 'simulator',
    needs: [setting1(0.9)],
    async check(results) {
      const rank = await results.mean(setting1(0.9), 'chorus', 'nhat rank')
      return { pass: rank.mean >= 0.5, figure: shown(rank) }
    },
  },
  ...[1, 0.5].map(
    (percent): AcceptanceLine => ({
      name: `stress, CTR ${percent} %`,
      text: 'effective sample size logged; variance of B_D over seeds at most twice that of ESCM2-IPW',
      part: 'stress',
      needs: [`stress / CTR ${percent} %`],
      check: (results) => stressed(results, `stress / CTR ${percent} %`),
    }),
  ),
  {
    name: 'setting 2',
    text: 'one confounder hidden: reported without a bar',
    part: 'report',
    needs: ['setting 2 / rho 0.9'],
  },
  {
    name: 'told propensities',
    text: 'rows weigh by the true chance of a click: how much of the bias is that of learnt propensities',
    part: 'report',
    needs: ['told propensities / rho 0.5'],
  },
  {
    name: 'exact features',
    text: 'z without noise: how much of the bias is what the features hide',
    part: 'report',
    needs: ['exact features / rho 0.5'],
  },
  {
    name: 'Ali-CCP',
    text: 'CTCVR-AUC at least that of ESMM, CVR-AUC above it with lower bound > 0, |PCOC - 1| at most 0.1',
    part: 'public data',
    absent: 'Ali-CCP, full or a user-wise tenth; the samples at hand have 10 to 99 rows',
  },
  {
    name: 'KuaiRand',
    text: 'trained on the standard log, measured on the randomly exposed one',
    part: 'public data',
    absent: 'KuaiRand',
  },
]

export const chorusCvrProof: Proof<Arm> = {
  system: 'chorus-cvr',
  title: 'ChorusCVR on funnels with known conversion',
  tasks: ['click', 'conversion'],
  arms,
  reference: 'chorus',
  sizes: {
    quick: { seeds: 3, train: 200_000, test: 100_000, epochs: 1, batchSize: 1024, learningRate: 1e-3, clipNorm: 5 },
    full: { seeds: 10, train: 1_000_000, test: 1_000_000, epochs: 1, batchSize: 4096, learningRate: 1e-3, clipNorm: 5 },
    specified: { seeds: 10, train: 1_000_000, test: 1_000_000 },
  },
  experiments: [
    {
      name: 'setting 1',
      data: simulator({ hidden: false }),
      points: [-0.5, 0, 0.5, 0.9].map(rho),
      quickPoints: ['rho 0', 'rho 0.5', 'rho 0.9'],
      arms: compared,
      config,
    },
    {
      name: 'stress',
      data: simulator({ hidden: false }),
      points: [0.01, 0.005].map(clicks),
      arms: ['chorus', 'esmm', 'escm2-ipw'],
      config,
    },
    {
      name: 'setting 2',
      data: simulator({ hidden: true }),
      points: [0.5, 0.9].map(rho),
      quickPoints: ['rho 0.9'],
      arms: compared,
      quickArms: ['chorus', 'single-task', 'esmm', 'escm2-ipw'],
      config,
    },
    {
      name: 'selection',
      data: simulator({ hidden: false }),
      points: [0.5, 3].map(selected),
      quickPoints: ['strength 3'],
      arms: compared,
      quickArms: ['chorus', 'single-task', 'esmm'],
      config,
    },
    {
      name: 'told propensities',
      data: { ...simulator({ hidden: false }), known: ['pClick'] },
      points: [0.5, 0.9].map(rho),
      quickPoints: ['rho 0.5'],
      arms: ['chorus', 'esmm', 'escm2-ipw'],
      config: { ...config, propensity: 'pClick' },
    },
    {
      name: 'exact features',
      data: simulator({ hidden: false, noise: 0 }),
      points: [rho(0.5)],
      arms: ['chorus', 'esmm', 'escm2-ipw'],
      config,
    },
    {
      name: 'ablations',
      data: simulator({ hidden: false }),
      points: [rho(0.9)],
      arms: ['chorus', ...ablations],
      config,
    },
  ],
  measure,
  columns: [
    { statistic: 'B_D', title: 'B_D' },
    { statistic: 'B_O', title: 'B_O' },
    { statistic: 'B_N', title: 'B_N' },
    { statistic: 'MAE', title: 'MAE' },
    { statistic: 'ECE', title: 'ECE' },
    { statistic: 'AUC D', title: 'AUC D' },
    { statistic: 'AUC N', title: 'AUC N' },
    { statistic: 'log-loss', title: 'log-loss' },
    { statistic: 'CTR-AUC', title: 'CTR-AUC' },
    { statistic: 'CVR-AUC', title: 'CVR-AUC' },
    { statistic: 'CTCVR-AUC', title: 'CTCVR-AUC' },
    { statistic: 'PCOC', title: 'PCOC on O' },
  ],
  plots: [
    { title: 'Bias on un-clicked rows', experiment: 'setting 1', xLabel: 'rho', statistic: 'B_N' },
    { title: 'Size of the bias on all rows', experiment: 'setting 1', xLabel: 'rho', statistic: 'B_D', of: 'absolute' },
    { title: 'AUC against the true conversion, all rows', experiment: 'setting 1', xLabel: 'rho', statistic: 'AUC D' },
    { title: 'Mean absolute error of CVR', experiment: 'setting 1', xLabel: 'rho', statistic: 'MAE' },
    { title: 'Bias on all rows at low click rates', experiment: 'stress', xLabel: 'CTR, %', statistic: 'B_D' },
  ],
  acceptance,
}
