/** Leaves of a graph: feeds, literals, and variables that outlive runs. */

import { type Dim, formatShape, normalizeDim, type Shape } from '../core/dim.js'
import { type ArrayOf, arrayOf, type DType, dtypeOfArray } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import {
  callSite,
  type Leaf,
  makeNode,
  type StoreSlot,
  type Tensor,
  type TensorSpec,
  tensorOf,
  type Variable,
} from './node.js'

function leaf<S extends Shape, D extends DType>(kind: Leaf, spec: TensorSpec): Tensor<S, D> {
  const node = makeNode({ op: null, leaf: kind, inputs: [], attributes: {}, outputs: [spec], source: callSite() })
  return tensorOf<S, D>({ node, index: 0 })
}

/**
 * A feed: an array that each run is given by name. A dim that is a name gets its size from the run.
 *
 * `input('history', ['batch', 50], 'int32')`
 */
export function input<const S extends Shape, D extends DType = 'float32'>(
  name: string,
  shape: S,
  dtype: D = 'float32' as D,
): Tensor<S, D> {
  for (const dim of shape) checkDim('input', name, dim)
  return leaf<S, D>({ kind: 'input', name }, { dtype, shape: shape.map(normalizeDim) })
}

/**
 * A number that each run is given by name: learning rate, loss weight, temperature. Changing it retraces nothing; a
 * run that leaves it out gets `otherwise`.
 */
export function scalarInput(name: string, otherwise?: number): Tensor<readonly [], 'float32'> {
  const kind = otherwise === undefined ? { name } : { name, otherwise }
  return leaf<readonly [], 'float32'>({ kind: 'input', ...kind }, { dtype: 'float32', shape: [] })
}

/** Literal contents, kept in the program. Throws KAIROS_SHAPE when the array's length is not the shape's product. */
export function constant<const S extends readonly number[], A extends Float32Array | Int32Array | Uint8Array>(
  data: A,
  shape: S,
): Tensor<S, A extends Float32Array ? 'float32' : A extends Int32Array ? 'int32' : 'bool'> {
  const dtype = dtypeOfArray(data) as DType
  const count = shape.reduce((product, dim) => product * dim, 1)
  if (data.length !== count) {
    throw new KairosError('KAIROS_SHAPE', {
      op: 'constant',
      argument: 'data',
      expected: `${count} elements for shape ${formatShape(shape)}`,
      got: `${data.length}`,
    })
  }
  return leaf({ kind: 'constant', data }, { dtype, shape })
}

/** A literal number of rank 0. */
export function scalar<D extends DType = 'float32'>(value: number, dtype: D = 'float32' as D): Tensor<readonly [], D> {
  const data = arrayOf(dtype, 1)
  data[0] = value
  return leaf<readonly [], D>({ kind: 'constant', data: data as ArrayOf<DType> }, { dtype, shape: [] })
}

/** A value kept between runs. Use `parameter` and `state` (module.ts); this is what both are made of. */
export function stateLeaf<S extends readonly number[], D extends DType>(
  store: StoreSlot,
  variable: Variable,
): Tensor<S, D> {
  return leaf<S, D>({ kind: 'state', store, variable }, { dtype: variable.dtype, shape: variable.shape })
}

function checkDim(op: string, argument: string, dim: Dim): void {
  if (typeof dim === 'string' ? dim !== '' : Number.isSafeInteger(dim) && dim >= 0) return
  throw new KairosError('KAIROS_SHAPE', {
    op,
    argument: `${argument}: dim`,
    expected: 'a whole number of at least 0 or a name',
    got: `${dim}`,
  })
}
