/** What the ops of this folder share: loose tensors for library code, arrays for references, values for cases. */

import { type Dim, formatShape, type Shape } from '../core/dim.js'
import { arrayOf, type DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import type { GradientContext, ReferenceArray } from '../graph/defineOp.js'
import { refuse } from '../graph/defineOp.js'
import type { Attributes, Tensor, TensorSpec } from '../graph/node.js'

/** A tensor inside library code: its shape is checked while tracing, not by the compiler. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where open shapes must pass every typed signature
export type Loose = Tensor<any, any>

type Operands = readonly [Loose, Loose, Loose, Loose, Loose]

interface LooseContext<A extends Attributes> {
  readonly inputs: Operands
  readonly outputs: Operands
  readonly cotangents: Operands
  readonly attributes: A
}

/** A gradient rule whose operands stand in tuples, so that it reads as one line. */
export function gradient<A extends Attributes>(
  rule: (context: LooseContext<A>) => readonly (Loose | null)[],
): (context: GradientContext<A>) => readonly (Tensor | null)[] {
  return rule as unknown as (context: GradientContext<A>) => readonly (Tensor | null)[]
}

export const noGradient = gradient(({ inputs }) => inputs.map(() => null))

/** Refuses a setting that is no tensor. */
export function refuseArgument(op: string, argument: string, expected: string, got: unknown): never {
  throw new KairosError('KAIROS_ARGUMENT', { op, argument, expected, got: String(got) })
}

/** Counts a negative axis from the end and refuses one outside [0, limit). */
export function axisOf(op: string, axis: number, limit: number): number {
  const counted = axis < 0 ? axis + limit : axis
  if (Number.isInteger(counted) && counted >= 0 && counted < limit) return counted
  refuse(op, 'axis', limit === 0 ? 'absent: the operand has rank 0' : `in [-${limit}, ${limit})`, String(axis))
}

/** Refuses axes [axis, axis + count) that the shape does not have. */
export function requireRange(op: string, shape: Shape, axis: number, count: number): void {
  if (Number.isInteger(axis) && Number.isInteger(count) && axis >= 0 && count >= 0 && axis + count <= shape.length)
    return
  refuse(op, 'axes', `within shape ${formatShape(shape)}`, `[${axis}, ${axis + count})`)
}

/** Refuses an operand whose dims are not the wanted ones. */
export function requireShape(op: string, argument: string, spec: TensorSpec, wanted: Shape): void {
  const same = spec.shape.length === wanted.length && wanted.every((dim, axis) => dim === spec.shape[axis])
  if (!same) refuse(op, argument, `of shape ${formatShape(wanted)}`, formatShape(spec.shape))
}

export const float32 = (shape: Shape): TensorSpec => ({ dtype: 'float32', shape })
export const int32 = (shape: Shape): TensorSpec => ({ dtype: 'int32', shape })
export const bool = (shape: Shape): TensorSpec => ({ dtype: 'bool', shape })

/** The literal size of an axis; only sizes of cases and references come here. */
export const at = (shape: Shape, axis: number): Dim => shape.at(axis) as Dim

// Arrays of references ---------------------------------------------------------------------------------------------

export const product = (sizes: readonly number[]): number => sizes.reduce((left, right) => left * right, 1)

/** A float32 array, elements from their flat index. */
export function array(shape: readonly number[], element: (index: number) => number = () => 0): ReferenceArray {
  return typed('float32', shape, element)
}

export function typed(dtype: DType, shape: readonly number[], element: (index: number) => number): ReferenceArray {
  return { dtype, shape, data: Float64Array.from({ length: product(shape) }, (_, index) => element(index)) }
}

/** Sizes before, of and after axes [axis, axis + count): every op along an axis is three loops. */
export function threeLoops(shape: readonly number[], axis: number, count = 1): readonly [number, number, number] {
  return [product(shape.slice(0, axis)), product(shape.slice(axis, axis + count)), product(shape.slice(axis + count))]
}

/** term(0) + term(1) + ... */
export function sumOver(count: number, term: (index: number) => number): number {
  let total = 0
  for (let i = 0; i < count; i++) total += term(i)
  return total
}

/** Element access without a check per read: references index only what their loops bound. */
export const read = (data: ArrayLike<number>, index: number): number => data[index] as number

// Values of cases --------------------------------------------------------------------------------------------------

/** Numbers that float32 holds exactly, so that device and reference start equal. */
export function floats(random: Random, shape: readonly number[], low = -2, high = 2): ReferenceArray {
  return array(shape, () => Math.fround(low + (high - low) * random.uniform()))
}

/** Whole numbers from [low, high). */
export function ints(random: Random, shape: readonly number[], low: number, high: number): ReferenceArray {
  return typed('int32', shape, () => low + random.int(high - low))
}

export function bools(random: Random, shape: readonly number[]): ReferenceArray {
  return typed('bool', shape, () => random.int(2))
}

export function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random.int(choices.length)] as T
}

/** A small size: one, primes, and widths around those of vectors. */
export const someSize = (random: Random): number => pick(random, [1, 2, 3, 4, 5, 7, 8, 13, 17])

export const someShape = (random: Random, rank: number): number[] =>
  Array.from({ length: rank }, () => someSize(random))

/** Shapes that elementwise and last-axis kernels must survive. */
export function someShapes(random: Random, rank: number): number[][] {
  const empty = someShape(random, rank)
  empty[random.int(rank)] = 0
  return [someShape(random, rank), someShape(random, rank), empty, Array.from({ length: rank }, () => 1)]
}

/** A size that no other size of the case equals, so that live counts can vary it alone. */
export const LIVE = 6

/**
 * Shapes whose rows are normalised. Widths of one are left out: their normalised value and its gradient are differences
 * of equals, all rounding.
 */
export const normalisedShapes = (random: Random): number[][] => [
  [LIVE, 37],
  [LIVE, 3, 16],
  [3, LIVE, 7],
  [1 + random.int(20), 2 + random.int(60)],
  [5],
  [0, 4],
]

/** Says which size of a case is live, where one of these is. */
export const liveOf = (shape: readonly number[]) => (shape.includes(LIVE) ? { live: LIVE } : {})

/** The typed array that a feed takes. */
export function toTyped({ dtype, data }: ReferenceArray): Float32Array | Int32Array | Uint8Array {
  const result = arrayOf(dtype, data.length)
  result.set(data)
  return result
}
