/**
 * The losses of ChorusCVR (arXiv 2502.08277, section 3) and of its baselines, from logits and labels.
 *
 * o = click, r = conversion, seen where o = 1; D = all rows, O = clicked, N = not. Sums over O and N are divided by the
 * size of D, which makes inverse propensities an unbiased mean over D.
 */
import type { Tensor } from '../../graph/node.js'
import { inversePropensity, productCrossEntropy, weightStatistics } from '../../losses/index.js'
import {
  abs,
  add,
  divide,
  full,
  multiply,
  negate,
  oneMinus,
  sigmoid,
  softplus,
  square,
  stopGradient,
  subtract,
  sum,
} from '../../ops/index.js'
import type { ChorusCvrConfig, parts } from './config.js'

export type Rows = Tensor<readonly ['batch'], 'float32'>
export type Scalar = Tensor<readonly [], 'float32'>

/** Logits of the towers. `third`: unCVR of chorus, imputed loss, counterfactual CVR, or conversion propensity. */
export interface FunnelLogits {
  readonly click: Rows
  readonly conversion: Rows
  readonly third?: Rows
  /** By which rows weigh; that of the click's tower unless told. */
  readonly propensity?: Rows
}

export interface FunnelLabels {
  readonly click: Rows
  readonly conversion: Rows
}

type Part = (typeof parts)[number]

/** Losses by name, each already weighted but for `align`; their sum is what a method minimises. */
type Losses = Readonly<Partial<Record<Part | 'imputation' | 'counterfactual' | 'pseudo', Scalar>>>

/** Cross entropy in two terms: its gradient -y sigmoid(-x) + (1 - y) sigmoid(x) keeps small differences, sigmoid(x) - y not. */
const delta = (y: Rows, x: Rows, notY: Rows = oneMinus(y)): Rows =>
  add(multiply(y, softplus(negate(x))), multiply(notY, softplus(x)))

/** Means over D, O and N, and the weights of rows in them. */
class Means {
  private readonly weights: Rows
  private readonly unclicked: Rows
  readonly clickedWeights: Rows
  readonly unclickedWeights: Rows

  constructor(
    { click, propensity = click }: Pick<FunnelLogits, 'click' | 'propensity'>,
    private readonly clicked: Rows,
    config: ChorusCvrConfig,
  ) {
    const weighs = !config.without.includes('ipw')
    const ones = full(clicked.shape, 1)
    this.unclicked = oneMinus(clicked)
    this.weights = add(clicked, multiply(this.unclicked, 1 / config.unclickedRate))
    this.clickedWeights = weighs ? inversePropensity(propensity, config) : ones
    this.unclickedWeights = weighs ? inversePropensity(negate(propensity), config) : ones
  }

  /** 1/|D| sum_D */
  overAll = (losses: Rows): Scalar => divide(sum(multiply(losses, this.weights)), sum(this.weights))
  /** 1/|D| sum_O without weights by propensity */
  overClicked = (losses: Rows): Scalar => this.overAll(multiply(losses, this.clicked))
  /** 1/|D| sum_O . / sg(ohat) */
  weighedClicked = (losses: Rows): Scalar => this.overClicked(multiply(losses, this.clickedWeights))
  /** 1/|D| sum_N . / (1 - sg(ohat)) */
  weighedUnclicked = (losses: Rows): Scalar =>
    this.overAll(multiply(losses, multiply(this.unclicked, this.unclickedWeights)))
}

/** Equations 3, 4, 7, 9 and 10. */
function chorusLosses(
  logits: FunnelLogits & { readonly third: Rows },
  { click: o, conversion: r }: FunnelLabels,
  config: ChorusCvrConfig,
) {
  const { click: lo, conversion: lr, third: ln } = logits
  const { overAll, weighedClicked, weighedUnclicked } = new Means(logits, o, config)
  const alignment = alignLosses(lr, ln, config)
  const aligned = {
    clicked: weighedClicked(alignment),
    unclicked: weighedUnclicked(alignment),
  }
  return {
    ctr: overAll(delta(o, lo)),
    ctcvr: overAll(productCrossEntropy(lo, lr, multiply(o, r), { reduction: 'none' })),
    cvr: weighedClicked(delta(r, lr)),
    ctuncvr: overAll(productCrossEntropy(lo, ln, multiply(o, oneMinus(r)), { reduction: 'none' })),
    uncvr: weighedClicked(delta(oneMinus(r), ln)),
    align: config.alignOn === 'all' ? add(aligned.clicked, aligned.unclicked) : aligned[config.alignOn],
  }
}

/** delta(sg(1 - nhat), rhat) + delta(sg(1 - rhat), nhat). */
export function alignLosses(lr: Rows, ln: Rows, { alignLearns }: Pick<ChorusCvrConfig, 'alignLearns'>): Rows {
  /** The other tower's probability, turned round: 1 - sigmoid(x) = sigmoid(-x). */
  const from = (other: Rows, x: Rows) => delta(stopGradient(sigmoid(negate(other))), x, stopGradient(sigmoid(other)))
  return alignLearns === 'cvr' ? from(ln, lr) : add(from(ln, lr), from(lr, ln))
}

type Baseline = (logits: FunnelLogits, labels: FunnelLabels, config: ChorusCvrConfig) => Losses

/** L_ctr, and with its weight L_ctcvr: ESMM (Ma et al. 2018, equation 3), on which the others build. */
const esmm: Baseline = (logits, { click: o, conversion: r }, config) => {
  const { click: lo, conversion: lr } = logits
  const { overAll } = new Means(logits, o, config)
  const joint = productCrossEntropy(lo, lr, multiply(o, r), { reduction: 'none' })
  return { ctr: overAll(delta(o, lo)), ctcvr: multiply(overAll(joint), config.ctcvrWeight) }
}

const baselines: Readonly<Record<Exclude<ChorusCvrConfig['method'], 'chorus'>, Baseline>> = {
  'single-task': (logits, { click: o, conversion: r }, config) => {
    const { click: lo, conversion: lr } = logits
    const { overAll, overClicked } = new Means(logits, o, config)
    return { ctr: overAll(delta(o, lo)), cvr: overClicked(delta(r, lr)) }
  },

  esmm,

  // Wang et al. 2022, equations 7 and 13.
  'escm2-ipw': (logits, labels, config) => {
    const { weighedClicked } = new Means(logits, labels.click, config)
    const conversion = weighedClicked(delta(labels.conversion, logits.conversion))
    return { ...esmm(logits, labels, config), cvr: multiply(conversion, config.cvrWeight) }
  },

  // Equations 9 and 10: the imputed loss stands for the real one where nobody clicked. It learns from the real one and
  // not the other way round (Wang et al. 2019, algorithm 1).
  'escm2-dr': (logits, labels, config) => {
    const { overAll, weighedClicked } = new Means(logits, labels.click, config)
    const imputed = softplus(logits.third as Rows)
    const real = delta(labels.conversion, logits.conversion)
    const missed = square(subtract(stopGradient(real), imputed))
    return {
      ...esmm(logits, labels, config),
      cvr: multiply(add(overAll(imputed), weighedClicked(subtract(real, imputed))), config.cvrWeight),
      imputation: multiply(weighedClicked(missed), config.cvrWeight),
    }
  },

  // Zhu et al. 2023: the second tower is the counterfactual CVR, 1 on N; both should add up to 1.
  dcmt: (logits, labels, config) => {
    const { overAll, weighedClicked, weighedUnclicked } = new Means(logits, labels.click, config)
    const third = logits.third as Rows
    const factual = weighedClicked(delta(labels.conversion, logits.conversion))
    const counterfactual = weighedUnclicked(softplus(negate(third)))
    const gap = abs(oneMinus(add(sigmoid(logits.conversion), sigmoid(third))))
    return {
      ...esmm(logits, labels, config),
      cvr: multiply(add(factual, counterfactual), config.cvrWeight),
      counterfactual: multiply(overAll(gap), config.regulariserWeight),
    }
  },

  // Su et al. 2024: a tower that learns conversion on O labels N. Attention between towers: transfer.ts.
  ddpo: (logits, labels, config) => {
    const { overClicked, weighedClicked, weighedUnclicked } = new Means(logits, labels.click, config)
    const third = logits.third as Rows
    const clicked = weighedClicked(delta(labels.conversion, logits.conversion))
    const unclicked = weighedUnclicked(delta(stopGradient(sigmoid(third)), logits.conversion))
    return {
      ...esmm(logits, labels, config),
      cvr: multiply(add(clicked, unclicked), config.cvrWeight),
      pseudo: overClicked(delta(labels.conversion, third)),
    }
  },
}

/** `loss`, and beside it its parts and what the weights do, for logs. */
export function funnelLosses(
  logits: FunnelLogits,
  given: FunnelLabels,
  alignWeight: Scalar | number,
  config: ChorusCvrConfig,
): Readonly<Record<string, Scalar>> & { readonly loss: Scalar } {
  // A conversion without a click is never seen, even where the data knows it.
  const labels = { click: given.click, conversion: multiply(given.click, given.conversion) }
  const { method, without } = config
  const all: Losses =
    method === 'chorus'
      ? chorusLosses(logits as FunnelLogits & { third: Rows }, labels, config)
      : baselines[method](logits, labels, config)
  const kept = Object.entries(all).filter(([name]) => !without.includes(name as Part))
  const terms = kept.map(([name, loss]) => (name === 'align' ? multiply(loss, alignWeight) : loss))
  const { clickedWeights } = new Means(logits, labels.click, config)
  const { effectiveSampleSize, clippedShare } = weightStatistics(clickedWeights, labels.click, config)
  return {
    loss: terms.reduce((total, term) => add(total, term)),
    ...Object.fromEntries(kept),
    effectiveSampleSize,
    clippedShare,
  }
}
