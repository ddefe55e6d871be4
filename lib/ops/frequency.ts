/**
 * Real discrete Fourier transforms along the last axis but one, `x[..., L, d]`, for any length, and the filter between
 * them. Spectra are `[..., L/2+1, d, 2]`: real and imaginary parts, as PyTorch's `view_as_real` lays them out.
 */
import type { Dim, Shape } from '../core/dim.js'
import type { Random } from '../core/random.js'
import type { HalfSpectrum } from '../core/shapes.js'
import { defineOp, type Op, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import { constant } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { multiply } from './arithmetic.js'
import { broadcast } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  product,
  read,
  requireShape,
} from './support.js'

/** The length of a transform: literal, because its plan is part of the program. */
function lengthOf(op: string, dim: Dim): number {
  if (typeof dim === 'number' && dim >= 1) return dim
  refuse(op, 'x', 'of a literal length of at least 1 at its last axis but one', String(dim))
}

const halfOf = (length: number): number => Math.floor(length / 2) + 1

/** DC and, for even lengths, Nyquist stand once in a whole spectrum; every other frequency of the half stands twice. */
const occurrences = (length: number, frequency: number): number => (frequency === 0 || 2 * frequency === length ? 1 : 2)

/** X[k] = sum over n of x[n] exp(-2 pi i k n / L), per column of x[batch, L, d]. */
function transform(x: ReferenceArray): ReferenceArray {
  const [length, width] = x.shape.slice(-2) as [number, number]
  const lead = x.shape.slice(0, -2)
  const half = halfOf(length)
  return array([...lead, half, width, 2], (index) => {
    const part = index % 2
    const column = Math.floor(index / 2) % width
    const k = Math.floor(index / (2 * width)) % half
    const batch = Math.floor(index / (2 * width * half))
    let total = 0
    for (let n = 0; n < length; n++) {
      const angle = (2 * Math.PI * ((k * n) % length)) / length
      total += read(x.data, (batch * length + n) * width + column) * (part === 0 ? Math.cos(angle) : -Math.sin(angle))
    }
    return total
  })
}

/** The inverse of `transform`; imaginary parts of DC and Nyquist do not count. */
function inverse(spectrum: ReferenceArray, length: number): ReferenceArray {
  const [half, width] = spectrum.shape.slice(-3) as [number, number]
  return array([...spectrum.shape.slice(0, -3), length, width], (index) => {
    const column = index % width
    const n = Math.floor(index / width) % length
    const batch = Math.floor(index / (width * length))
    let total = 0
    for (let k = 0; k < half; k++) {
      const angle = (2 * Math.PI * ((k * n) % length)) / length
      const at = 2 * ((batch * half + k) * width + column)
      const once = occurrences(length, k) === 1
      const imaginary = once ? 0 : read(spectrum.data, at + 1) * Math.sin(angle)
      total += occurrences(length, k) * (read(spectrum.data, at) * Math.cos(angle) - imaginary)
    }
    return total / length
  })
}

/** Multiplies a spectrum [..., L/2+1, d, 2] by one real factor per frequency. */
function scaleFrequencies(spectrum: Loose, length: number, factor: (occurrences: number) => number): Loose {
  const half = halfOf(length)
  const factors = constant(
    Float32Array.from({ length: half }, (_, k) => factor(occurrences(length, k))),
    [half],
  )
  const perColumn = broadcast(factors as Loose, 1, spectrum.shape.slice(-2)) as Loose
  return multiply(spectrum, broadcast(perColumn, 0, spectrum.shape.slice(0, -3)) as Loose)
}

const rfftOp: Op = defineOp({
  name: 'rfft',
  infer([x]: readonly [TensorSpec]) {
    requireDtype('rfft', 'x', x, 'float32')
    requireRank('rfft', 'x', x, 2, 7)
    const length = lengthOf('rfft', at(x.shape, -2))
    return [float32([...x.shape.slice(0, -2), halfOf(length), at(x.shape, -1), 2])]
  },
  // The adjoint sums each stored frequency once; irfft counts the inner ones twice and divides by L.
  vjp: gradient(({ inputs: [x], cotangents: [dy] }) => {
    const length = at(x.shape, -2) as number
    return [irfftOp([scaleFrequencies(dy, length, (count) => length / count)], { length })[0] as Loose]
  }),
  reference: ([x]: readonly [ReferenceArray]) => [transform(x)],
  cases: (random) => ({
    valid: shapes(random).map((shape) => ({ inputs: [floats(random, shape)], attributes: {}, ...liveOf(shape) })),
    invalid: [
      {
        inputs: [float32(['batch', 'time', 8])],
        attributes: {},
        message: /^rfft: x should be of a literal length of at least 1 at its last axis but one but got time/,
      },
      { inputs: [int32([5, 3])], attributes: {}, message: /^rfft: x should be dtype float32 but got int32/ },
      { inputs: [float32([5])], attributes: {}, message: /^rfft: x should be rank 2 to 7 but got shape \[5\]/ },
    ],
  }),
  flops: ([x]) => transformFlops(x as readonly number[]),
})

const irfftOp: Op<{ length: number }> = defineOp<{ length: number }>({
  name: 'irfft',
  infer([spectrum]: readonly [TensorSpec], { length }) {
    requireDtype('irfft', 'spectrum', spectrum, 'float32')
    requireRank('irfft', 'spectrum', spectrum, 3)
    lengthOf('irfft', length)
    const wanted = [...spectrum.shape.slice(0, -3), halfOf(length), at(spectrum.shape, -2), 2]
    requireShape('irfft', 'spectrum', spectrum, wanted)
    return [float32([...spectrum.shape.slice(0, -3), length, at(spectrum.shape, -2)])]
  },
  vjp: gradient(({ cotangents: [dy], attributes: { length } }) => [
    scaleFrequencies(rfftOp([dy], {})[0] as Loose, length, (count) => count / length),
  ]),
  reference: ([spectrum]: readonly [ReferenceArray], { length }) => [inverse(spectrum, length)],
  cases: (random) => ({
    valid: shapes(random).map((shape) => ({
      inputs: [floats(random, spectrumOf(shape))],
      attributes: { length: shape.at(-2) as number },
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32([4, 3, 2])],
        attributes: { length: 8 },
        message: /^irfft: spectrum should be of shape \[5, 3, 2\] but got \[4, 3, 2\]/,
      },
    ],
  }),
  flops: (_, [y]) => transformFlops(y as readonly number[]),
})

function requireFilter(op: string, x: TensorSpec, w: TensorSpec): void {
  requireDtype(op, 'x', x, 'float32')
  requireDtype(op, 'w', w, 'float32')
  requireRank(op, 'x', x, 2)
  requireShape(op, 'w', w, [halfOf(lengthOf(op, at(x.shape, -2))), at(x.shape, -1), 2])
}

/** Products of complex pairs: spectrum[..., F, d, 2] with w[F, d, 2], which may be conjugated. */
function complexProduct(spectrum: ReferenceArray, w: ReferenceArray, conjugate: boolean): ReferenceArray {
  const period = w.data.length
  return array(spectrum.shape, (index) => {
    const pair = index - (index % 2)
    const [re, im] = [read(spectrum.data, pair), read(spectrum.data, pair + 1)]
    const wre = read(w.data, pair % period)
    const wim = (conjugate ? -1 : 1) * read(w.data, (pair % period) + 1)
    return index % 2 === 0 ? re * wre - im * wim : re * wim + im * wre
  })
}

const filterOp: Op = defineOp({
  name: 'frequencyFilter',
  infer([x, w]: readonly [TensorSpec, TensorSpec]) {
    requireFilter('frequencyFilter', x, w)
    return [x]
  },
  vjp: gradient(({ inputs: [x, w], cotangents: [dy] }) => filterBackwardOp([x, w, dy], {}) as readonly Loose[]),
  reference: ([x, w]: readonly [ReferenceArray, ReferenceArray]) => [
    inverse(complexProduct(transform(x), w, false), x.shape.at(-2) as number),
  ],
  cases: (random) => ({
    valid: shapes(random).map((shape) => ({
      inputs: [floats(random, shape), floats(random, filterShape(shape))],
      attributes: {},
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32(['batch', 50, 64]), float32([25, 64, 2])],
        attributes: {},
        message: /^frequencyFilter: w should be of shape \[26, 64, 2\] but got \[25, 64, 2\]/,
      },
      {
        inputs: [float32(['batch', 'time', 64]), float32([26, 64, 2])],
        attributes: {},
        message: /^frequencyFilter: x should be of a literal length/,
      },
    ],
  }),
  flops: ([x]) => 2 * transformFlops(x as readonly number[]),
})

const filterBackwardOp: Op = defineOp({
  name: 'frequencyFilterBackward',
  infer([x, w, dy]: readonly [TensorSpec, TensorSpec, TensorSpec]) {
    requireFilter('frequencyFilterBackward', x, w)
    requireDtype('frequencyFilterBackward', 'dy', dy, 'float32')
    requireShape('frequencyFilterBackward', 'dy', dy, x.shape)
    return [x, w]
  },
  vjp: 'the frequency filter has no second derivative here',
  reference([x, w, dy]: readonly [ReferenceArray, ReferenceArray, ReferenceArray]) {
    const length = x.shape.at(-2) as number
    const half = halfOf(length)
    const width = x.shape.at(-1) as number
    // The filter is a real circular convolution, so its adjoint is the filter with the conjugate.
    const dx = inverse(complexProduct(transform(dy), w, true), length)
    // dW[k] = c_k / L * sum over the batch of DY[k] conj(X[k]), whose imaginary part irfft ignores at DC and Nyquist.
    const [spectrumX, spectrumY] = [transform(x), transform(dy)]
    const dw = array(w.shape, (index) => {
      const pair = index - (index % 2)
      const k = Math.floor(index / (2 * width))
      const count = occurrences(length, k)
      if (index % 2 === 1 && count === 1) return 0
      let total = 0
      for (let at = pair; at < spectrumX.data.length; at += half * width * 2) {
        const [xr, xi] = [read(spectrumX.data, at), read(spectrumX.data, at + 1)]
        const [yr, yi] = [read(spectrumY.data, at), read(spectrumY.data, at + 1)]
        total += index % 2 === 0 ? yr * xr + yi * xi : yi * xr - yr * xi
      }
      return (total * count) / length
    })
    return [dx, dw]
  },
  cases: (random) => ({
    valid: shapes(random).map((shape) => ({
      inputs: [floats(random, shape), floats(random, filterShape(shape)), floats(random, shape)],
      attributes: {},
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32([2, 6, 3]), float32([4, 3, 2]), float32([2, 5, 3])],
        attributes: {},
        message: /^frequencyFilterBackward: dy should be of shape \[2, 6, 3\] but got \[2, 5, 3\]/,
      },
    ],
  }),
})

const spectrumOf = (shape: readonly number[]): number[] => [
  ...shape.slice(0, -2),
  halfOf(shape.at(-2) as number),
  shape.at(-1) as number,
  2,
]
const filterShape = (shape: readonly number[]): number[] => spectrumOf(shape.slice(-2))

/** Powers of two, small and large primes, composites; LIVE as the batch. */
const shapes = (random: Random): number[][] => [
  [LIVE, 8, 5],
  [LIVE, 50, 3],
  [LIVE, 7, 17],
  [2, 3, 1, 4],
  [1, 2, 3],
  [2, [61, 97, 30, 64, 45][random.int(5)] as number, 2],
  [9, 1],
  [0, 5, 3],
  [3, 4, 0],
]
const liveOf = (shape: readonly number[]) => (shape[0] === LIVE ? { live: LIVE } : {})

/** A real transform as a fast one would need it: 2.5 L log2 L per column. */
const transformFlops = (shape: readonly number[]): number =>
  2.5 * product(shape) * Math.log2(Math.max(shape.at(-2) as number, 2))

/**
 * The half spectrum of `x[..., L, d]` along its last axis but one: `[..., L/2+1, d, 2]`.
 *
 * Throws KAIROS_SHAPE unless L is a literal of at least 1, KAIROS_DTYPE unless float32.
 */
export function rfft<Lead extends Shape, L extends Dim, D extends Dim>(
  x: Tensor<readonly [...Lead, L, D], 'float32'>,
): Tensor<readonly [...Lead, HalfSpectrum<L>, D, 2], 'float32'> {
  return rfftOp([x as Loose], {})[0] as Loose
}

/**
 * The inverse of `rfft`: `length` samples from `[..., length/2+1, d, 2]`, divided by the length. Imaginary parts of DC
 * and of the Nyquist frequency are ignored, as the transform of a real signal has none.
 *
 * Throws KAIROS_SHAPE when the spectrum does not belong to that length, KAIROS_DTYPE unless float32.
 */
export function irfft<Lead extends Shape, D extends Dim, L extends number>(
  spectrum: Tensor<readonly [...Lead, Dim, D, 2], 'float32'>,
  length: L,
): Tensor<readonly [...Lead, L, D], 'float32'> {
  return irfftOp([spectrum as Loose], { length })[0] as Loose
}

/**
 * `irfft(rfft(x) * w)` in one pass: a learned filter `w[L/2+1, d, 2]` per frequency and column of `x[..., L, d]`.
 *
 * Throws KAIROS_SHAPE when `w` does not fit or L is not literal, KAIROS_DTYPE unless float32.
 * Source: Zhou et al., "Filter-enhanced MLP is all you need for sequential recommendation", 2022.
 */
export function frequencyFilter<Lead extends Shape, L extends Dim, D extends Dim>(
  x: Tensor<readonly [...Lead, L, D], 'float32'>,
  w: Tensor<readonly [HalfSpectrum<NoInfer<L>>, NoInfer<D>, 2], 'float32'>,
): Tensor<readonly [...Lead, L, D], 'float32'> {
  return filterOp([x as Loose, w as Loose], {})[0] as Loose
}
