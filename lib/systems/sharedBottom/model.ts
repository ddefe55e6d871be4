/**
 * One network under a tower for each task: hard parameter sharing.
 *
 * Caruana: Multitask Learning, Machine Learning 28, 1997. With one task it is the plain network that multi-task models
 * are compared with.
 */
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, Mlp, StackedMlp } from '../../nn/index.js'
import { merge, transpose } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import { binaryLosses, type FeatureBatch, type FeatureInput, type Objectives, type RankingModel } from '../system.js'
import type { SharedBottomConfig } from './config.js'

export class SharedBottomModel implements RankingModel {
  readonly features: FeatureEmbeddings
  readonly bottom: Mlp<[number, ...number[]]>
  readonly towers: StackedMlp

  constructor(
    features: readonly FeatureInput[],
    private readonly tasks: readonly string[],
    config: SharedBottomConfig,
  ) {
    const { bottomSizes, towerSizes, dropout } = config
    const options = { dropout, initializer: fanInUniform, biasInitializer: fanInUniform }
    this.features = embedFeatures(features, config)
    this.bottom = new Mlp([this.features.width, ...bottomSizes], { ...options, lastActivation: 'relu' })
    this.towers = new StackedMlp(tasks.length, [bottomSizes.at(-1) as number, ...towerSizes, 1], options)
  }

  /** [batch, tasks] */
  logits(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'> {
    const hidden = this.bottom.forward(this.features.forward(batch) as Loose) as Loose
    return this.logitsOf(hidden)
  }

  /** Tasks meet in the bottom's output. */
  objectives(batch: FeatureBatch): Objectives {
    const hidden = this.bottom.forward(this.features.forward(batch) as Loose) as Loose
    return { losses: binaryLosses(this.logitsOf(hidden) as Loose, this.tasks, batch), representation: [hidden] }
  }

  cuts = () => 1
  apart = (name: string) => name.startsWith('towers.')

  private logitsOf(hidden: Loose): Tensor<readonly ['batch', number], 'float32'> {
    return transpose(merge(this.towers.forward(hidden) as Loose, 1, 2) as Loose, [1, 0]) as Loose
  }
}
