/** From a registered op and one of its cases to graphs: forward, and the gradient graph for given cotangents. */
import type { Dim } from '../../lib/core/dim.js'
import { createRandom, type Random } from '../../lib/core/random.js'
import { vjp } from '../../lib/graph/autodiff.js'
import { applyOp, type OpCase, type OpDefinition, type ReferenceArray, registry } from '../../lib/graph/defineOp.js'
import { input } from '../../lib/graph/leaf.js'
import type { Attributes, Tensor } from '../../lib/graph/node.js'
import '../../lib/graph/passes.js'
import '../../lib/ops/index.js'

export const SYMBOL = 'n'
export const ops = [...registry.values()]

/** Cases of several draws: the same every time, different from op to op. */
export function casesOf(op: OpDefinition, draws: number): OpCase[] {
  return Array.from({ length: draws }, (_, draw) => op.cases(createRandom(7).fork(op.name).fork(draw)).valid).flat()
}

export interface CaseGraph {
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  readonly feeds: Readonly<Record<string, ReferenceArray>>
}

/** The case as a graph over feeds; with `symbolic`, its live size is a symbol everywhere. */
export function graphOf(op: OpDefinition, { inputs, attributes, live }: OpCase, symbolic = false): CaseGraph {
  const named = (dims: readonly Dim[]) => (symbolic ? dims.map((dim) => (dim === live ? SYMBOL : dim)) : dims)
  const leaves = inputs.map(({ dtype, shape }, index) => input(`operand${index}`, named(shape), dtype))
  const outputs = applyOp(op, leaves, mapSizes(attributes, named))
  return {
    inputs: leaves,
    outputs,
    feeds: Object.fromEntries(inputs.map((array, index) => [`operand${index}`, array])),
  }
}

/** Applies a function to the attributes that hold sizes. */
export function mapSizes(attributes: Attributes, change: (dims: readonly Dim[]) => readonly Dim[]): Attributes {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [
      name,
      name === 'dims' || name === 'shape' ? change(value as readonly Dim[]) : value,
    ]),
  )
}

/** The same case with fewer along its live size: a prefix of every operand. */
export function shrink({ inputs, attributes, live, ...rest }: OpCase, count: number): OpCase {
  const now = (size: Dim) => (size === live ? count : size)
  return {
    ...rest,
    inputs: inputs.map((array) => resized(array, array.shape.map(now) as number[])),
    attributes: mapSizes(attributes, (dims) => dims.map(now)),
  }
}

/** The array cut to smaller sizes; along larger ones it repeats. */
export function resized({ dtype, shape, data }: ReferenceArray, to: readonly number[]): ReferenceArray {
  const length = to.reduce((left, right) => left * right, 1)
  const kept = Float64Array.from({ length }, (_, flat) => {
    let left = flat
    let source = 0
    let stride = 1
    for (let axis = to.length - 1; axis >= 0; axis--) {
      source += ((left % (to[axis] as number)) % (shape[axis] as number)) * stride
      left = Math.floor(left / (to[axis] as number))
      stride *= shape[axis] as number
    }
    return data[source] as number
  })
  return { dtype, shape: to, data: kept }
}

export interface GradientGraph {
  /** Operands whose gradient is asked for, and the gradients; null where none flows. */
  readonly wanted: readonly number[]
  readonly gradients: readonly (Tensor | null)[]
  readonly cotangents: readonly (Tensor | null)[]
}

/** The gradient by every differentiable operand, for cotangents that are feeds of their own. */
export function gradientOf({ inputs, outputs }: CaseGraph, { differentiable }: OpCase): GradientGraph {
  const wanted = inputs.flatMap(({ dtype }, index) => {
    return dtype === 'float32' && (differentiable?.includes(index) ?? true) ? [index] : []
  })
  const cotangents = outputs.map(({ dtype, shape }, index) => {
    return dtype === 'float32' ? input(`cotangent${index}`, shape) : null
  })
  const operands = wanted.map((index) => inputs[index] as Tensor)
  return { wanted, cotangents, gradients: vjp(outputs, cotangents, operands) }
}

/** Random values for the cotangents of a case's results. */
export function cotangentFeeds(results: readonly ReferenceArray[], random: Random): Record<string, ReferenceArray> {
  return Object.fromEntries(
    results.flatMap(({ dtype, shape, data }, index) =>
      dtype === 'float32'
        ? [[`cotangent${index}`, { dtype, shape, data: data.map(() => Math.fround(random.uniform() * 2 - 1)) }]]
        : [],
    ),
  )
}

/** The greatest difference, relative to the greatest magnitude; infinities must agree in place and sign. */
export function errorOf(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY
  let greatest = 0
  let difference = 0
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [got[i] as number, expected[i] as number]
    if (Object.is(a, b) || a === b) {
      if (Number.isFinite(b)) greatest = Math.max(greatest, Math.abs(b))
      continue
    }
    if (!Number.isFinite(a) || !Number.isFinite(b)) return Number.POSITIVE_INFINITY
    greatest = Math.max(greatest, Math.abs(b))
    difference = Math.max(difference, Math.abs(a - b))
  }
  return difference === 0 ? 0 : difference / Math.max(greatest, 1e-6)
}

export const describeCase = ({ inputs, attributes }: OpCase): string =>
  `${inputs.map(({ dtype, shape }) => `${dtype}[${shape}]`).join(', ')} ${JSON.stringify(attributes)}`
