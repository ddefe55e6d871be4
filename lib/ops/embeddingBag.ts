/** Pooled lookups over ragged ids, and the ids of many tables that are kept as one. */
import { addDims, type Dim, multiplyDims, type Shape, subtractDims } from '../core/dim.js'
import { defineOp, type Op, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { reshape } from './movement.js'
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

function pool(table: ReferenceArray, ids: ReferenceArray, bags: ReferenceArray, mode: PoolingMode): ReferenceArray {
  const width = read(table.shape, 1)
  const result = array([bags.data.length - 1, width])
  forEachId(bags, mode, (bag, position, scale) => {
    const row = read(ids.data, position)
    for (let i = 0; i < width; i++) {
      result.data[bag * width + i] = read(result.data, bag * width + i) + scale * read(table.data, row * width + i)
    }
  })
  return result
}

const embeddingBagOp: Op<BagAttributes> = defineOp<BagAttributes>({
  name: 'embeddingBag',
  lookup: ([, ids, offsets]: readonly [Tensor, Tensor, Tensor]) => ({ ids, offsets }),
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
  reference: ([table, ids, offsets]: readonly [ReferenceArray, ReferenceArray, ReferenceArray], { mode }) => [
    pool(table, ids, offsets, mode),
  ],
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

/** Rows of the tables before each one's. */
const startsOf = (rows: readonly number[]): number[] =>
  rows.map((_, feature) => rows.slice(0, feature).reduce((sum, count) => sum + count, 0))

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
    const starts = startsOf(rows)
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

/** One feature's ragged ids: bag b holds ids [offsets[b], offsets[b + 1]). */
export interface BagFeature {
  readonly ids: Tensor
  readonly offsets: Tensor
}

const operandsOf = (features: readonly BagFeature[]): readonly Tensor[] => [
  ...features.map(({ ids }) => ids),
  ...features.map(({ offsets }) => offsets),
]

/** Ids of every feature, then offsets of every feature: how `tableBags` takes them. */
const halves = <Value>(inputs: readonly Value[]): [ids: readonly Value[], offsets: readonly Value[]] => [
  inputs.slice(0, inputs.length / 2),
  inputs.slice(inputs.length / 2),
]

/** Checks the features' operands; gives ids and offsets. */
function inferBags(op: string, inputs: readonly TensorSpec[], rows: readonly number[]) {
  const [ids, offsets] = halves(inputs)
  if (rows.length === 0 || 2 * rows.length !== inputs.length) {
    refuseArgument(op, 'rows', `${ids.length || 'at least one'}, one per feature`, rows.length)
  }
  const bags = bagsOf(op, offsets[0] as TensorSpec)
  ids.forEach((each, feature) => {
    requireDtype(op, `ids ${feature}`, each, 'int32')
    requireRank(op, `ids ${feature}`, each, 1, 1)
    requireDtype(op, `offsets ${feature}`, offsets[feature] as TensorSpec, 'int32')
    requireShape(op, `offsets ${feature}`, offsets[feature] as TensorSpec, [addDims(bags, 1)])
  })
  return [ids, offsets] as const
}

/** Slots and offsets of the features' bags, bag after bag. */
function interleave(inputs: readonly ReferenceArray[], rows: readonly number[]): [ReferenceArray, ReferenceArray] {
  const [ids, offsets] = halves(inputs)
  const starts = startsOf(rows)
  const [slots, ends] = [[] as number[], [0]]
  for (let bag = 0; bag + 1 < (offsets[0] as ReferenceArray).data.length; bag++) {
    ids.forEach(({ data }, feature) => {
      const edges = (offsets[feature] as ReferenceArray).data
      for (let at = read(edges, bag); at < read(edges, bag + 1); at++)
        slots.push(read(starts, feature) + read(data, at))
      ends.push(slots.length)
    })
  }
  const ints = (list: readonly number[]) => typed('int32', [list.length], (index) => read(list, index))
  return [ints(slots), ints(ends)]
}

const tableBagsOp: Op<SlotsAttributes> = defineOp<SlotsAttributes>({
  name: 'tableBags',
  ids: (_, { rows }) => rows.map((limit, operand) => ({ operand, limit: () => limit })),
  infer(inputs, { rows }) {
    const [ids, offsets] = inferBags('tableBags', inputs, rows)
    const bags = subtractDims(offsets[0]?.shape[0] as Dim, 1)
    return [
      { dtype: 'int32', shape: [addDims(...ids.map(({ shape }) => shape[0] as Dim))] },
      { dtype: 'int32', shape: [addDims(multiplyDims(ids.length, bags), 1)] },
    ]
  },
  vjp: noGradient,
  reference: (inputs, { rows }) => [...interleave(inputs, rows)],
  cases: (random) => ({
    valid: [
      {
        inputs: [ints(random, [9], 0, 3), ints(random, [4], 0, 7), offsets([0, 4, 4, 9]), offsets([0, 1, 3, 4])],
        attributes: { rows: [3, 7] },
      },
      { inputs: [ints(random, [5], 0, 3), offsets([0, 1, 5])], attributes: { rows: [3] } },
      { inputs: [ints(random, [0], 0, 3), offsets([0])], attributes: { rows: [3] } },
    ],
    invalid: [
      {
        inputs: [int32([3]), int32([3]), int32([4]), int32([5])],
        attributes: { rows: [1, 2] },
        message: /^tableBags: offsets 1 should be of shape \[4\] but got \[5\]/,
      },
      {
        inputs: [int32([3]), int32([2])],
        attributes: { rows: [1, 2] },
        message: /^tableBags: rows should be 1, one per feature but got 2/,
      },
    ],
  }),
  flops: () => 0,
})

/**
 * Ragged ids of several features as those of one table that holds theirs one after another, so that one `embeddingBag`
 * pools them all: bag b * features + f is bag b of feature f.
 *
 *     ids_f[N_f], offsets_f[bags + 1] -> slots[N_0 + N_1 + ...], offsets[bags * features + 1]
 *
 * A run fails with KAIROS_ID_RANGE on an id outside [0, rows[f]) or on offsets that do not ascend from 0 to N_f.
 */
export function tableBags(
  features: readonly BagFeature[],
  rows: readonly number[],
): { readonly slots: Loose; readonly offsets: Loose } {
  const [slots, ends] = tableBagsOp(operandsOf(features), { rows })
  return { slots: slots as Loose, offsets: ends as Loose }
}

type BagsAttributes = BagAttributes & SlotsAttributes

/** The features' bags as those of one table. */
function slotsOf(inputs: readonly Tensor[], rows: readonly number[]): readonly [slots: Tensor, offsets: Tensor] {
  return tableBagsOp(inputs.slice(1), { rows }) as never
}

/** [bags * features, channels] */
const pooledRows = ([table, ...features]: readonly { readonly shape: Shape }[]): Shape => {
  const [, offsets] = halves(features) as [unknown, readonly { readonly shape: Shape }[]]
  const bags = subtractDims(offsets[0]?.shape[0] as Dim, 1)
  return [multiplyDims(bags, offsets.length), table?.shape[1] as Dim]
}

const embeddingBagsOp: Op<BagsAttributes> = defineOp<BagsAttributes>({
  name: 'embeddingBags',
  lookup(inputs, { rows }) {
    const [ids, offsets] = slotsOf(inputs, rows)
    return { ids, offsets, shape: pooledRows(inputs) }
  },
  ids: (_, { rows }) => rows.map((limit, feature) => ({ operand: 1 + feature, limit: () => limit })),
  infer([table, ...features]: readonly [TensorSpec, ...TensorSpec[]], { rows, mode }) {
    requireDtype('embeddingBags', 'table', table, 'float32')
    requireRank('embeddingBags', 'table', table, 2, 2)
    requireMode('embeddingBags', mode)
    const [, offsets] = inferBags('embeddingBags', features, rows)
    const needed = rows.reduce((sum, count) => sum + count, 0)
    const [held, channels] = table.shape as [Dim, Dim]
    if (typeof held === 'number' && needed > held) {
      refuseArgument('embeddingBags', 'rows', `no more than the table's ${held} together`, needed)
    }
    return [
      { dtype: 'float32', shape: [subtractDims(offsets[0]?.shape[0] as Dim, 1), multiplyDims(rows.length, channels)] },
    ]
  },
  vjp: gradient(({ inputs, cotangents: [dy], attributes: { rows, mode } }) => {
    const [slots, offsets] = slotsOf(inputs, rows)
    const bags = reshape(dy as Loose, pooledRows(inputs)) as Loose
    return [
      embeddingBagBackwardOp([inputs[0] as Loose, slots, offsets, bags], { mode })[0] as Loose,
      ...inputs.slice(1).map(() => null),
    ]
  }),
  reference([table, ...features]: readonly [ReferenceArray, ...ReferenceArray[]], { rows, mode }) {
    const [slots, bags] = interleave(features, rows)
    const shape = [(bags.data.length - 1) / rows.length, rows.length * read(table.shape, 1)]
    return [{ ...pool(table, slots, bags, mode), shape }]
  },
  cases: (random) => ({
    valid: (['sum', 'mean'] as const).flatMap((mode) => [
      {
        inputs: [
          floats(random, [10, 5]),
          ...[ints(random, [9], 0, 3), ints(random, [4], 0, 7)],
          ...[offsets([0, 4, 4, 9]), offsets([0, 1, 3, 4])],
        ],
        attributes: { rows: [3, 7], mode },
      },
      {
        inputs: [floats(random, [4, LIVE]), ints(random, [5], 0, 3), offsets([0, 1, 5])],
        attributes: { rows: [3], mode },
        live: LIVE,
      },
      { inputs: [floats(random, [3, 4]), ints(random, [0], 0, 3), offsets([0])], attributes: { rows: [3], mode } },
    ]),
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), int32([4])],
        attributes: { rows: [6], mode: 'sum' },
        message: /^embeddingBags: rows should be no more than the table's 5 together but got 6/,
      },
      {
        inputs: [float32([5, 2]), int32([3]), int32([2]), int32([4]), int32([5])],
        attributes: { rows: [1, 2], mode: 'sum' },
        message: /^embeddingBags: offsets 1 should be of shape \[4\] but got \[5\]/,
      },
    ],
  }),
})

/**
 * Pooled rows of several features at once, out of one table that holds theirs one after another (table-batched
 * embedding): feature f pools rows from the sum of the rows before it on, as `embeddingBag`.
 *
 *     table[rows_0 + rows_1 + ..., channels], ids_f[N_f], offsets_f[bags + 1] -> [bags, features * channels]
 *
 * Up to 31 features. A run fails with KAIROS_ID_RANGE on an id outside [0, rows[f]), or offsets that do not ascend from
 * 0 to N_f.
 */
export function embeddingBags(
  table: Tensor<readonly [Dim, Dim], 'float32'>,
  features: readonly BagFeature[],
  rows: readonly number[],
  { mode = 'sum' }: { readonly mode?: PoolingMode } = {},
): Tensor<readonly [Dim, Dim], 'float32'> {
  return embeddingBagsOp([table as Loose, ...operandsOf(features)], { rows, mode })[0] as Loose
}

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
