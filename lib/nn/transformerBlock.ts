import type { Dim } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { add, type Packing } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Dropout } from './dropout.js'
import { FeedForward, type FeedForwardActivation } from './feedForward.js'
import { LayerNorm } from './layerNorm.js'
import { type AttentionView, type PackedRows, SelfAttention } from './selfAttention.js'

type Rows<Channels extends number> = Tensor<readonly [...Dim[], Channels], 'float32'>

export interface TransformerBlockOptions<Channels extends number> {
  readonly channels: Channels
  readonly heads: number
  /** Channels between the two layers of the feed-forward part; 4 times `channels` unless given. */
  readonly hidden?: number
  /** Where rows are normalised: before each part, so that the residual path stays as it is, or after each sum. */
  readonly norm?: 'pre' | 'post'
  readonly activation?: FeedForwardActivation
  /** Dropout of attention weights and of what each part adds. */
  readonly dropout?: number
  readonly epsilon?: number
}

/**
 * Self-attention, then a feed-forward part, each with a residual and layer normalisation:
 *
 *     post  x = norm(x + attention(x));  x = norm(x + feedForward(x))      Vaswani et al. 2017, section 3.1
 *     pre   x = x + attention(norm(x));  x = x + feedForward(norm(x))      Xiong et al. 2020
 *
 * Throws KAIROS_ARGUMENT when `heads` does not divide `channels`.
 * Source: Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in the transformer
 * architecture", 2020.
 */
export class TransformerBlock<Channels extends number> {
  readonly attention: SelfAttention<Channels>
  readonly attentionNorm: LayerNorm<Channels>
  readonly feedForward: FeedForward<Channels>
  readonly feedForwardNorm: LayerNorm<Channels>
  private readonly drop: Dropout
  private readonly isPre: boolean

  constructor({
    channels,
    heads,
    hidden = 4 * channels,
    norm = 'pre',
    activation = 'gelu',
    dropout = 0,
    epsilon = 1e-5,
  }: TransformerBlockOptions<Channels>) {
    this.attention = new SelfAttention({ channels, heads, dropout })
    this.attentionNorm = new LayerNorm(channels, epsilon)
    this.feedForward = new FeedForward(channels, hidden, activation)
    this.feedForwardNorm = new LayerNorm(channels, epsilon)
    this.drop = new Dropout(dropout)
    this.isPre = norm === 'pre'
  }

  /**
   * x[batch, time, channels] -> the same shape; with `queries`, rows of `x` themselves, only those rows are computed
   * and given: [batch, queries, channels].
   *
   * Throws KAIROS_SHAPE when shapes do not fit.
   */
  forward<B extends Dim, T extends Dim, Q extends Dim = T>(
    x: Tensor<readonly [B, T, Channels], 'float32'>,
    view: AttentionView<NoInfer<B>, NoInfer<Channels>, Q> = {},
  ): Tensor<readonly [B, Q, Channels], 'float32'> {
    return this.through((view.queries ?? x) as Loose, (ready) => {
      const queries = view.queries ? { queries: ready(view.queries as Loose) as Loose } : {}
      return this.attention.forward(ready(x as Loose) as Loose, { ...view, ...queries } as never) as Loose
    })
  }

  /**
   * The same over sequences without their padding, x[packed, channels] -> [packed, channels]; with `queries`,
   * [batch, queries, channels].
   */
  packed(
    x: PackedRows<Channels>,
    packing: Packing,
    view: Parameters<SelfAttention<Channels>['packed']>[2],
  ): Tensor<readonly [...Dim[], Channels], 'float32'> {
    const { queries } = view
    return this.through((queries ?? x) as Loose, (ready) => {
      const asked = queries ? { queries: ready(queries as Loose) as Loose } : {}
      return this.attention.packed(ready(x as Loose) as Loose, packing, { ...view, ...asked }) as Loose
    })
  }

  /** Both parts with their residuals; `attend` gets what makes rows ready for the attention. */
  private through(
    asking: Rows<Channels>,
    attend: (ready: (x: Rows<Channels>) => Rows<Channels>) => Rows<Channels>,
  ): Loose {
    const { attentionNorm, feedForwardNorm } = this
    const norm = (layer: LayerNorm<Channels>) => (x: Rows<Channels>) => layer.forward(x as Loose) as Rows<Channels>
    const feedForward = (x: Rows<Channels>) => this.feedForward.forward(x as Loose) as Rows<Channels>
    if (this.isPre) {
      const mixed = this.join(asking, attend(norm(attentionNorm)))
      return this.join(mixed, feedForward(norm(feedForwardNorm)(mixed))) as Loose
    }
    const mixed = norm(attentionNorm)(
      this.join(
        asking,
        attend((x) => x),
      ),
    )
    return norm(feedForwardNorm)(this.join(mixed, feedForward(mixed))) as Loose
  }

  private join<S extends readonly Dim[]>(x: Tensor<S, 'float32'>, branch: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
    return add(x, this.drop.forward(branch) as Tensor<NoInfer<S>, 'float32'>)
  }
}
