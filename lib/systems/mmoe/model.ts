/**
 * Several tasks over one set of features: shared experts, mixed for each task by a gate of its own.
 *
 * Ma, Zhao, Yi, Chen, Hong, Chi: Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts
 * (MMoE), KDD 2018. Histories enter through attention of the candidate over them (Zhou et al. 2018, DIN).
 */
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, MMoE } from '../../nn/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import { binaryLosses, type FeatureBatch, type FeatureInput, type Objectives, type RankingModel } from '../system.js'
import type { MmoeConfig } from './config.js'

export class MmoeModel implements RankingModel {
  readonly features: FeatureEmbeddings
  readonly mmoe: MMoE<number, number>

  constructor(
    features: readonly FeatureInput[],
    private readonly tasks: readonly string[],
    config: MmoeConfig,
  ) {
    const { experts, expertSizes, towerSizes, dropout } = config
    this.features = embedFeatures(features, config)
    this.mmoe = new MMoE({
      inputs: this.features.width,
      experts,
      hidden: expertSizes,
      tasks: tasks.length,
      towers: [...towerSizes, 1],
      dropout,
      initializer: fanInUniform,
      biasInitializer: fanInUniform,
    })
  }

  /** [batch, tasks] */
  logits(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'> {
    return this.mmoe.logits(this.features.forward(batch))
  }

  /** Tasks meet in what the experts give, and in what the gates read: the features. */
  objectives(batch: FeatureBatch): Objectives {
    const x = this.features.forward(batch)
    const logits = this.mmoe.logits(x) as Loose
    return {
      losses: binaryLosses(logits, this.tasks, batch),
      representation: [x, this.mmoe.experts.forward(x as Loose)],
    }
  }

  cuts = () => 2
  apart = (name: string) => /^mmoe\.(towers|gates)\./.test(name)
}
