/**
 * Root mean square normalisation over the last axis. Source: Zhang and Sennrich, "Root mean square layer
 * normalization", 2019.
 */
import type { Dim, Shape } from '../core/dim.js'
import { defineOp, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add, divide, multiply, negate, power } from './arithmetic.js'
import { broadcast, size } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  type Loose,
  liveOf,
  normalisedShapes,
  product,
  read,
  refuseArgument,
  requireShape,
  sumOver,
} from './support.js'

type RmsNormAttributes = { epsilon: number }
type Four = readonly [ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray]

const forwardOp = defineOp<RmsNormAttributes>({
  name: 'rmsNorm',
  infer([x, weight]: readonly [TensorSpec, TensorSpec], { epsilon }) {
    requireDtype('rmsNorm', 'x', x, 'float32')
    requireRank('rmsNorm', 'x', x, 1)
    requireDtype('rmsNorm', 'weight', weight, 'float32')
    requireShape('rmsNorm', 'weight', weight, x.shape.slice(-1))
    if (!(epsilon >= 0)) refuseArgument('rmsNorm', 'epsilon', 'at least 0', epsilon)
    return [x, float32(x.shape.slice(0, -1))]
  },
  vjp: gradient(({ inputs: [x, weight], outputs: [, rstd], cotangents }) => {
    const [dy, drstd] = cotangents as readonly (Loose | null)[]
    const [dx, dweight] = dy ? backwardOp([x, weight, rstd, dy], {}) : []
    // d rstd / dx = -rstd^3 x / D
    const scale = drstd && divide(multiply(drstd, negate(power(rstd, 3)) as Loose), size(x, -1))
    const parts = [dx, scale && multiply(x, broadcast(scale, scale.shape.length, [at(x.shape, -1)]) as Loose)]
    const present = parts.filter((part): part is Loose => Boolean(part))
    return [present.reduce((left, right) => add(left, right)), dweight ?? null]
  }),
  reference([x, weight]: readonly [ReferenceArray, ReferenceArray], { epsilon }) {
    const width = x.shape.at(-1) as number
    const rstd = array(x.shape.slice(0, -1), (row) => {
      const squares = sumOver(width, (i) => read(x.data, row * width + i) ** 2)
      return 1 / Math.sqrt(squares / width + epsilon)
    })
    const y = array(x.shape, (index) => {
      const row = Math.floor(index / width)
      return read(x.data, index) * read(rstd.data, row) * read(weight.data, index % width)
    })
    return [y, rstd]
  },
  cases: (random) => ({
    valid: normalisedShapes(random).map((shape) => ({
      inputs: [floats(random, shape), floats(random, shape.slice(-1))],
      attributes: { epsilon: 1e-5 },
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32(['batch', 64]), float32([65])],
        attributes: { epsilon: 1e-5 },
        message: /^rmsNorm: weight should be of shape \[64\] but got \[65\]/,
      },
      {
        inputs: [int32([2, 3]), float32([3])],
        attributes: { epsilon: 1e-5 },
        message: /^rmsNorm: x should be dtype float32 but got int32/,
      },
      {
        inputs: [float32([2, 3]), float32([3])],
        attributes: { epsilon: Number.NaN },
        message: /^rmsNorm: epsilon should be at least 0 but got NaN/,
      },
    ],
  }),
  flops: ([x]) => 5 * product(x as readonly number[]),
})

const backwardOp = defineOp({
  name: 'rmsNormBackward',
  infer([x, weight, rstd, dy]: readonly [TensorSpec, TensorSpec, TensorSpec, TensorSpec]) {
    requireRank('rmsNormBackward', 'x', x, 1)
    requireShape('rmsNormBackward', 'weight', weight, x.shape.slice(-1))
    requireShape('rmsNormBackward', 'rstd', rstd, x.shape.slice(0, -1))
    requireShape('rmsNormBackward', 'dy', dy, x.shape)
    for (const spec of [x, weight, rstd, dy]) requireDtype('rmsNormBackward', 'every operand', spec, 'float32')
    return [x, weight]
  },
  vjp: 'root mean square normalisation has no second derivative here',
  reference([x, weight, rstd, dy]: Four) {
    const width = x.shape.at(-1) as number
    const rows = product(x.shape.slice(0, -1))
    const normal = (index: number) => read(x.data, index) * read(rstd.data, Math.floor(index / width))
    const scaled = (index: number) => read(dy.data, index) * read(weight.data, index % width)
    const dx = array(x.shape, (index) => {
      const row = Math.floor(index / width)
      const along = sumOver(width, (i) => scaled(row * width + i) * normal(row * width + i)) / width
      return read(rstd.data, row) * (scaled(index) - normal(index) * along)
    })
    const dweight = array(weight.shape, (i) =>
      sumOver(rows, (row) => read(dy.data, row * width + i) * normal(row * width + i)),
    )
    return [dx, dweight]
  },
  cases: (random) => ({
    valid: normalisedShapes(random).map((shape) => ({
      inputs: [
        floats(random, shape),
        floats(random, shape.slice(-1)),
        floats(random, shape.slice(0, -1), 0.5, 2),
        floats(random, shape),
      ],
      attributes: {},
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32([2, 3]), float32([3]), float32([2]), float32([3, 2])],
        attributes: {},
        message: /^rmsNormBackward: dy should be of shape \[2, 3\] but got \[3, 2\]/,
      },
    ],
  }),
})

/**
 * x / sqrt(mean(x^2) + epsilon) * weight, with the mean of each row along the last axis.
 *
 * Throws KAIROS_SHAPE when weight is not as wide as the rows, KAIROS_DTYPE unless float32.
 * Source: Zhang and Sennrich, "Root mean square layer normalization", 2019, equation 4.
 */
export function rmsNorm<Lead extends Shape, D extends Dim>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  weight: Tensor<readonly [NoInfer<D>], 'float32'>,
  { epsilon = 1e-6 }: { readonly epsilon?: number } = {},
): Tensor<readonly [...Lead, D], 'float32'> {
  return forwardOp([x as Loose, weight as Loose], { epsilon })[0] as Loose
}
