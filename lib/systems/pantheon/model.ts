/**
 * One score to sort by, learnt beside the ranker from what its towers hold.
 *
 *     x -> shared experts -> towers t^1 .. t^K -> Pxtr      the ranker, moved by its own losses
 *                               | stop-gradient
 *     ItemFea, t^1 .. t^K, UserFea -> Encoder -> Score      the ensemble, moved by sum_i w_i BCE(Score, y_i)
 *
 * Pantheon: Personalized Multi-objective Ensemble Sort via Iterative Pareto Policy Optimization, arXiv 2505.13894, 2025.
 */
import { KairosError } from '../../core/errors.js'
import { nearest } from '../../core/nearest.js'
import { scalarInput } from '../../graph/leaf.js'
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { binaryCrossEntropy, softLabelCrossEntropy } from '../../losses/index.js'
import { type FeatureEmbeddings, MMoE, PLE, StackedLinear, StackedMlp } from '../../nn/index.js'
import { add, concat, merge, sigmoid, slice, stack, stopGradient, transpose, unsqueeze } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import type { FeatureBatch, FeatureInput, RankingModel } from '../system.js'
import type { PantheonConfig } from './config.js'
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

  /** t^1 .. t^K, [tasks, batch, d], and the logits of Pxtr, [batch, tasks]. */
  forward(batch: FeatureBatch): { readonly hidden: Loose; readonly logits: Table } {
    const hidden = this.towers.forward(this.experts.forward(this.features.forward(batch) as Loose) as Loose)
    return { hidden, logits: transpose(merge(this.heads.forward(hidden) as Loose, 1, 2) as Loose, [1, 0]) as Loose }
  }

  /** The sum over tasks of their mean logistic losses, and each of them. */
  losses(logits: Table, batch: FeatureBatch): Readonly<Record<string, Scalar>> & { readonly loss: Scalar } {
    const each = this.tasks.map((task, index) => {
      const column = merge(slice(logits as Loose, 1, index, 1) as Loose, 0, 2) as Loose
      return [task, binaryCrossEntropy(column, batch[task] as Loose) as Scalar] as const
    })
    return { ...Object.fromEntries(each), loss: each.map(([, loss]) => loss).reduce((sum, next) => add(sum, next)) }
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
    this.weights = normalised(config.objectiveWeights, this.objectives, tasks)
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

  constructor(
    features: readonly FeatureInput[],
    tasks: readonly string[],
    private readonly config: PantheonConfig,
  ) {
    this.ranker = new Ranker(features, tasks, config)
    this.ensemble = new EnsembleSort(features, tasks, config)
  }

  private forward(batch: FeatureBatch): { readonly logits: Table; readonly score: Rows } {
    const { hidden, logits } = this.ranker.forward(batch)
    return { logits, score: this.ensemble.forward(EnsembleSort.stateOf(hidden, logits, this.config), batch) }
  }

  /** Of Pxtr: [batch, tasks]. */
  logits(batch: FeatureBatch): Table {
    return this.ranker.forward(batch).logits
  }

  /** The ranker's losses and the ensemble's: disjoint by the stop-gradient, so one step moves each by its own. */
  losses(batch: FeatureBatch) {
    const { logits, score } = this.forward(batch)
    const { loss: ranker, ...tasks } = this.ranker.losses(logits, batch)
    const ensemble = this.ensemble.loss(score, batch)
    return { ...tasks, ranker, ensemble, loss: add(ranker, ensemble) as Scalar }
  }

  /** Pxtr, then the score: [batch, tasks + 1]. */
  probabilities(batch: FeatureBatch): Table {
    const { logits, score } = this.forward(batch)
    const both = [sigmoid(logits as Loose), unsqueeze(sigmoid(score as Loose) as Loose, 1)]
    return concat(both as never, 1 as never) as Loose
  }
}

/** Scaled to sum N: ratios count alone, and the learning rate keeps its meaning. */
function normalised(given: readonly number[], objectives: readonly string[], tasks: readonly string[]) {
  const unknown = objectives.find((name) => !tasks.includes(name))
  const refuse = (argument: string, expected: string, got: string, hint?: string) =>
    new KairosError('KAIROS_ARGUMENT', { op: 'pantheon', argument, expected, got, ...(hint ? { hint } : {}) })
  if (unknown !== undefined) {
    const near = nearest(unknown, tasks)
    throw refuse('objectives', `tasks: ${tasks.join(', ')}`, `'${unknown}'`, near && `Did you mean '${near}'?`)
  }
  if (given.length > 0 && given.length !== objectives.length)
    throw refuse('objectiveWeights', `${objectives.length}, one for each objective,`, `${given.length}`)
  const weights = given.length > 0 ? given : objectives.map(() => 1)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => (weight * objectives.length) / sum)
}
