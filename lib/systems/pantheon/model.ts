/**
 * One score to sort by, learnt beside the ranker from what its towers hold.
 *
 *     x -> shared experts -> towers t^1 .. t^K -> Pxtr      the ranker, moved by its own losses
 *                               | stop-gradient
 *     ItemFea, t^1 .. t^K, UserFea -> Encoder -> Score      the ensemble, moved by sum_i w_i BCE(Score, y_i)
 *
 * Pantheon: Personalized Multi-objective Ensemble Sort via Iterative Pareto Policy Optimization, arXiv 2505.13894, 2025.
 */
import { scalarInput } from '../../graph/leaf.js'
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { binaryCrossEntropy, softLabelCrossEntropy } from '../../losses/index.js'
import { type FeatureEmbeddings, MMoE, PLE, StackedLinear, StackedMlp } from '../../nn/index.js'
import { add, concat, merge, sigmoid, stack, stopGradient, transpose, unsqueeze } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import { binaryLosses, type FeatureBatch, type FeatureInput, type Objectives, type RankingModel } from '../system.js'
import { type PantheonConfig, weightsOf } from './config.js'
import { Ensemble, type RankerState, type Rows } from './encoder.js'

export type Scalar = Tensor<readonly [], 'float32'>
type Table = Tensor<readonly ['batch', number], 'float32'>

/** The multi-task ranker: experts shared by gates, a tower and a logit for each task. */
export class Ranker {
  readonly features: FeatureEmbeddings
  readonly experts: MMoE<number, number> | PLE<number, number>
  readonly towers: StackedMlp
  readonly heads: StackedLinear

  constructor(
    features: readonly FeatureInput[],
    readonly tasks: readonly string[],
    config: PantheonConfig,
  ) {
    const { ranker, expertSizes, towerSizes, dropout } = config
    const start = { dropout, initializer: fanInUniform, biasInitializer: fanInUniform }
    const [count, width, d] = [tasks.length, expertSizes.at(-1) as number, towerSizes.at(-1) as number]
    this.features = embedFeatures(features, config)
    const shared = { ...start, inputs: this.features.width, tasks: count }
    this.experts =
      ranker === 'mmoe'
        ? new MMoE({ ...shared, experts: config.experts, hidden: expertSizes })
        : new PLE({ ...shared, ...config, levels: Array.from({ length: config.levels }, () => expertSizes) })
    this.towers = new StackedMlp(count, [width, ...towerSizes], { ...start, lastActivation: 'relu' })
    this.heads = new StackedLinear(count, d, 1, start)
  }

  /** t^1 .. t^K, [tasks, batch, d], the logits of Pxtr, [batch, tasks], and the values in which tasks meet. */
  forward(batch: FeatureBatch): { readonly hidden: Loose; readonly logits: Table; readonly shared: readonly Loose[] } {
    const x = this.features.forward(batch) as Loose
    const hidden = this.towers.forward(this.experts.forward(x) as Loose)
    const shared = this.experts instanceof MMoE ? [x, this.experts.experts.forward(x)] : []
    return {
      hidden,
      shared,
      logits: transpose(merge(this.heads.forward(hidden) as Loose, 1, 2) as Loose, [1, 0]) as Loose,
    }
  }

  /** The sum over tasks of their mean logistic losses, and each of them. */
  losses(logits: Table, batch: FeatureBatch): Readonly<Record<string, Scalar>> & { readonly loss: Scalar } {
    const each = binaryLosses(logits, this.tasks, batch)
    return { ...each, loss: Object.values(each).reduce((sum, next) => add(sum, next)) }
  }
}

/** The ensemble and its loss; apart from the ranker, so that it also learns from states that were kept. */
export class EnsembleSort {
  readonly encoder: Ensemble
  /** Labels of the score. */
  readonly objectives: readonly string[]
  /** Weights where a step is given none: of sum N. */
  readonly weights: readonly number[]

  constructor(features: readonly FeatureInput[], tasks: readonly string[], config: PantheonConfig) {
    this.objectives = config.objectives.length > 0 ? config.objectives : tasks
    this.weights = weightsOf(config, this.objectives, tasks)
    this.encoder = new Ensemble(features, tasks.length, config)
  }

  /** What of the ranker's state the encoder reads. */
  static stateOf(hidden: Loose, logits: Table, { reads, stopGradient: stops }: PantheonConfig): RankerState {
    const state = reads === 'hidden' ? (transpose(hidden, [1, 0, 2]) as Loose) : (logits as Loose)
    return (stops ? stopGradient(state) : state) as RankerState
  }

  /** The logit of the score, [batch]. */
  forward(state: RankerState, batch: FeatureBatch): Rows {
    return this.encoder.forward(state, batch)
  }

  /** Equation of section 3.3, fused: one cross entropy with ybar. Step scalars `weight.<objective>` are its w. */
  loss(score: Rows, batch: FeatureBatch): Scalar {
    const labels = this.objectives.map((name) => batch[name] as Rows)
    const weights = this.objectives.map((name, i) => scalarInput(weightOf(name), this.weights[i]))
    return softLabelCrossEntropy(score, stack(labels, 1) as Loose, stack(weights, 0) as Loose)
  }

  /** The same apart, BCE(Score, y_i) by objective: what solvers of the Pareto set weigh. */
  losses(score: Rows, batch: FeatureBatch): Readonly<Record<string, Scalar>> {
    return Object.fromEntries(
      this.objectives.map((name) => [name, binaryCrossEntropy(score, batch[name] as Rows) as Scalar]),
    )
  }
}

export const weightOf = (objective: string): string => `weight.${objective}`

/** The output beside the tasks' own. */
export const SCORE = 'score'

export class PantheonModel implements RankingModel {
  readonly ranker: Ranker
  readonly ensemble: EnsembleSort
  /** By the stop-gradient each loss moves parameters of its own. */
  readonly updates?: Readonly<Record<string, string>>

  constructor(
    features: readonly FeatureInput[],
    private readonly tasks: readonly string[],
    private readonly config: PantheonConfig,
  ) {
    this.ranker = new Ranker(features, tasks, config)
    this.ensemble = new EnsembleSort(features, tasks, config)
    if (config.stopGradient) this.updates = { ranker: 'ranker.', ensemble: 'ensemble.' }
  }

  private forward(batch: FeatureBatch) {
    const { hidden, logits, shared } = this.ranker.forward(batch)
    return { logits, shared, score: this.ensemble.forward(EnsembleSort.stateOf(hidden, logits, this.config), batch) }
  }

  /** Of Pxtr: [batch, tasks]. */
  logits(batch: FeatureBatch): Table {
    return this.ranker.forward(batch).logits
  }

  /** The ranker's losses and the ensemble's: one step moves both. */
  losses(batch: FeatureBatch) {
    const { logits, score } = this.forward(batch)
    const { loss: ranker, ...tasks } = this.ranker.losses(logits, batch)
    const ensemble = this.ensemble.loss(score, batch)
    return { ...tasks, ranker, ensemble, loss: add(ranker, ensemble) as Scalar }
  }

  /** Of the ranker its tasks; of the ensemble the objectives, which meet in the score's logit. */
  objectives(batch: FeatureBatch, part: string): Objectives {
    const { logits, shared, score } = this.forward(batch)
    const ranker = binaryLosses(logits, this.tasks, batch)
    if (part === 'ranker') return { losses: ranker, representation: shared }
    const ensemble = this.ensemble.losses(score, batch)
    if (part === 'ensemble') return { losses: ensemble, representation: [score] }
    return { losses: { ...ranker, [SCORE]: this.ensemble.loss(score, batch) } }
  }

  objectiveNames(part: string): readonly string[] {
    if (part === 'ensemble') return this.ensemble.objectives
    return part === 'ranker' ? this.tasks : [...this.tasks, SCORE]
  }

  cuts = (part: string): number =>
    part === 'ensemble' ? 1 : part === 'ranker' && this.config.ranker === 'mmoe' ? 2 : 0
  apart = (name: string): boolean => /^ranker\.(towers|heads|experts\.gates)\./.test(name)

  /** Pxtr, then the score: [batch, tasks + 1]. */
  probabilities(batch: FeatureBatch): Table {
    const { logits, score } = this.forward(batch)
    const both = [sigmoid(logits as Loose), unsqueeze(sigmoid(score as Loose) as Loose, 1)]
    return concat(both as never, 1 as never) as Loose
  }
}
