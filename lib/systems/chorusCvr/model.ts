/**
 * Conversion rates on the whole space of exposures: a shared bottom under a tower for click, one for conversion and one
 * for what does not convert, which teach each other where nobody clicked.
 *
 * ChorusCVR: Chorus Supervision for Entire Space Post-Click Conversion Rate Modeling, arXiv 2502.08277, 2025.
 */
import { KairosError } from '../../core/errors.js'
import { input, scalarInput } from '../../graph/leaf.js'
import { fanInUniform, type Initializer, namedVariables } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, Mlp, StackedLinear, StackedMlp } from '../../nn/index.js'
import { add, log, merge, multiply, oneMinus, sigmoid, slice, square, stack, subtract, sum } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import type { FeatureBatch, FeatureInput, Objectives, RankingModel } from '../system.js'
import type { ChorusCvrConfig } from './config.js'
import { type FunnelLogits, funnelLosses, type Rows, type Scalar } from './losses.js'
import { Transfer } from './transfer.js'

/** What the third tower starts from, given the rate of conversion among clicks. */
const thirdTower: Readonly<Partial<Record<ChorusCvrConfig['method'], (cvr: number) => number>>> = {
  chorus: (cvr) => 1 - cvr,
  // softplus of its logit is the loss at the base rate, the entropy.
  'escm2-dr': (cvr) => 1 - Math.exp(cvr * Math.log(cvr) + (1 - cvr) * Math.log1p(-cvr)),
  dcmt: (cvr) => 1 - cvr,
  ddpo: (cvr) => cvr,
}

/** Names of what the model predicts, in the order of `probabilities`. */
export const outputNames = ({ method }: Pick<ChorusCvrConfig, 'method'>) => [
  'CTR',
  'CVR',
  'CTCVR',
  ...(method === 'chorus' ? ['unCVR'] : []),
]

export class ChorusCvrModel implements RankingModel {
  readonly features: FeatureEmbeddings
  readonly bottom: Mlp<[number, ...number[]]>
  readonly towers: StackedMlp
  readonly heads: StackedLinear
  readonly transfers: readonly Transfer[]
  private readonly labels: readonly [click: string, conversion: string]

  /** `rates`: of CTR and CVR in the data, which the towers start from. */
  constructor(
    features: readonly FeatureInput[],
    tasks: readonly string[],
    private readonly config: ChorusCvrConfig,
    rates: Readonly<Record<string, number>> = {},
  ) {
    const { bottomSizes, towerSizes, dropout, method } = config
    this.labels = funnelOf(tasks)
    const options = {
      dropout,
      initializer: fanInUniform,
      biasInitializer: fanInUniform,
      lastActivation: 'relu',
    } as const
    const { CTR = 0.05, CVR: found = 0.05 } = rates
    const CVR = Math.min(Math.max(found, 1e-4), 1 - 1e-4)
    const third = thirdTower[method]
    const starts = [CTR, CVR, ...(third ? [third(CVR)] : [])]
    // DDPO's later towers take over what the click's has found.
    this.transfers = method === 'ddpo' ? [1, 2].map(() => new Transfer(towerSizes.at(-1) as number)) : []
    this.features = embedFeatures(
      features.filter(({ name }) => name !== config.propensity),
      config,
    )
    this.bottom = new Mlp([this.features.width, ...bottomSizes], options)
    this.towers = new StackedMlp(starts.length, [bottomSizes.at(-1) as number, ...towerSizes], options)
    this.heads = new StackedLinear(starts.length, towerSizes.at(-1) as number, 1, {
      initializer: fanInUniform,
      biasInitializer: () => logitsOf(starts),
    })
  }

  /** [batch, towers] */
  logits(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'> {
    const { click, conversion, third } = this.towerLogits(batch)
    return stack([click, conversion, ...(third ? [third] : [])], 1) as Loose
  }

  /** The method's loss and its parts. */
  losses(batch: FeatureBatch): Readonly<Record<string, Scalar>> & { readonly loss: Scalar } {
    const [click, conversion] = this.labels
    const labels = { click: batch[click] as Rows, conversion: batch[conversion] as Rows }
    const { alignWeight, propensity, weightDecay } = this.config
    const known = propensity === undefined ? undefined : (batch[propensity] as Rows)
    const logits = { ...this.towerLogits(batch), ...(known ? { propensity: logitOf(known) } : {}) }
    const { loss, ...parts } = funnelLosses(logits, labels, scalarInput('alignWeight', alignWeight), this.config)
    return { loss: weightDecay === 0 ? loss : add(loss, multiply(this.decay(), weightDecay)), ...parts }
  }

  /** |W|^2 / 2 of the layers' weights. */
  private decay(): Scalar {
    const squares = namedVariables(this)
      .filter(({ name }) => name.endsWith('weight') && !name.startsWith('features'))
      .map(({ tensor }) => sum(square(tensor as Loose) as Loose) as Scalar)
    return multiply(
      squares.reduce((total, each) => add(total, each)),
      0.5,
    )
  }

  /** The parts of the method's loss, the align loss weighed; they meet in the towers' logits. */
  objectives(batch: FeatureBatch): Objectives {
    const { loss: _, effectiveSampleSize, clippedShare, ...parts } = this.losses(batch)
    const { align } = parts
    const weighed = align ? { align: multiply(align, scalarInput('alignWeight', this.config.alignWeight)) } : {}
    const { click, conversion, third } = this.towerLogits(batch)
    return {
      losses: { ...parts, ...weighed },
      representation: third ? [click, conversion, third] : [click, conversion],
    }
  }

  objectiveNames(): readonly string[] {
    const rows = (name: string) => input(name, ['batch'], 'float32') as Rows
    const batch = { click: rows('click'), conversion: rows('conversion') }
    const logits = { ...batch, ...(this.cuts() === 3 ? { third: rows('third') } : {}) }
    const { loss: _, effectiveSampleSize, clippedShare, ...parts } = funnelLosses(logits, batch, 1, this.config)
    return Object.keys(parts)
  }

  cuts = (): number => this.towers.count

  /** ohat, rhat, ohat rhat, and of chorus nhat: [batch, outputs]. */
  probabilities(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'> {
    const { click, conversion, third } = this.towerLogits(batch)
    const [ohat, rhat] = [sigmoid(click), sigmoid(conversion)]
    const unCvr = this.config.method === 'chorus' ? [sigmoid(third as Rows)] : []
    return stack([ohat, rhat, multiply(ohat, rhat), ...unCvr], 1) as Loose
  }

  /** h = Bottom(Emb(x)), and a logit of each tower. */
  private towerLogits(batch: FeatureBatch): FunnelLogits {
    const hidden = this.bottom.forward(this.features.forward(batch) as Loose) as Loose
    const logits = merge(this.heads.forward(this.transferred(this.towers.forward(hidden))) as Loose, 1, 2) as Loose
    const [click, conversion, third] = Array.from({ length: this.towers.count }, (_, tower) =>
      merge(slice(logits, 0, tower, 1) as Loose, 0, 2),
    ) as Rows[]
    return { click, conversion, ...(third ? { third } : {}) } as FunnelLogits
  }

  /** hidden[towers, batch, width] of the towers, with what later ones take over of the first. */
  private transferred(hidden: Loose): Loose {
    if (this.transfers.length === 0) return hidden
    const [click, ...later] = Array.from({ length: this.towers.count }, (_, tower) =>
      merge(slice(hidden, 0, tower, 1) as Loose, 0, 2),
    ) as [Loose, ...Loose[]]
    return stack([click, ...later.map((own, i) => (this.transfers[i] as Transfer).forward(click, own))], 0) as Loose
  }
}

const logitOf = (p: Rows): Rows => subtract(log(p), log(oneMinus(p)))

function funnelOf(tasks: readonly string[]): [click: string, conversion: string] {
  if (tasks.length === 2) return [...tasks] as [string, string]
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'chorus-cvr',
    argument: 'tasks',
    expected: 'two labels, of the click and of the conversion after it',
    got: tasks.length === 0 ? 'none' : tasks.join(', '),
  })
}

/** One logit for each rate, kept from the ends. */
const logitsOf =
  (rates: readonly number[]): Initializer =>
  (values) => {
    rates.forEach((rate, tower) => {
      const inside = Math.min(Math.max(rate, 1e-4), 1 - 1e-4)
      values[tower] = Math.log(inside / (1 - inside))
    })
  }
