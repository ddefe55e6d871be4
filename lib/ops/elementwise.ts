/**
 * Makes elementwise ops from one line each: a function of float64 numbers, a gradient, and the range of its cases.
 *
 * Operands have equal shapes, or rank 0. Names and element types are those of the kernel's own table, so a chain of
 * such ops becomes one pass over memory.
 */

import { formatShape, type Shape, sameShape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import type { Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, refuse, requireDtype } from '../graph/defineOp.js'
import { type ElementwiseName, elementwiseTable } from '../graph/kernelTable.js'
import { scalar } from '../graph/leaf.js'
import type { Attributes, Tensor, TensorSpec } from '../graph/node.js'
import { sum } from './reduction.js'
import { bools, floats, gradient, ints, LIVE, type Loose, noGradient, read, someShapes, typed } from './support.js'

/** Gradient of one result by its operands, given the result's cotangent. */
export type ElementwiseRule = (
  dy: Loose,
  operands: { a: Loose; b: Loose; c: Loose; y: Loose },
) => readonly (Loose | null)[]

export interface ElementwiseOptions {
  /** `null`: piecewise constant, so nothing flows back. */
  readonly gradient: ElementwiseRule | null
  readonly compute: (a: number, b: number, c: number) => number
  /** Where float cases are drawn, per operand; default [-2, 2]. */
  readonly ranges?: readonly (readonly [number, number])[]
  readonly neutral?: { readonly left?: number; readonly right: number }
  readonly tolerance?: number
}

type Signature = { readonly operands: number; readonly types: readonly DType[]; readonly result: 'same' | DType }

const argumentNames = ['a', 'b', 'c']

/** Defines the elementwise op of that name in the kernel's table. */
export function elementwiseOp(name: ElementwiseName, options: ElementwiseOptions): Op {
  const signature: Signature = elementwiseTable[name]
  const rule = options.gradient
  return defineOp({
    name,
    kernel: 'elementwise',
    elementwise: true,
    ...(options.neutral ? { neutral: options.neutral } : {}),
    infer: (inputs) => [inferElementwise(name, signature, inputs)],
    vjp: rule === null ? noGradient : gradient(elementwiseGradient(rule)),
    reference: (inputs) => [computeElementwise(signature, options.compute, inputs)],
    cases: (random) => ({
      valid: validCases(random, name, signature, options),
      invalid: invalidCases(name, signature),
    }),
  })
}

/** `select` has a condition before its operands; all others have operands of one type. */
const typeOperand = (name: string): number => (name === 'select' ? 1 : 0)

function inferElementwise(name: string, signature: Signature, inputs: readonly TensorSpec[]): TensorSpec {
  const leader = inputs[typeOperand(name)] as TensorSpec
  let shape: Shape = []
  inputs.forEach((input, index) => {
    const argument = inputs.length === 1 ? 'x' : (argumentNames[index] as string)
    if (index < typeOperand(name)) requireDtype(name, argument, input, 'bool')
    else if (index === typeOperand(name)) requireDtype(name, argument, input, ...signature.types)
    else requireDtype(name, argument, input, leader.dtype)
    if (input.shape.length === 0) return
    if (shape.length > 0 && !sameShape(shape, input.shape)) {
      const hint = 'Shapes are not stretched silently: use broadcast() or addBias()'
      refuse(name, argument, `of shape ${formatShape(shape)} or rank 0`, formatShape(input.shape), hint)
    }
    shape = input.shape
  })
  return { dtype: signature.result === 'same' ? leader.dtype : signature.result, shape }
}

function computeElementwise(
  signature: Signature,
  compute: ElementwiseOptions['compute'],
  inputs: readonly ReferenceArray[],
): ReferenceArray {
  const full = inputs.find(({ shape }) => shape.length > 0) ?? (inputs[0] as ReferenceArray)
  const dtype = signature.result === 'same' ? (inputs.at(-1) as ReferenceArray).dtype : signature.result
  const element = (operand: ReferenceArray | undefined, index: number) =>
    operand ? read(operand.data, operand.shape.length === 0 ? 0 : index) : 0
  return typed(dtype, full.shape, (index) => {
    const value = compute(element(inputs[0], index), element(inputs[1], index), element(inputs[2], index))
    return dtype === 'int32' ? value | 0 : Number(value)
  })
}

/** Calls the rule and sums what belongs to an operand of rank 0; only float32 has gradients. */
function elementwiseGradient(rule: ElementwiseRule): Parameters<typeof gradient<Attributes>>[0] {
  return ({ inputs, outputs: [y], cotangents: [dy] }) => {
    if (y.dtype !== 'float32') return inputs.map(() => null)
    const [a, b, c] = inputs
    return rule(dy, { a, b, c, y }).map((flowing, index) => {
      const operand = inputs[index] as Loose
      return flowing && operand.shape.length < flowing.shape.length ? sum(flowing) : flowing
    })
  }
}

function validCases(random: Random, name: string, signature: Signature, options: ElementwiseOptions): OpCase[] {
  const operand = (type: DType, shape: readonly number[], index: number): ReferenceArray => {
    if (index < typeOperand(name) || type === 'bool') return bools(random, shape)
    const [low, high] = options.ranges?.[index] ?? [-2, 2]
    return type === 'int32' ? ints(random, shape, -9, 9) : floats(random, shape, low, high)
  }
  const tolerance = options.tolerance === undefined ? {} : { tolerance: options.tolerance }
  return signature.types.flatMap((type) => {
    const shapes = [...someShapes(random, 2), [], [3, 37], [LIVE, 5]]
    const full = shapes.map((shape) => ({
      inputs: Array.from({ length: signature.operands }, (_, index) => operand(type, shape, index)),
      attributes: {},
      ...(shape[0] === LIVE ? { live: LIVE } : {}),
      ...tolerance,
    }))
    // Every operand in turn has rank 0.
    const mixed = Array.from({ length: signature.operands > 1 ? signature.operands : 0 }, (_, single) => ({
      inputs: Array.from({ length: signature.operands }, (_, index) =>
        operand(type, index === single ? [] : [LIVE, 7], index),
      ),
      attributes: {},
      live: LIVE,
      ...tolerance,
    }))
    return [...full, ...mixed]
  })
}

function invalidCases(name: string, { operands, types }: Signature) {
  const unfit = (['float32', 'int32', 'bool'] as const).find((dtype) => !types.includes(dtype))
  const wrongType = unfit
    ? [
        {
          inputs: Array.from({ length: operands }, () => ({ dtype: unfit, shape: [2] })),
          attributes: {},
          message: new RegExp(`^${name}: [axb] should be dtype .* but got ${unfit}`),
        },
      ]
    : []
  const first = name === 'select' ? 'bool' : (types[0] as DType)
  const wrongShape =
    operands > 1
      ? [
          {
            inputs: Array.from({ length: operands }, (_, index) => ({
              dtype: index === 0 ? first : (types[0] as DType),
              shape: index === operands - 1 ? [2, 4] : [2, 3],
            })),
            attributes: {},
            message: new RegExp(
              `^${name}: ${argumentNames[operands - 1]} should be of shape \\[2, 3\\] or rank 0 but got \\[2, 4\\]`,
            ),
          },
        ]
      : []
  return [...wrongType, ...wrongShape]
}

// Typed functions --------------------------------------------------------------------------------------------------

/** One operand; the result has its shape and type. */
export type Unary<T extends DType = 'float32'> = <S extends Shape, D extends T>(x: Tensor<S, D>) => Tensor<S, D>

/** The second operand has the first one's shape, or is a number: of rank 0, or written out. */
export type Binary<T extends DType = 'float32'> = <S extends Shape, D extends T>(
  a: Tensor<S, D>,
  b: Tensor<NoInfer<S> | readonly [], NoInfer<D>> | number,
) => Tensor<S, D>

/** Like Binary, with a truth value per element. */
export type Comparison<T extends DType = 'float32' | 'int32'> = <S extends Shape, D extends T>(
  a: Tensor<S, D>,
  b: Tensor<NoInfer<S> | readonly [], NoInfer<D>> | number,
) => Tensor<S, 'bool'>

export function unary<T extends DType = 'float32'>(name: ElementwiseName, options: ElementwiseOptions): Unary<T> {
  const op = elementwiseOp(name, options)
  return (x) => op([x], {})[0] as Loose
}

function pairwise(name: ElementwiseName, options: ElementwiseOptions) {
  const op = elementwiseOp(name, options)
  return (a: Tensor, b: Tensor | number): Loose =>
    op([a, typeof b === 'number' ? scalar(b, a.dtype) : b], {})[0] as Loose
}

export function binary<T extends DType = 'float32'>(name: ElementwiseName, options: ElementwiseOptions): Binary<T> {
  return pairwise(name, options) as Binary<T>
}

export function comparison<T extends DType = 'float32' | 'int32'>(
  name: ElementwiseName,
  compute: (a: number, b: number) => boolean,
): Comparison<T> {
  return pairwise(name, { compute: (a, b) => Number(compute(a, b)), gradient: null }) as Comparison<T>
}
