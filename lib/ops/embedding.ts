/** Lookup of table rows by id, and the gradient that adds rows back. */

import type { Dim, Shape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { defineOp, type Op, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { equal, select } from './comparison.js'
import { broadcast } from './movement.js'
import {
  array,
  float32,
  floats,
  gradient,
  int32,
  ints,
  LIVE,
  type Loose,
  product,
  read,
  refuseArgument,
  requireShape,
  typed,
} from './support.js'

type EmbeddingAttributes = { paddingIndex?: number }

function requirePadding(op: string, { paddingIndex }: EmbeddingAttributes): void {
  if (paddingIndex === undefined || Number.isInteger(paddingIndex)) return
  refuseArgument(op, 'paddingIndex', 'a whole number', paddingIndex)
}

const gatherOp: Op<EmbeddingAttributes> = defineOp<EmbeddingAttributes>({
  name: 'gather',
  lookup: ([, ids]: readonly [Tensor, Tensor]) => ({ ids }),
  ids: [{ operand: 1, limit: ([table]) => (table as TensorSpec).shape[0] as Dim, table: 0 }],
  infer([table, ids]: readonly [TensorSpec, TensorSpec], attributes) {
    requireRank('gather', 'table', table, 1)
    requireDtype('gather', 'ids', ids, 'int32')
    requirePadding('gather', attributes)
    const result = { dtype: table.dtype, shape: [...ids.shape, ...table.shape.slice(1)] }
    requireRank('gather', 'result', result, 0)
    return [result]
  },
  vjp: gradient(({ inputs: [table, ids], cotangents: [dy], attributes }) => [
    gatherBackwardOp([table, ids, dy], attributes)[0] as Loose,
    null,
  ]),
  reference([table, ids]: readonly [ReferenceArray, ReferenceArray]) {
    const width = product(table.shape.slice(1))
    return [
      typed(table.dtype, [...ids.shape, ...table.shape.slice(1)], (index) => {
        const position = Math.floor(index / width)
        return read(table.data, rowOf(table, ids, position) * width + (index % width))
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [11, 5]), ints(random, [LIVE, 3], 0, 11)], attributes: {}, live: LIVE },
      {
        inputs: [floats(random, [7, 16]), ints(random, [LIVE], 0, 7)],
        attributes: { paddingIndex: 0 },
        differentiable: [],
        live: LIVE,
      },
      { inputs: [floats(random, [5]), ints(random, [LIVE], 0, 5)], attributes: {}, live: LIVE },
      { inputs: [floats(random, [1, 2, 3]), ints(random, [4], 0, 1)], attributes: {} },
      { inputs: [floats(random, [3, 4]), ints(random, [], 0, 3)], attributes: {} },
      { inputs: [floats(random, [3, 4]), ints(random, [0], 0, 3)], attributes: {} },
      { inputs: [ints(random, [9, 2], -9, 9), ints(random, [5], 0, 9)], attributes: {} },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), float32([3])],
        attributes: {},
        message: /^gather: ids should be dtype int32 but got float32/,
      },
      {
        inputs: [float32([]), int32([3])],
        attributes: {},
        message: /^gather: table should be rank 1 or more but got shape \[\]/,
      },
      {
        inputs: [float32([5, 2]), int32([3])],
        attributes: { paddingIndex: 0.5 },
        message: /^gather: paddingIndex should be a whole number but got 0.5/,
      },
    ],
  }),
  flops: () => 0,
})

const gatherBackwardOp: Op<EmbeddingAttributes> = defineOp<EmbeddingAttributes>({
  name: 'gatherBackward',
  partial: () => ({ tables: [0], rows: null }),
  infer([table, ids, dy]: readonly [TensorSpec, TensorSpec, TensorSpec], attributes) {
    requireDtype('gatherBackward', 'table', table, 'float32')
    requireRank('gatherBackward', 'table', table, 1)
    requireDtype('gatherBackward', 'ids', ids, 'int32')
    requireDtype('gatherBackward', 'dy', dy, 'float32')
    requireShape('gatherBackward', 'dy', dy, [...ids.shape, ...table.shape.slice(1)])
    requirePadding('gatherBackward', attributes)
    return [table]
  },
  // Only the table's shape is used. The rows added up are those that a lookup would read, padding apart.
  vjp: gradient(({ inputs: [table, ids], cotangents: [ddtable], attributes: { paddingIndex } }) => {
    const rows = gatherOp([ddtable, ids], {})[0] as Loose
    if (paddingIndex === undefined) return [null, null, rows]
    const padding: Loose = broadcast(equal(ids, paddingIndex) as Loose, ids.shape.length, table.shape.slice(1))
    return [null, null, select(padding, 0, rows)]
  }),
  reference([table, ids, dy]: readonly [ReferenceArray, ReferenceArray, ReferenceArray], { paddingIndex }) {
    const width = product(table.shape.slice(1))
    const sums = new Float64Array(product(table.shape))
    for (let position = 0; position < ids.data.length; position++) {
      const row = rowOf(table, ids, position)
      if (row === paddingIndex) continue
      for (let i = 0; i < width; i++)
        sums[row * width + i] = read(sums, row * width + i) + read(dy.data, position * width + i)
    }
    return [array(table.shape, (index) => read(sums, index))]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [floats(random, [11, 5]), ints(random, [LIVE, 3], 0, 11), floats(random, [LIVE, 3, 5])],
        attributes: {},
        live: LIVE,
      },
      {
        inputs: [floats(random, [3, 16]), ints(random, [LIVE, 40], 0, 3), floats(random, [LIVE, 40, 16])],
        attributes: { paddingIndex: 0 },
        live: LIVE,
      },
      { inputs: [floats(random, [5]), ints(random, [7], 0, 5), floats(random, [7])], attributes: {} },
      { inputs: [floats(random, [5, 2]), ints(random, [0], 0, 5), floats(random, [0, 2])], attributes: {} },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), float32([3, 4])],
        attributes: {},
        message: /^gatherBackward: dy should be of shape \[3, 2\] but got \[3, 4\]/,
      },
    ],
  }),
})

function rowOf(table: ReferenceArray, ids: ReferenceArray, position: number): number {
  const id = read(ids.data, position)
  const rows = read(table.shape, 0)
  if (id >= 0 && id < rows) return id
  throw new KairosError('KAIROS_ID_RANGE', {
    op: 'gather',
    argument: `ids, element ${position}`,
    expected: `in [0, ${rows})`,
    got: `${id}`,
  })
}

/**
 * Rows of `table[V, ...]` by `ids`: one row per id. `paddingIndex` names a row that never receives a gradient.
 *
 * Throws KAIROS_SHAPE for a table of rank 0, KAIROS_DTYPE unless ids are int32. A run fails with KAIROS_ID_RANGE,
 * before anything is written, when an id lies outside [0, V).
 */
export function embedding<Row extends Shape, D extends DType, S extends Shape>(
  table: Tensor<readonly [Dim, ...Row], D>,
  ids: Tensor<S, 'int32'>,
  { paddingIndex }: { readonly paddingIndex?: number } = {},
): Tensor<readonly [...S, ...Row], D> {
  return gatherOp([table as Loose, ids], paddingIndex === undefined ? {} : { paddingIndex })[0] as Loose
}
