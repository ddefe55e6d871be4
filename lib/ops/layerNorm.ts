/** Layer normalisation over the last axis. Source: Ba, Kiros and Hinton, "Layer Normalization", 2016. */
import type { Dim, Shape } from '../core/dim.js'
import { defineOp, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add, divide, multiply, power, subtract } from './arithmetic.js'
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

type LayerNormAttributes = { epsilon: number }
type Five = readonly [ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray]

const forwardOp = defineOp<LayerNormAttributes>({
  name: 'layerNorm',
  infer([x, weight, bias]: readonly [TensorSpec, TensorSpec, TensorSpec], { epsilon }) {
    requireDtype('layerNorm', 'x', x, 'float32')
    requireRank('layerNorm', 'x', x, 1)
    for (const [argument, spec] of [['weight', weight] as const, ['bias', bias] as const]) {
      requireDtype('layerNorm', argument, spec, 'float32')
      requireShape('layerNorm', argument, spec, x.shape.slice(-1))
    }
    if (!(epsilon >= 0)) refuseArgument('layerNorm', 'epsilon', 'at least 0', epsilon)
    const rows = float32(x.shape.slice(0, -1))
    return [x, rows, rows]
  },
  vjp: gradient(({ inputs: [x, weight], outputs: [, mean, rstd], cotangents }) => {
    const [dy, dmean, drstd] = cotangents as readonly (Loose | null)[]
    const [dx, dweight, dbias] = dy ? backwardOp([x, weight, mean, rstd, dy], {}) : []
    const throughStatistics = [
      dmean && spread(divide(dmean, size(x, -1)), x),
      // d rstd / dx = -rstd^3 (x - mean) / D
      drstd &&
        multiply(
          subtract(x, spread(mean, x)),
          spread(multiply(divide(drstd, size(x, -1)), multiply(power(rstd, 3) as Loose, -1)), x),
        ),
    ]
    const parts = [dx, ...throughStatistics].filter((part): part is Loose => Boolean(part))
    return [parts.reduce((left, right) => add(left, right)), dweight ?? null, dbias ?? null]
  }),
  reference([x, weight, bias]: readonly [ReferenceArray, ReferenceArray, ReferenceArray], { epsilon }) {
    const width = x.shape.at(-1) as number
    const rowsShape = x.shape.slice(0, -1)
    const mean = array(rowsShape, (row) => sumOver(width, (i) => read(x.data, row * width + i)) / width)
    const rstd = array(rowsShape, (row) => {
      const variance = sumOver(width, (i) => (read(x.data, row * width + i) - read(mean.data, row)) ** 2) / width
      return 1 / Math.sqrt(variance + epsilon)
    })
    const y = array(x.shape, (index) => {
      const [row, i] = [Math.floor(index / width), index % width]
      const normal = (read(x.data, index) - read(mean.data, row)) * read(rstd.data, row)
      return normal * read(weight.data, i) + read(bias.data, i)
    })
    return [y, mean, rstd]
  },
  cases: (random) => ({
    valid: normalisedShapes(random).map(([...shape]) => ({
      inputs: [floats(random, shape), ...[0, 1].map(() => floats(random, shape.slice(-1)))],
      attributes: { epsilon: 1e-5 },
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32(['batch', 64]), float32([65]), float32([64])],
        attributes: { epsilon: 1e-5 },
        message: /^layerNorm: weight should be of shape \[64\] but got \[65\]/,
      },
      {
        inputs: [int32([2, 3]), float32([3]), float32([3])],
        attributes: { epsilon: 1e-5 },
        message: /^layerNorm: x should be dtype float32 but got int32/,
      },
      {
        inputs: [float32([2, 3]), float32([3]), float32([3])],
        attributes: { epsilon: -1 },
        message: /^layerNorm: epsilon should be at least 0 but got -1/,
      },
    ],
  }),
  flops: ([x]) => 8 * product(x as readonly number[]),
})

const backwardOp = defineOp({
  name: 'layerNormBackward',
  infer([x, weight, mean, rstd, dy]: readonly [TensorSpec, TensorSpec, TensorSpec, TensorSpec, TensorSpec]) {
    requireRank('layerNormBackward', 'x', x, 1)
    requireShape('layerNormBackward', 'weight', weight, x.shape.slice(-1))
    requireShape('layerNormBackward', 'mean', mean, x.shape.slice(0, -1))
    requireShape('layerNormBackward', 'rstd', rstd, x.shape.slice(0, -1))
    requireShape('layerNormBackward', 'dy', dy, x.shape)
    for (const spec of [x, weight, mean, rstd, dy]) requireDtype('layerNormBackward', 'every operand', spec, 'float32')
    return [x, weight, weight]
  },
  vjp: 'layer normalisation has no second derivative here',
  reference([x, weight, mean, rstd, dy]: Five) {
    const width = x.shape.at(-1) as number
    const rows = product(x.shape.slice(0, -1))
    const normal = (index: number) => {
      const row = Math.floor(index / width)
      return (read(x.data, index) - read(mean.data, row)) * read(rstd.data, row)
    }
    const scaled = (index: number) => read(dy.data, index) * read(weight.data, index % width)
    const dx = array(x.shape, (index) => {
      const row = Math.floor(index / width)
      const average = sumOver(width, (i) => scaled(row * width + i)) / width
      const along = sumOver(width, (i) => scaled(row * width + i) * normal(row * width + i)) / width
      return read(rstd.data, row) * (scaled(index) - average - normal(index) * along)
    })
    const dweight = array(weight.shape, (i) =>
      sumOver(rows, (row) => read(dy.data, row * width + i) * normal(row * width + i)),
    )
    const dbias = array(weight.shape, (i) => sumOver(rows, (row) => read(dy.data, row * width + i)))
    return [dx, dweight, dbias]
  },
  cases: (random) => ({
    valid: normalisedShapes(random).map(([...shape]) => ({
      inputs: [
        floats(random, shape),
        floats(random, shape.slice(-1)),
        floats(random, shape.slice(0, -1)),
        floats(random, shape.slice(0, -1), 0.5, 2),
        floats(random, shape),
      ],
      attributes: {},
      ...liveOf(shape),
    })),
    invalid: [
      {
        inputs: [float32([2, 3]), float32([3]), float32([2]), float32([2]), float32([3, 2])],
        attributes: {},
        message: /^layerNormBackward: dy should be of shape \[2, 3\] but got \[3, 2\]/,
      },
    ],
  }),
})

const spread = (rows: Loose, x: Loose): Loose => broadcast(rows, rows.shape.length, [at(x.shape, -1)])

/**
 * (x - mean) / sqrt(variance + epsilon) * weight + bias, with the moments of each row along the last axis.
 *
 * Throws KAIROS_SHAPE when weight or bias are not as wide as the rows, KAIROS_DTYPE unless float32.
 */
export function layerNorm<Lead extends Shape, D extends Dim>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  weight: Tensor<readonly [NoInfer<D>], 'float32'>,
  bias: Tensor<readonly [NoInfer<D>], 'float32'>,
  { epsilon = 1e-5 }: { readonly epsilon?: number } = {},
): Tensor<readonly [...Lead, D], 'float32'> {
  return forwardOp([x as Loose, weight as Loose, bias as Loose], { epsilon })[0] as Loose
}
