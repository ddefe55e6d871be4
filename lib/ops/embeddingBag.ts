/** Pooled lookups over ragged ids, and the ids of many tables that are kept as one. */
import { type Dim, subtractDims } from '../core/dim.js'
import { defineOp, type Op, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import {
  array,
  float32,
  floats,
  gradient,
  int32,
  ints,
  LIVE,
  type Loose,
  noGradient,
  product,
  read,
  refuseArgument,
  requireShape,
  typed,
} from './support.js'

export type PoolingMode = 'sum' | 'mean'

export function requireMode(op: string, mode: unknown): void {
  if (mode !== 'sum' && mode !== 'mean') refuseArgument(op, 'mode', "'sum' or 'mean'", mode)
}

/** Number of bags of offsets[bags + 1]. */
export function bagsOf(op: string, offsets: TensorSpec): Dim {
  requireDtype(op, 'offsets', offsets, 'int32')
  requireRank(op, 'offsets', offsets, 1, 1)
  if (offsets.shape[0] === 0) refuse(op, 'offsets', 'one element more than there are bags', 'none')
  return subtractDims(offsets.shape[0] as Dim, 1)
}

type BagAttributes = { mode: PoolingMode }

const embeddingBagOp: Op<BagAttributes> = defineOp<BagAttributes>({
  name: 'embeddingBag',
  lookup: { table: 0, ids: 1, offsets: 2 },
  ids: [{ operand: 1, limit: ([table]) => (table as TensorSpec).shape[0] as Dim, table: 0 }],
  infer([table, ids, offsets]: readonly [TensorSpec, TensorSpec, TensorSpec], { mode }) {
    requireDtype('embeddingBag', 'table', table, 'float32')
    requireRank('embeddingBag', 'table', table, 2, 2)
    requireDtype('embeddingBag', 'ids', ids, 'int32')
    requireRank('embeddingBag', 'ids', ids, 1, 1)
    requireMode('embeddingBag', mode)
    return [{ dtype: 'float32', shape: [bagsOf('embeddingBag', offsets), table.shape[1] as Dim] }]
  },
  vjp: gradient(({ inputs: [table, ids, offsets], cotangents: [dy], attributes }) => [
    embeddingBagBackwardOp([table, ids, offsets, dy], attributes)[0] as Loose,
    null,
    null,
  ]),
  reference([table, ids, offsets]: readonly [ReferenceArray, ReferenceArray, ReferenceArray], { mode }) {
    const width = read(table.shape, 1)
    const result = array([offsets.data.length - 1, width])
    forEachId(offsets, mode, (bag, position, scale) => {
      const row = read(ids.data, position)
      for (let i = 0; i < width; i++) {
        result.data[bag * width + i] = read(result.data, bag * width + i) + scale * read(table.data, row * width + i)
      }
    })
    return [result]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [floats(random, [11, 5]), ints(random, [9], 0, 11), offsets([0, 4, 4, 9])],
        attributes: { mode: 'sum' },
      },
      {
        inputs: [floats(random, [7, 16]), ints(random, [12], 0, 7), offsets([0, 1, 12])],
        attributes: { mode: 'mean' },
      },
      { inputs: [floats(random, [3, 33]), ints(random, [0], 0, 3), offsets([0, 0])], attributes: { mode: 'mean' } },
      { inputs: [floats(random, [3, 4]), ints(random, [0], 0, 3), offsets([0])], attributes: { mode: 'sum' } },
      {
        inputs: [floats(random, [11, LIVE]), ints(random, [9], 0, 11), offsets([0, 4, 4, 9])],
        attributes: { mode: 'sum' },
        live: LIVE,
      },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), int32([])],
        attributes: { mode: 'sum' },
        message: /^embeddingBag: offsets should be rank 1 but got shape \[\]/,
      },
      {
        inputs: [float32([5, 2]), int32([3]), int32([4])],
        attributes: { mode: 'max' as never },
        message: /^embeddingBag: mode should be 'sum' or 'mean' but got max/,
      },
    ],
  }),
})

/** The gradient of a table that is updated whole. Only the table's shape is used. */
const embeddingBagBackwardOp: Op<BagAttributes> = defineOp<BagAttributes>({
  name: 'embeddingBagBackward',
  partial: () => ({ tables: [0], rows: null }),
  infer([table, ids, bags, dy]: readonly [TensorSpec, TensorSpec, TensorSpec, TensorSpec]) {
    requireDtype('embeddingBagBackward', 'ids', ids, 'int32')
    requireShape('embeddingBagBackward', 'dy', dy, [bagsOf('embeddingBagBackward', bags), ...table.shape.slice(1)])
    return [table]
  },
  vjp: gradient(({ inputs: [, ids, bags], cotangents: [ddtable], attributes }) => [
    null,
    null,
    null,
    embeddingBagOp([ddtable, ids, bags], attributes)[0] as Loose,
  ]),
  reference(
    [table, ids, bags, dy]: readonly [ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray],
    { mode },
  ) {
    const width = product(table.shape.slice(1))
    const result = array(table.shape)
    forEachId(bags, mode, (bag, position, scale) => {
      const row = read(ids.data, position)
      for (let i = 0; i < width; i++) {
        result.data[row * width + i] = read(result.data, row * width + i) + scale * read(dy.data, bag * width + i)
      }
    })
    return [result]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [floats(random, [11, 5]), ints(random, [9], 0, 11), offsets([0, 4, 4, 9]), floats(random, [3, 5])],
        attributes: { mode: 'mean' },
      },
      {
        inputs: [floats(random, [7, LIVE]), ints(random, [5], 0, 7), offsets([0, 1, 5]), floats(random, [2, LIVE])],
        attributes: { mode: 'sum' },
        live: LIVE,
      },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), int32([4]), float32([4, 2])],
        attributes: { mode: 'sum' },
        message: /^embeddingBagBackward: dy should be of shape \[3, 2\] but got \[4, 2\]/,
      },
    ],
  }),
})

function forEachId(
  offsets: ReferenceArray,
  mode: PoolingMode,
  visit: (bag: number, position: number, scale: number) => void,
): void {
  for (let bag = 0; bag + 1 < offsets.data.length; bag++) {
    const [begin, end] = [read(offsets.data, bag), read(offsets.data, bag + 1)]
    for (let at = begin; at < end; at++) visit(bag, at, mode === 'mean' ? 1 / (end - begin) : 1)
  }
}

const offsets = (values: readonly number[]): ReferenceArray => ({
  dtype: 'int32',
  shape: [values.length],
  data: Float64Array.from(values),
})

// Many tables in one -----------------------------------------------------------------------------------------------

type SlotsAttributes = { rows: readonly number[] }

const tableSlotsOp: Op<SlotsAttributes> = defineOp<SlotsAttributes>({
  name: 'tableSlots',
  ids: (_, { rows }) => rows.map((limit, operand) => ({ operand, limit: () => limit })),
  infer(inputs, { rows }) {
    if (rows.length !== inputs.length || inputs.length === 0) {
      refuseArgument('tableSlots', 'rows', `${inputs.length || 'at least one'}, one per feature`, rows.length)
    }
    const first = inputs[0] as TensorSpec
    inputs.forEach((ids, index) => {
      requireDtype('tableSlots', `ids ${index}`, ids, 'int32')
      requireShape('tableSlots', `ids ${index}`, ids, first.shape)
    })
    return [{ dtype: 'int32', shape: [...first.shape, inputs.length] }]
  },
  vjp: noGradient,
  reference(inputs, { rows }) {
    const first = inputs[0] as ReferenceArray
    const starts = rows.map((_, feature) => rows.slice(0, feature).reduce((sum, count) => sum + count, 0))
    const features = inputs.length
    return [
      typed('int32', [...first.shape, features], (index) => {
        const feature = index % features
        const ids = inputs[feature] as ReferenceArray
        return read(starts, feature) + read(ids.data, Math.floor(index / features))
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [ints(random, [LIVE], 0, 3), ints(random, [LIVE], 0, 7)], attributes: { rows: [3, 7] }, live: LIVE },
      { inputs: [ints(random, [2, 5], 0, 3)], attributes: { rows: [3] } },
      { inputs: [0, 1, 2].map(() => ints(random, [0], 0, 3)), attributes: { rows: [3, 4, 5] } },
    ],
    invalid: [
      {
        inputs: [int32([3]), int32([4])],
        attributes: { rows: [1, 2] },
        message: /^tableSlots: ids 1 should be of shape \[3\] but got \[4\]/,
      },
      {
        inputs: [int32([3])],
        attributes: { rows: [1, 2] },
        message: /^tableSlots: rows should be 1, one per feature but got 2/,
      },
    ],
  }),
  flops: () => 0,
})

/**
 * Rows of one table that holds the tables of several features one after another: feature f's id, counted from the sum
 * of the rows before it. ids_f[...] -> [..., features]. A run fails with KAIROS_ID_RANGE, naming the feature's
 * position, when an id lies outside [0, rows[f]).
 */
export const tableSlots = (ids: readonly Tensor[], rows: readonly number[]): Loose =>
  tableSlotsOp(ids, { rows })[0] as Loose

/**
 * Pooled rows of a table over ragged ids, as `torch.nn.EmbeddingBag`: bag b pools the rows of ids
 * [offsets[b], offsets[b + 1]); an empty bag gives zeros. ids[N], offsets[bags + 1] -> [bags, channels].
 *
 * A run fails with KAIROS_ID_RANGE on an id outside the table, or offsets that do not ascend from 0 to N.
 */
export function embeddingBag<Channels extends Dim>(
  table: Tensor<readonly [Dim, Channels], 'float32'>,
  ids: Tensor<readonly [Dim], 'int32'>,
  offsets: Tensor<readonly [Dim], 'int32'>,
  { mode = 'sum' }: { readonly mode?: PoolingMode } = {},
): Tensor<readonly [Dim, Channels], 'float32'> {
  return embeddingBagOp([table as Loose, ids, offsets], { mode })[0] as Loose
}
