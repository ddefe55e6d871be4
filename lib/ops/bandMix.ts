/** A sequence's low frequencies as they are and its high ones rescaled, without a transform where few are low. */
import type { Dim, Shape } from '../core/dim.js'
import { defineOp, type Op, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import { constant } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add, multiply } from './arithmetic.js'
import { frequencyFilter } from './frequency.js'
import { broadcast } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  LIVE,
  type Loose,
  liveOf,
  read,
  refuseArgument,
  requireShape,
  sumOver,
} from './support.js'

type BandMixAttributes = { readonly cutoff: number }

function requireOperands(op: string, x: TensorSpec, scale: TensorSpec, cutoff: number): void {
  requireDtype(op, 'x', x, 'float32')
  requireDtype(op, 'scale', scale, 'float32')
  requireRank(op, 'x', x, 2)
  requireShape(op, 'scale', scale, [at(x.shape, -1)])
  const length = at(x.shape, -2)
  if (typeof length !== 'number' || length < 1)
    refuseArgument(op, 'x', 'of a literal length of at least 1 at its last axis but one', length)
  const bins = Math.floor(length / 2) + 1
  if (!Number.isInteger(cutoff) || cutoff < 1 || cutoff > bins)
    refuseArgument(op, 'cutoff', `a whole number in [1, ${bins}] for ${length} positions`, cutoff)
}

/** How much position s of a sequence counts in the low band at position t, by t - s. */
export function lowPass(length: number, cutoff: number): number[] {
  return Array.from({ length }, (_, shift) => {
    const wave = (k: number) => (k === 0 || 2 * k === length ? 1 : 2) * Math.cos((2 * Math.PI * k * shift) / length)
    return sumOver(cutoff, wave) / length
  })
}

/** The low band of x[batch, L, d], by its definition as a circular convolution. */
function lowBand(x: ReferenceArray, cutoff: number): ReferenceArray {
  const [length, width] = x.shape.slice(-2) as [number, number]
  // All frequencies are low: rounding would leave a high band.
  if (2 * cutoff > length) return x
  const weights = lowPass(length, cutoff)
  return array(x.shape, (index) => {
    const [t, start] = [Math.floor(index / width) % length, index - (index % (length * width)) + (index % width)]
    return sumOver(length, (s) => read(weights, (t - s + length) % length) * read(x.data, start + s * width))
  })
}

function mix(x: ReferenceArray, scale: ReferenceArray, cutoff: number): ReferenceArray {
  const low = lowBand(x, cutoff)
  const factor = (index: number) => read(scale.data, index % scale.data.length)
  return array(x.shape, (i) => read(low.data, i) + factor(i) * (read(x.data, i) - read(low.data, i)))
}

const mixOp: Op<BandMixAttributes> = defineOp<BandMixAttributes>({
  name: 'bandMix',
  infer([x, scale]: readonly [TensorSpec, TensorSpec], { cutoff }) {
    requireOperands('bandMix', x, scale, cutoff)
    return [x]
  },
  vjp: gradient(
    ({ inputs: [x, scale], cotangents: [dy], attributes: { cutoff } }) =>
      mixBackwardOp([x, scale, dy], { cutoff }) as readonly Loose[],
  ),
  reference: ([x, scale]: readonly [ReferenceArray, ReferenceArray], { cutoff }) => [mix(x, scale, cutoff)],
  cases: (random) => ({
    valid: shapes.map(([shape, cutoff]) => ({
      inputs: [floats(random, shape), floats(random, shape.slice(-1))],
      attributes: { cutoff },
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32(['batch', 50, 64]), float32([63])],
        attributes: { cutoff: 3 },
        message: /^bandMix: scale should be of shape \[64\] but got \[63\]/,
      },
      {
        inputs: [float32(['batch', 'time', 64]), float32([64])],
        attributes: { cutoff: 3 },
        message: /^bandMix: x should be of a literal length/,
      },
      {
        inputs: [float32(['batch', 50, 64]), float32([64])],
        attributes: { cutoff: 27 },
        message: /^bandMix: cutoff should be a whole number in \[1, 26\] for 50 positions but got 27/,
      },
    ],
  }),
  flops: ([x], _, { cutoff }) => 4 * (2 * cutoff - 1) * (x as readonly number[]).reduce((a, b) => a * b, 1),
})

const mixBackwardOp: Op<BandMixAttributes> = defineOp<BandMixAttributes>({
  name: 'bandMixBackward',
  infer([x, scale, dy]: readonly [TensorSpec, TensorSpec, TensorSpec], { cutoff }) {
    requireOperands('bandMixBackward', x, scale, cutoff)
    requireDtype('bandMixBackward', 'dy', dy, 'float32')
    requireShape('bandMixBackward', 'dy', dy, x.shape)
    return [x, scale]
  },
  vjp: 'the band mix has no second derivative here',
  reference([x, scale, dy]: readonly [ReferenceArray, ReferenceArray, ReferenceArray], { cutoff }) {
    const low = lowBand(x, cutoff)
    const width = scale.data.length
    const high = (i: number) => read(x.data, i) - read(low.data, i)
    const dscale = array(scale.shape, (column) =>
      sumOver(x.data.length / width, (row) => read(dy.data, row * width + column) * high(row * width + column)),
    )
    // The low band is a projection, so it is its own adjoint.
    return [mix(dy, scale, cutoff), dscale]
  },
  cases: (random) => ({
    valid: shapes.map(([shape, cutoff]) => ({
      inputs: [floats(random, shape), floats(random, shape.slice(-1)), floats(random, shape)],
      attributes: { cutoff },
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32([2, 6, 3]), float32([3]), float32([2, 5, 3])],
        attributes: { cutoff: 1 },
        message: /^bandMixBackward: dy should be of shape \[2, 6, 3\] but got \[2, 5, 3\]/,
      },
    ],
  }),
})

/** One pass of waves, some passes, all waves of an odd and of an even length. */
const shapes: readonly (readonly [number[], number])[] = [
  [[LIVE, 8, 5], 2],
  [[LIVE, 50, 3], 3],
  [[2, 3, 7, 17], 4],
  [[2, 30, 70], 9],
  [[3, 10, 2], 6],
  [[9, 1], 1],
  [[0, 5, 3], 1],
  [[3, 4, 0], 2],
]

/** Up to so many waves per bit of the length the projection is cheaper than two transforms. */
const WAVES_PER_BIT = 4

export const isFewWaves = (length: Dim, cutoff: number): boolean =>
  typeof length !== 'number' || 2 * cutoff - 1 <= WAVES_PER_BIT * Math.log2(length + 1)

/**
 * The frequencies below bin `cutoff` of `x[..., L, d]` along its last axis but one as they are, all others times
 * `scale[d]`: low + scale high. By a projection onto the 2 cutoff - 1 waves of the low band where they are few, as one
 * filter between two transforms otherwise.
 *
 * Throws KAIROS_SHAPE when `scale` does not fit, KAIROS_ARGUMENT unless 1 <= cutoff <= L / 2 + 1 and L is a literal.
 * Source: Shin et al., "An attentive inductive bias for sequential recommendation beyond the self-attention", 2024,
 * equations 9 to 11.
 */
export function bandMix<Lead extends Shape, L extends Dim, D extends Dim>(
  x: Tensor<readonly [...Lead, L, D], 'float32'>,
  scale: Tensor<readonly [NoInfer<D>], 'float32'>,
  { cutoff }: { readonly cutoff: number },
): Tensor<readonly [...Lead, L, D], 'float32'> {
  const { shape } = x as Loose
  const length = at(shape, -2)
  if (isFewWaves(length, cutoff) || typeof length !== 'number')
    return mixOp([x as Loose, scale as Loose], { cutoff })[0] as Loose
  const half = Math.floor(length / 2) + 1
  const band = (isHigh: boolean) => {
    const parts = Float32Array.from({ length: 2 * half }, (_, i) => +(i % 2 === 0 && i >= 2 * cutoff === isHigh))
    return broadcast(constant(parts, [half, 2]) as Loose, 1, [at(shape, -1)]) as Loose
  }
  const factors = broadcast(broadcast(scale as Loose, 1, [2]) as Loose, 0, [half]) as Loose
  return frequencyFilter(x as Loose, add(band(false), multiply(band(true), factors) as Loose) as Loose) as Loose
}
