/** Comparison, logic, choice and conversion, element by element. No gradient flows through a truth value. */

import type { Shape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { scalar } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import { type Comparison, comparison, elementwiseOp, type Unary, unary } from './elementwise.js'
import { type Loose, refuseArgument } from './support.js'

/** a == b */
export const equal: Comparison<DType> = comparison('equal', (a, b) => a === b)
/** a != b */
export const notEqual: Comparison<DType> = comparison('notEqual', (a, b) => a !== b)
/** a < b */
export const less: Comparison = comparison('less', (a, b) => a < b)
/** a <= b */
export const lessEqual: Comparison = comparison('lessEqual', (a, b) => a <= b)
/** a > b */
export const greater: Comparison = comparison('greater', (a, b) => a > b)
/** a >= b */
export const greaterEqual: Comparison = comparison('greaterEqual', (a, b) => a >= b)

/** a and b */
export const logicalAnd: Comparison<'bool'> = comparison('logicalAnd', (a, b) => a !== 0 && b !== 0)
/** a or b */
export const logicalOr: Comparison<'bool'> = comparison('logicalOr', (a, b) => a !== 0 || b !== 0)
/** not x */
export const logicalNot: Unary<'bool'> = unary('logicalNot', { compute: (x) => Number(x === 0), gradient: null })

const selectOp = elementwiseOp('select', {
  compute: (condition, a, b) => (condition !== 0 ? a : b),
  gradient: (dy, { a: condition }) => [null, selectLoose(condition, dy, 0), selectLoose(condition, 0, dy)],
})

function selectLoose(condition: Loose, a: Loose | number, b: Loose | number): Loose {
  const dtype = typeof a !== 'number' ? a.dtype : typeof b !== 'number' ? b.dtype : 'float32'
  const tensor = (operand: Loose | number) => (typeof operand === 'number' ? scalar(operand, dtype) : operand)
  return selectOp([condition, tensor(a), tensor(b)], {})[0] as Loose
}

/**
 * `a` where the condition holds, `b` elsewhere. Either may be a number. What is not chosen receives no gradient, but a
 * NaN that was computed for it still spoils the gradient of what it was computed from.
 *
 * Throws KAIROS_SHAPE when shapes differ and none is a number, KAIROS_DTYPE when types differ.
 */
export function select<S extends Shape, D extends DType = 'float32'>(
  condition: Tensor<S, 'bool'>,
  a: Tensor<NoInfer<S> | readonly [], D> | number,
  b: Tensor<NoInfer<S> | readonly [], NoInfer<D>> | number,
): Tensor<S, D> {
  return selectLoose(condition, a, b)
}

const castFloat32 = elementwiseOp('castFloat32', { compute: (x) => x, gradient: null })
const castInt32 = elementwiseOp('castInt32', {
  compute: (x) => (Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), -(2 ** 31)), 2 ** 31 - 1)),
  gradient: null,
})

/**
 * Another element type. float32 to int32 truncates toward zero, NaN becomes 0, and what is out of range the nearest
 * bound; to bool, everything but 0 is true. No gradient flows.
 *
 * Throws KAIROS_ARGUMENT for an unknown type.
 */
export function cast<S extends Shape, D extends DType>(x: Tensor<S>, dtype: D): Tensor<S, D> {
  if (x.dtype === dtype) return x as Loose
  switch (dtype as DType) {
    case 'float32':
      return castFloat32([x], {})[0] as Loose
    case 'int32':
      return castInt32([x], {})[0] as Loose
    case 'bool':
      return notEqual(x as Loose, 0) as Loose
    default:
      return refuseArgument('cast', 'dtype', "'float32', 'int32' or 'bool'", dtype)
  }
}
