/** Section 5 of the specification: attentions of the candidate and of the domains to each other, gated into one vector. */
import type { Tensor } from '../../graph/node.js'
import { AttentionPooling, CrossAttention, LayerNorm, TargetAttention } from '../../nn/index.js'
import { add, broadcast, concat, merge, multiply, sigmoid } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import type { FarmConfig } from './config.js'
import { type Acts, type DomainName, linearOf } from './inputs.js'

/** Something of each domain that is there. */
export type PerDomain<T> = Readonly<Partial<Record<DomainName, T>>>

/** C = LN(F + Attn(F, F', F')): what one domain reads in the other. */
class Reading {
  readonly attention: CrossAttention<number>
  readonly norm: LayerNorm<number>

  constructor({ dimensions, heads }: FarmConfig) {
    this.attention = new CrossAttention({ channels: dimensions, heads })
    this.norm = new LayerNorm(dimensions, 1e-5)
  }

  forward(own: Acts, other: Acts): Acts {
    const read = this.attention.forward(own, other) as Loose
    return { ...own, rows: this.norm.forward(add(own.rows as Loose, read) as never) as Acts['rows'] }
  }
}

/**
 *     h_l = Attn(x_i, F_l, F_l)    h_v = Attn(x_i, F_v, F_v)    h_c = Attn(x_i, [C_lv ; C_vl], same)
 *     h_cross = W_o (gamma [h_l ; h_v ; h_c]),   gamma = sigmoid(W_g [h_l ; h_v ; h_c ; x_i])
 */
export class Fuse {
  readonly target: PerDomain<TargetAttention<number>>
  readonly poolings: PerDomain<AttentionPooling<number>>
  readonly liveReadsVideo?: Reading
  readonly videoReadsLive?: Reading
  readonly both?: TargetAttention<number>
  readonly gate?: ReturnType<typeof linearOf>
  readonly output?: ReturnType<typeof linearOf>
  /** Channels of all that it gives. */
  readonly width: number

  constructor(domains: readonly DomainName[], config: FarmConfig) {
    const { dimensions: d, heads, fuse } = config
    const each = <T>(names: readonly DomainName[], make: () => T) =>
      Object.fromEntries(names.map((name) => [name, make()]))
    const asksAll = fuse !== 'pooled'
    this.target = each(
      domains.filter((name) => asksAll || name === 'rare'),
      () => new TargetAttention({ target: d, heads }),
    )
    this.poolings = each(
      domains.filter((name) => !(name in this.target)),
      () => new AttentionPooling(d),
    )
    this.width = domains.length * d
    if (fuse !== 'series' || !domains.includes('video')) return
    this.liveReadsVideo = new Reading(config)
    this.videoReadsLive = new Reading(config)
    this.both = new TargetAttention({ target: d, heads })
    this.gate = linearOf(4 * d, 3 * d)
    this.output = linearOf(3 * d, d)
    this.width += d
  }

  /** C_lv and C_vl, which no candidate enters; nothing where domains are not fused. */
  readings({ live, video }: PerDomain<Acts>) {
    if (!this.liveReadsVideo || !this.videoReadsLive || !live || !video) return {}
    return { live: this.liveReadsVideo.forward(live, video), video: this.videoReadsLive.forward(video, live) }
  }

  /** h_l, h_v and h_cross for candidates x_i[rows, d], `perUser` rows for each user: [rows, d] each. */
  forward(candidate: Tensor, acts: PerDomain<Acts>, readings: ReturnType<Fuse['readings']>, perUser: number): Loose[] {
    const history = ({ rows, packing }: Acts) => ({ items: rows, offsets: packing.offsets as Loose })
    const said = Object.entries(acts).map(([name, each]) => {
      const { items, offsets } = history(each)
      const target = this.target[name as DomainName]
      if (target) return target.ragged(candidate as never, items, offsets as never, { perUser }) as Loose
      return repeated(this.poolings[name as DomainName]?.ragged(items, offsets as never) as Loose, perUser)
    })
    const { both, gate, output } = this
    if (!both || !gate || !output || !readings.live || !readings.video) return said
    const hBoth = both.joined(candidate as never, [history(readings.live), history(readings.video)] as never, {
      perUser,
    }) as Loose
    const parts = beside([...said.slice(0, 2), hBoth])
    const gamma = sigmoid(gate.forward(beside([parts, candidate as Loose]) as never)) as Loose
    return [...said, output.forward(multiply(gamma, parts) as never) as Loose]
  }
}

/** Vectors of each row side by side. */
export const beside = (pieces: readonly Loose[]): Loose =>
  (pieces.length === 1 ? pieces[0] : concat(pieces as never, 1 as never)) as Loose

/** x[users, ...] -> [users * times, ...]: each row so often. */
export function repeated(x: Loose, times: number): Loose {
  return times === 1 ? x : (merge(broadcast(x, 1, [times]) as Loose, 0, 2) as Loose)
}
