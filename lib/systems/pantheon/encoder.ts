/** Ensemble encoders: from what the ranker holds of a row, and embeddings of their own, to the logit of one score. */
import { fanInUniform, normal, parameter } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, LayerNorm, Linear, Mlp, TransformerBlock } from '../../nn/index.js'
import { add, broadcast, concat, mean, merge, relu, unsqueeze } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import type { FeatureBatch, FeatureInput } from '../system.js'
import type { PantheonConfig } from './config.js'

export type Rows = Tensor<readonly ['batch'], 'float32'>
/** [batch, tasks, d]: the towers' last hidden states; or with `reads: 'pxtr'` [batch, tasks]: logits of Pxtr. */
export type RankerState =
  | Tensor<readonly ['batch', number, number], 'float32'>
  | Tensor<readonly ['batch', number], 'float32'>

/** ItemFea or UserFea: a linear map of features embedded for the ensemble alone, [batch, d]. */
class OwnFeatures {
  readonly embeddings: FeatureEmbeddings
  readonly project: Linear<number, number>

  constructor(features: readonly FeatureInput[], width: number, config: PantheonConfig) {
    this.embeddings = embedFeatures(features, { ...config, targets: {} })
    this.project = new Linear(this.embeddings.width, width, fanInUniform(this.embeddings.width))
  }

  forward(batch: FeatureBatch): Loose {
    return this.project.forward(this.embeddings.forward(batch) as Loose) as Loose
  }
}

/** Over the concatenation: ReLU layers, normalised after the first. */
class ConcatEncoder {
  readonly first: Linear<number, number>
  readonly norm: LayerNorm<number>
  readonly rest: Mlp<[number, ...number[]]>

  constructor(inputs: number, [hidden = 1, ...others]: readonly number[]) {
    this.first = new Linear(inputs, hidden, fanInUniform(inputs), fanInUniform(inputs))
    this.norm = new LayerNorm(hidden)
    this.rest = new Mlp([hidden, ...others, 1], { initializer: fanInUniform, biasInitializer: fanInUniform })
  }

  /** [batch, inputs] -> [batch] */
  forward(x: Loose): Rows {
    const hidden = relu(this.norm.forward(this.first.forward(x) as Loose) as Loose)
    return merge(this.rest.forward(hidden as Loose) as Loose, 0, 2) as Loose
  }
}

/** Over the set: a token for each task and for each of the own features, told apart by learned embeddings. */
class SetEncoder {
  readonly types: Tensor<readonly [number, number], 'float32'>
  readonly blocks: readonly TransformerBlock<number>[]
  readonly output: Linear<number, number>

  constructor(tokens: number, channels: number, { ensembleLayers, ensembleHeads }: PantheonConfig) {
    this.types = parameter([tokens, channels], normal(0.02))
    const block = () => new TransformerBlock({ channels, heads: ensembleHeads, norm: 'pre', activation: 'relu' })
    this.blocks = Array.from({ length: ensembleLayers }, block)
    this.output = new Linear(channels, 1, fanInUniform(channels))
  }

  /** [batch, tokens, d] -> [batch] */
  forward(x: Loose): Rows {
    const typed = add(x, broadcast(this.types as Loose, 0, [x.shape[0]]) as Loose) as Loose
    const mixed = this.blocks.reduce((tokens, block) => block.forward(tokens) as Loose, typed)
    return merge(this.output.forward(mean(mixed, 1) as Loose) as Loose, 0, 2) as Loose
  }
}

/** Score = sigmoid(Encoder(ItemFea, t^1 .. t^K, UserFea)): sections 3.1 and 3.2. Nothing of it is the ranker's. */
export class Ensemble {
  readonly item: OwnFeatures | null
  readonly user: OwnFeatures | null
  readonly encoder: ConcatEncoder | SetEncoder

  constructor(features: readonly FeatureInput[], tasks: number, config: PantheonConfig) {
    const { userFeatures, own, reads, ensemble, ensembleSizes } = config
    const d = config.towerSizes.at(-1) as number
    const isUser = ({ name }: FeatureInput) =>
      userFeatures.length > 0 ? userFeatures.includes(name) : name.toLowerCase().startsWith('user')
    const ownOf = (side: 'item' | 'user') => {
      const chosen = features.filter((feature) => isUser(feature) === (side === 'user'))
      return own.includes(side) && chosen.length > 0 ? new OwnFeatures(chosen, d, config) : null
    }
    this.item = ownOf('item')
    this.user = ownOf('user')
    const others = Number(this.item !== null) + Number(this.user !== null)
    const inputs = tasks * (reads === 'hidden' ? d : 1) + others * d
    this.encoder =
      ensemble === 'mlp' ? new ConcatEncoder(inputs, ensembleSizes) : new SetEncoder(tasks + others, d, config)
  }

  /** The logit of the score, [batch]. */
  forward(state: RankerState, batch: FeatureBatch): Rows {
    const [item, user] = [this.item, this.user].map((own) => (own ? [own.forward(batch)] : [])) as [Loose[], Loose[]]
    if (this.encoder instanceof ConcatEncoder) {
      const flat = state.shape.length === 3 ? (merge(state as Loose, 1, 2) as Loose) : (state as Loose)
      return this.encoder.forward(joined([...item, flat, ...user]))
    }
    const tokens = [...item, ...user].map((row) => unsqueeze(row, 1) as Loose)
    return this.encoder.forward(joined([state as Loose, ...tokens]))
  }
}

const joined = (parts: readonly Loose[]): Loose =>
  (parts.length === 1 ? parts[0] : concat(parts as never, 1 as never)) as Loose
