/**
 * From a domain's acts V to its preference F: the frequency-aware module of FARM (section 3 of the specification in
 * README.md), and what is put in place of its filter to see what that is worth.
 */
import type { Dim } from '../../core/dim.js'
import { type Initializer, parameter, zeros } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { Dropout, FeedForward, FrequencyLayer, LayerNorm, Linear, packedRows, paddedRows } from '../../nn/index.js'
import {
  add,
  bandGains,
  broadcast,
  cast,
  concat,
  divide,
  frequencyFilter,
  full,
  max,
  maximum,
  minimum,
  multiply,
  notEqual,
  relu,
  reshape,
  sigmoid,
  slice,
  split,
  subtract,
  sum,
} from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { cutoffFor, type FarmConfig } from './config.js'
import { type Acts, linearOf } from './inputs.js'
import { AttentiveEncoder } from './rivals.js'

/** Alpha and beta of each row: [batch, 1], or one for each channel. */
export interface Gates {
  readonly alpha: Loose
  readonly beta: Loose
}

export interface Encoded {
  readonly acts: Acts
  readonly gates?: Gates
}

export interface Encoder {
  /** `context`: what the gate sees besides the acts, [batch, width] each. */
  forward(acts: Acts, context: readonly Loose[]): Encoded
}

/** `context` is the width of what the gate sees besides the acts, `time` the positions of the padded form. */
export function createEncoder(time: number, context: number, config: FarmConfig): Encoder {
  switch (config.encoder) {
    case 'plain':
      return { forward: (acts) => ({ acts }) }
    case 'farm':
      return new FrequencyAware(time, context, config)
    case 'sasrec':
    case 'bsarec':
      return new AttentiveEncoder(time, config)
    default:
      return config.encoder satisfies never
  }
}

/** Number of acts of each row, [batch]. */
export function lengthsOf({ range }: Acts): Loose {
  const edge = (which: number) => reshape(slice(range as Loose, 1, which, 1) as Loose, [range.shape[0]]) as Loose
  return subtract(edge(1), edge(0)) as Loose
}

const perRow = (x: Loose, width: Dim): Loose => broadcast(x, 1, [width]) as Loose

/** alpha, beta = sigmoid(MLP([mean(V) ; max(V) ; x_u ; x_i])): 1/2 at the start, each fixed where the settings say so. */
class Gate {
  readonly inner: Linear<number, number> | null
  readonly outer: Linear<number, number> | null
  private readonly fixed: readonly (number | undefined)[]
  private readonly width: number

  constructor(context: number, { dimensions, gateHidden, gatePerChannel, fixedAlpha, fixedBeta }: FarmConfig) {
    this.fixed = [fixedAlpha, fixedBeta]
    this.width = gatePerChannel ? dimensions : 1
    const learned = this.fixed.filter((gate) => gate === undefined).length
    this.inner = learned > 0 ? linearOf(2 * dimensions + context, gateHidden) : null
    this.outer = learned > 0 ? new Linear(gateHidden, learned * this.width, zeros) : null
  }

  /** `padded`: the acts with zeros where there is none, [batch, time, d]. */
  forward(padded: Loose, acts: Acts, context: readonly Loose[]): Gates {
    const { inner, outer, width } = this
    const hidden = inner && relu(inner.forward(this.seen(padded, acts, context) as never))
    const learned = outer && (sigmoid(outer.forward(hidden as never)) as Loose)
    let first = 0
    const [alpha, beta] = this.fixed.map((value) => {
      if (value !== undefined || !learned) return full([padded.shape[0], width], value as number)
      first += width
      return slice(learned, 1, first - width, width)
    }) as unknown as [Loose, Loose]
    return { alpha, beta }
  }

  private seen(padded: Loose, acts: Acts, context: readonly Loose[]): Loose {
    const [batch, time, channels] = padded.shape
    const count = cast(lengthsOf(acts), 'float32') as Loose
    const mean = divide(sum(padded, 1) as Loose, perRow(maximum(count, 1) as Loose, channels))
    // Padding is no maximum; who has no acts at all has that of zeros.
    const isAct = cast(notEqual(acts.packing.slots as Loose, -1) as Loose, 'float32') as Loose
    const isPadding = subtract(split(isAct, 0, [batch, time] as never) as Loose, 1) as Loose
    const lowered = multiply(isPadding, perRow(multiply(minimum(count, 1) as Loose, 1e30) as Loose, time)) as Loose
    const most = max(add(padded, broadcast(lowered, 2, [channels]) as Loose) as Loose, 1)
    return concat([mean, most, ...context] as never, 1 as never) as Loose
  }
}

/** The identity: a learned filter starts from it. */
const passing: Initializer = (values) => {
  for (let i = 0; i < values.length; i += 2) values[i] = 1
}

/**
 *     F' = alpha Low[V] + beta High[V]        H = LN(V + dropout(F'))        F = LN(H + dropout(FFN(H)))
 *
 * FFN: d -> 2d -> d with GELU, at each act alone. It comes before anything is pooled: the sum of High[V] over time is 0,
 * so that a mean of F' would see nothing of beta.
 */
export class FrequencyAware implements Encoder {
  readonly gate: Gate | null
  readonly channelFilter: FrequencyLayer<number, number> | null
  /** W[time / 2 + 1, d, 2] of irfft(rfft(V) W). Source: Zhou et al. 2022, FMLP-Rec, equation 6. */
  readonly fullFilter: Tensor<readonly [number, number, number], 'float32'> | null
  readonly norm: LayerNorm<number>
  readonly feedForward: FeedForward<number>
  readonly feedForwardNorm: LayerNorm<number>
  private readonly drop: Dropout
  private readonly cutoff: number

  constructor(
    time: number,
    context: number,
    private readonly config: FarmConfig,
  ) {
    const { dimensions, filter, cutoffShare, dropout } = config
    const half = Math.floor(time / 2) + 1
    this.cutoff = cutoffFor(time, cutoffShare)
    this.gate = filter === 'gated' || filter === 'gate' ? new Gate(context, config) : null
    this.channelFilter =
      filter === 'channel' ? new FrequencyLayer({ time, channels: dimensions, cutoff: this.cutoff }) : null
    this.fullFilter = filter === 'full' ? parameter([half, dimensions, 2], passing) : null
    this.norm = new LayerNorm(dimensions, 1e-5)
    this.feedForward = new FeedForward(dimensions, 2 * dimensions)
    this.feedForwardNorm = new LayerNorm(dimensions, 1e-5)
    this.drop = new Dropout(dropout)
  }

  forward(acts: Acts, context: readonly Loose[]): Encoded {
    const padded = paddedRows(acts.rows, acts)
    const gates = this.gate?.forward(padded, acts, context)
    const filtered = this.filtered(padded, acts, gates)
    const after = (norm: LayerNorm<number>, x: Loose, branch: Loose): Loose =>
      norm.forward(add(x, this.drop.forward(branch) as Loose) as never) as Loose
    // What stands at padding after the inverse transform is left behind here.
    const h = after(this.norm, acts.rows as Loose, filtered ? packedRows(filtered, acts) : (acts.rows as Loose))
    const rows = after(this.feedForwardNorm, h, this.feedForward.forward(h as never) as Loose)
    return { acts: { ...acts, rows: rows as Acts['rows'] }, ...(gates ? { gates } : {}) }
  }

  /** [batch, time, d]; null where there is no filter. */
  private filtered(padded: Loose, { range }: Acts, gates: Gates | undefined): Loose | null {
    const { cutoff, channelFilter, fullFilter } = this
    const { filter, ragged } = this.config
    switch (filter) {
      case 'gated': {
        const { alpha, beta } = gates as Gates
        return bandGains(padded, alpha, beta, { cutoff, ...(ragged ? { range: range as Loose } : {}) }) as Loose
      }
      // The same parameters without a filter: all frequencies times alpha + beta.
      case 'gate': {
        const both = add((gates as Gates).alpha, (gates as Gates).beta) as Loose
        const whole = { cutoff: Math.floor((padded.shape[1] as number) / 2) + 1 }
        return bandGains(padded, both, both, { ...whole, form: 'projection' }) as Loose
      }
      case 'channel':
        return channelFilter?.forward(padded as never) as Loose
      case 'full':
        return frequencyFilter(padded, fullFilter as Loose) as Loose
      case 'none':
        return null
      default:
        return filter satisfies never
    }
  }
}
