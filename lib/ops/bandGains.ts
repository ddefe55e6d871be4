/** Low and high frequencies of each sequence, times gains of its own. */
import type { Dim } from '../core/dim.js'
import type { Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import { constant } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add, multiply, subtract } from './arithmetic.js'
import { isFewWaves, lowPass } from './bandMix.js'
import { frequencyFilter } from './frequency.js'
import { broadcast, merge } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  liveOf,
  read,
  refuseArgument,
  requireShape,
  sumOver,
  typed,
} from './support.js'

type GainAttributes = { readonly cutoff: number }
type Operands<T> = readonly [x: T, low: T, high: T, range?: T | undefined]
type BackwardOperands<T> = readonly [x: T, low: T, high: T, dy: T, range?: T | undefined]

function requireOperands(op: string, [x, low, high, range]: Operands<TensorSpec>, cutoff: number): void {
  requireDtype(op, 'x', x, 'float32')
  requireRank(op, 'x', x, 3, 3)
  const width = at(low.shape, -1) === 1 ? 1 : at(x.shape, 2)
  for (const [name, gain] of Object.entries({ low, high })) {
    requireDtype(op, name, gain, 'float32')
    requireShape(op, name, gain, [at(x.shape, 0), width])
  }
  const length = at(x.shape, 1)
  if (typeof length !== 'number' || length < 1)
    refuseArgument(op, 'x', 'of a literal length of at least 1 at its last axis but one', length)
  const bins = Math.floor(length / 2) + 1
  if (!Number.isInteger(cutoff) || cutoff < 0 || cutoff > bins)
    refuseArgument(op, 'cutoff', `a whole number in [0, ${bins}] for ${length} positions`, cutoff)
  if (!range) return
  requireDtype(op, 'range', range, 'int32')
  requireShape(op, 'range', range, [at(x.shape, 0), 2])
}

/** The cutoff of a sequence that takes `length` of `time` positions: the same share of its frequencies, rounded. */
const cutoffOf = (length: number, time: number, cutoff: number): number =>
  cutoff === 0 ? 0 : Math.min(Math.floor(((cutoff - 1) * length) / time + 0.5) + 1, Math.floor(length / 2) + 1)

/** Calls visit(index, low band there) for every position of every sequence. */
function forEachPosition(
  x: ReferenceArray,
  range: ReferenceArray | undefined,
  cutoff: number,
  visit: (index: number, low: number) => void,
): void {
  const [batch, time, channels] = x.shape as [number, number, number]
  for (let item = 0; item < batch; item++) {
    const [start, end] = range ? [read(range.data, 2 * item), read(range.data, 2 * item + 1)] : [0, time]
    const length = end - start
    const bins = length === 0 ? 0 : cutoffOf(length, time, cutoff)
    const weights = lowPass(length, bins)
    for (let column = 0; column < channels; column++) {
      const indexOf = (t: number) => (item * time + start + t) * channels + column
      for (let t = 0; t < length; t++) {
        const convolved = () =>
          sumOver(length, (s) => read(weights, (t - s + length) % length) * read(x.data, indexOf(s)))
        // All frequencies are low: rounding would leave a high band.
        visit(indexOf(t), 2 * bins > length ? read(x.data, indexOf(t)) : convolved())
      }
    }
  }
}

/** The gain of the item and column that hold an element of x. */
function gainAt(gain: ReferenceArray, { shape: [, time, channels] }: ReferenceArray, index: number): number {
  const width = read(gain.shape, 1)
  const item = Math.floor(index / ((time as number) * (channels as number)))
  return item * width + (width === 1 ? 0 : index % (channels as number))
}

function amplify([x, low, high, range]: Operands<ReferenceArray>, cutoff: number): ReferenceArray {
  const y = array(x.shape)
  forEachPosition(x, range, cutoff, (index, band) => {
    const gain = gainAt(low, x, index)
    y.data[index] = read(low.data, gain) * band + read(high.data, gain) * (read(x.data, index) - band)
  })
  return y
}

const gainsOp: Op<GainAttributes> = defineOp<GainAttributes>({
  name: 'bandGains',
  infer(inputs, { cutoff }) {
    requireOperands('bandGains', inputs as unknown as Operands<TensorSpec>, cutoff)
    return [inputs[0] as TensorSpec]
  },
  vjp: gradient(({ inputs, cotangents: [dy], attributes }) => {
    const [x, low, high, ...range] = inputs as readonly Loose[]
    const results = backwardOp([x as Loose, low as Loose, high as Loose, dy, ...range], attributes)
    return [...(results as readonly Loose[]), ...range.map(() => null)]
  }),
  reference: (inputs, { cutoff }) => [amplify(inputs as unknown as Operands<ReferenceArray>, cutoff)],
  cases: (random) => ({
    valid: settings.map((setting) => makeCase(random, setting)),
    invalid: [
      {
        inputs: [float32(['batch', 50, 64]), float32(['batch', 64]), float32(['batch', 1])],
        attributes: { cutoff: 3 },
        message: /^bandGains: high should be of shape \[batch, 64\] but got \[batch, 1\]/,
      },
      {
        inputs: [float32(['batch', 'time', 64]), float32(['batch', 1]), float32(['batch', 1])],
        attributes: { cutoff: 3 },
        message: /^bandGains: x should be of a literal length/,
      },
      {
        inputs: [float32(['batch', 50, 64]), float32(['batch', 1]), float32(['batch', 1])],
        attributes: { cutoff: 27 },
        message: /^bandGains: cutoff should be a whole number in \[0, 26\] for 50 positions but got 27/,
      },
      {
        inputs: [float32([4, 50, 64]), float32([4, 1]), float32([4, 1]), int32([5, 2])],
        attributes: { cutoff: 3 },
        message: /^bandGains: range should be of shape \[4, 2\] but got \[5, 2\]/,
      },
    ],
  }),
  flops: ([x], _, { cutoff }) => 4 * Math.max(1, 2 * cutoff - 1) * countOf(x),
})

const backwardOp: Op<GainAttributes> = defineOp<GainAttributes>({
  name: 'bandGainsBackward',
  infer(inputs, { cutoff }) {
    const [x, low, high, dy, range] = inputs as unknown as BackwardOperands<TensorSpec>
    requireOperands('bandGainsBackward', [x, low, high, range], cutoff)
    requireDtype('bandGainsBackward', 'dy', dy, 'float32')
    requireShape('bandGainsBackward', 'dy', dy, x.shape)
    return [x, low, high]
  },
  vjp: 'band gains have no second derivative here',
  reference(inputs, { cutoff }) {
    const [x, low, high, dy, range] = inputs as unknown as BackwardOperands<ReferenceArray>
    const [dlow, dhigh] = [array(low.shape), array(high.shape)]
    forEachPosition(x, range, cutoff, (index, band) => {
      const gain = gainAt(low, x, index)
      dlow.data[gain] = read(dlow.data, gain) + read(dy.data, index) * band
      dhigh.data[gain] = read(dhigh.data, gain) + read(dy.data, index) * (read(x.data, index) - band)
    })
    // The low band is a projection, so it is its own adjoint.
    return [amplify([dy, low, high, range], cutoff), dlow, dhigh]
  },
  cases: (random) => ({
    valid: settings.map((setting) => {
      const { inputs, ...rest } = makeCase(random, setting)
      const [x, low, high, ...range] = inputs as readonly ReferenceArray[]
      return {
        ...rest,
        inputs: [x, low, high, floats(random, (x as ReferenceArray).shape), ...range] as ReferenceArray[],
      }
    }),
    invalid: [
      {
        inputs: [float32([2, 6, 3]), float32([2, 3]), float32([2, 3]), float32([2, 5, 3])],
        attributes: { cutoff: 1 },
        message: /^bandGainsBackward: dy should be of shape \[2, 6, 3\] but got \[2, 5, 3\]/,
      },
    ],
  }),
  flops: ([x], _, { cutoff }) => 8 * Math.max(1, 2 * cutoff - 1) * countOf(x),
})

const countOf = (shape: readonly number[] = []): number => shape.reduce((count, dim) => count * dim, 1)

// Cases ------------------------------------------------------------------------------------------------------------

interface Setting {
  readonly shape: readonly [number, number, number]
  readonly cutoff: number
  /** A gain for every column, not one for all. */
  readonly each?: boolean
  readonly ragged?: boolean
}

/** One pass of waves, some passes, all waves of an odd and of an even length, none. */
const settings: readonly Setting[] = [
  { shape: [LIVE, 8, 5], cutoff: 2 },
  { shape: [LIVE, 50, 3], cutoff: 3, each: true },
  { shape: [LIVE, 13, 17], cutoff: 3, ragged: true },
  { shape: [2, 30, 70], cutoff: 9, each: true, ragged: true },
  { shape: [3, 7, 4], cutoff: 4 },
  { shape: [3, 10, 2], cutoff: 6, each: true, ragged: true },
  { shape: [2, 9, 5], cutoff: 0, ragged: true },
  { shape: [4, 1, 3], cutoff: 1 },
  { shape: [0, 5, 3], cutoff: 1 },
  { shape: [3, 4, 0], cutoff: 2 },
]

function makeCase(random: Random, { shape, cutoff, each = false, ragged = false }: Setting): OpCase<GainAttributes> {
  const [batch, time, channels] = shape
  const gains = [batch, each ? channels : 1]
  const ranges = Array.from({ length: batch }, () => {
    const start = random.int(time + 1)
    return [start, start + random.int(time - start + 1)]
  }).flat()
  // An empty one and a full one among them.
  if (batch > 1) ranges.splice(0, 4, 1, 1, 0, time)
  const range = typed('int32', [batch, 2], (index) => ranges[index] as number)
  return {
    inputs: [floats(random, shape), floats(random, gains), floats(random, gains), ...(ragged ? [range] : [])],
    attributes: { cutoff },
    ...liveOf(shape),
  }
}

// Public -----------------------------------------------------------------------------------------------------------

export interface BandGainsOptions<B extends Dim> {
  /** Frequencies below this bin are the low band; 0 leaves none, L / 2 + 1 rounded down makes it everything. */
  readonly cutoff: number
  /**
   * Positions [start, end) of each item that are its sequence: it alone is transformed, with the same share of its
   * frequencies low, and the result is 0 outside. Without it an item is all L positions.
   */
  readonly range?: Tensor<readonly [B, 2], 'int32'>
  /**
   * A projection onto the 2 cutoff - 1 waves of the low band, or a filter between two transforms. Default: by size; a
   * range has the projection alone.
   */
  readonly form?: 'projection' | 'transforms'
}

/**
 * low_b Low[x_b] + high_b High[x_b] along the positions of x[batch, L, d], where Low keeps the DFT's bins below `cutoff`
 * and High is the rest. Gains are of each item, [batch, 1], or of each item's channels, [batch, d].
 *
 * Throws KAIROS_SHAPE when gains or range do not fit, KAIROS_ARGUMENT unless 0 <= cutoff <= L / 2 + 1 and L is a literal,
 * or for transforms with a range. A run fails with KAIROS_ID_RANGE unless 0 <= start <= end <= L.
 * Source: FARM, arXiv 2502.09375, 2025, the frequency-aware module; the bands after Shin et al., "An attentive inductive
 * bias for sequential recommendation beyond the self-attention", 2024.
 */
export function bandGains<B extends Dim, L extends Dim, D extends Dim, W extends Dim>(
  x: Tensor<readonly [B, L, D], 'float32'>,
  low: Tensor<readonly [NoInfer<B>, W], 'float32'>,
  high: Tensor<readonly [NoInfer<B>, NoInfer<W>], 'float32'>,
  { cutoff, range, form }: BandGainsOptions<NoInfer<B>>,
): Tensor<readonly [B, L, D], 'float32'> {
  const { shape } = x as Loose
  const length = at(shape, 1)
  if (form === 'transforms' && range) refuseArgument('bandGains', 'form', "'projection' where there is a range", form)
  const projects = range !== undefined || (form ? form === 'projection' : isFewWaves(length, cutoff))
  if (projects || typeof length !== 'number') {
    const operands = [x as Loose, low as Loose, high as Loose, ...(range ? [range as Loose] : [])]
    return gainsOp(operands, { cutoff })[0] as Loose
  }
  const spread = (gain: Loose): Loose => {
    const isOne = at(gain.shape, 1) === 1
    const wide = isOne ? broadcast(merge(gain, 0, 2) as Loose, 1, [at(shape, 2)]) : gain
    return broadcast(wide as Loose, 1, [length]) as Loose
  }
  requireOperands('bandGains', [x, low, high] as unknown as Operands<TensorSpec>, cutoff)
  const half = Math.floor(length / 2) + 1
  const pass = Float32Array.from({ length: 2 * half }, (_, i) => Number(i % 2 === 0 && i < 2 * cutoff))
  const filter = broadcast(constant(pass, [half, 2]) as Loose, 1, [at(shape, 2)])
  const band: Loose = frequencyFilter(x as Loose, filter as Loose)
  const rest: Loose = subtract(x as Loose, band as Loose)
  return add(multiply(band, spread(low as Loose)) as Loose, multiply(rest, spread(high as Loose)) as Loose) as Loose
}
