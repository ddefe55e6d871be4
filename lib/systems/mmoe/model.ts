/**
 * Several tasks over one set of features: shared experts, mixed for each task by a gate of its own.
 *
 * Ma, Zhao, Yi, Chen, Hong, Chi: Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts
 * (MMoE), KDD 2018. Histories enter through attention of the candidate over them (Zhou et al. 2018, DIN).
 */
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, MMoE } from '../../nn/index.js'
import { embedFeatures } from '../rankingFeatures.js'
import type { FeatureBatch, FeatureInput, RankingModel } from '../system.js'
import type { MmoeConfig } from './config.js'

export class MmoeModel implements RankingModel {
  readonly features: FeatureEmbeddings
  readonly mmoe: MMoE<number, number>

  constructor(features: readonly FeatureInput[], tasks: readonly string[], config: MmoeConfig) {
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
}
