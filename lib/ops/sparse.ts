/**
 * Sparse gradients as values: the rows of a table that a batch looked up, each once, with what arrives there.
 *
 *     ids    7 2 7 5            slots  2 5 7
 *     dy     a b c d            rows   b d a+c
 *
 * Gradients of several tasks by one lookup share the sort: each has rows of its own, at the same slots.
 *
 * The number of rows is a size that the run computes, so norms, products and optimisers see ordinary tensors.
 */
import { type Dim, multiplyDims } from '../core/dim.js'
import { defineOp, type Op, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { bagsOf, type PoolingMode, requireMode } from './embeddingBag.js'
import { array, float32, floats, int32, ints, LIVE, type Loose, product, read, requireShape } from './support.js'

type CoalesceAttributes = {
  /** Name of the computed size. */
  symbol: string
  /** Most rows there can be; default: as many as ids. */
  limit?: Dim
  mode: PoolingMode
  paddingIndex?: number
}

/** table, ids, dy ...[, offsets]: offsets are the int32 at the end. */
function operandsOf<T extends { readonly dtype: string }>(inputs: readonly T[]) {
  const [table, ids, ...rest] = inputs as readonly [T, T, ...T[]]
  const offsets = rest.at(-1)?.dtype === 'int32' ? rest.at(-1) : undefined
  return { table, ids, gradients: offsets ? rest.slice(0, -1) : rest, offsets }
}

/** The order of results: slots, rows, count, further rows. */
const withCount = <T>(slots: T, [first, ...others]: readonly T[], count: T): T[] => [
  slots,
  first as T,
  count,
  ...others,
]

const coalesceOp: Op<CoalesceAttributes> = defineOp<CoalesceAttributes>({
  name: 'coalesce',
  computes: ([, ids], { symbol, limit }) => ({
    symbol,
    limit: limit ?? multiplyDims(...(ids as TensorSpec).shape),
    output: 2,
  }),
  partial: () => ({ tables: [0], rows: null }),
  infer(inputs, attributes) {
    const { table, ids, gradients, offsets } = operandsOf(inputs)
    requireDtype('coalesce', 'table', table, 'float32')
    requireRank('coalesce', 'table', table, 1)
    requireDtype('coalesce', 'ids', ids, 'int32')
    requireMode('coalesce', attributes.mode)
    const row = table.shape.slice(1)
    if (offsets) requireRank('coalesce', 'ids', ids, 1, 1)
    const lead = offsets ? [bagsOf('coalesce', offsets)] : ids.shape
    for (const dy of gradients) {
      requireDtype('coalesce', 'dy', dy, 'float32')
      requireShape('coalesce', 'dy', dy, [...lead, ...row])
    }
    return withCount(
      int32([attributes.symbol]),
      gradients.map(() => float32([attributes.symbol, ...row])),
      int32([]),
    )
  },
  vjp: 'it is itself part of a gradient, kept as rows',
  reference(inputs, attributes) {
    const { table, ids, gradients, offsets } = operandsOf(inputs)
    const width = product(table.shape.slice(1))
    const sums = gradients.map(() => new Map<number, Float64Array>())
    const add = (position: number, from: number, scale: number) => {
      const id = read(ids.data, position)
      if (id === attributes.paddingIndex) return
      gradients.forEach((dy, task) => {
        const sum = sums[task]?.get(id) ?? new Float64Array(width)
        for (let i = 0; i < width; i++) sum[i] = read(sum, i) + scale * read(dy.data, from * width + i)
        sums[task]?.set(id, sum)
      })
    }
    if (!offsets) for (let position = 0; position < ids.data.length; position++) add(position, position, 1)
    else {
      for (let bag = 0; bag + 1 < offsets.data.length; bag++) {
        const [begin, end] = [read(offsets.data, bag), read(offsets.data, bag + 1)]
        for (let at = begin; at < end; at++) add(at, bag, attributes.mode === 'mean' ? 1 / (end - begin) : 1)
      }
    }
    const slots = [...(sums[0]?.keys() ?? [])].sort((a, b) => a - b)
    return withCount<ReferenceArray>(
      { dtype: 'int32', shape: [slots.length], data: Float64Array.from(slots) },
      sums.map((sum) => ({
        dtype: 'float32',
        shape: [slots.length, ...table.shape.slice(1)],
        data: Float64Array.from(slots.flatMap((slot) => [...(sum.get(slot) as Float64Array)])),
      })),
      { dtype: 'int32', shape: [], data: Float64Array.of(slots.length) },
    )
  },
  cases: (random) => {
    const attributes = { symbol: 'unique', mode: 'sum' } as const
    return {
      valid: [
        {
          inputs: [floats(random, [11, 5]), ints(random, [LIVE, 3], 0, 11), floats(random, [LIVE, 3, 5])],
          attributes,
          live: LIVE,
        },
        {
          inputs: [floats(random, [70_000, 16]), ints(random, [90], 0, 70_000), floats(random, [90, 16])],
          attributes: { ...attributes, paddingIndex: 0 },
        },
        {
          inputs: [floats(random, [3, 17]), ints(random, [LIVE, 40], 0, 3), floats(random, [LIVE, 40, 17])],
          attributes: { ...attributes, paddingIndex: 1 },
          live: LIVE,
        },
        { inputs: [floats(random, [5]), ints(random, [7], 0, 5), floats(random, [7])], attributes },
        { inputs: [floats(random, [5, 2]), ints(random, [0], 0, 5), floats(random, [0, 2])], attributes },
        {
          inputs: [floats(random, [9, 4]), ints(random, [8], 0, 9), floats(random, [4, 4]), offsetsOf([0, 3, 3, 4, 8])],
          attributes: { ...attributes, mode: 'mean' },
        },
        {
          inputs: [floats(random, [9, 4]), ints(random, [8], 0, 9), floats(random, [3, 4]), offsetsOf([0, 3, 3, 8])],
          attributes: { ...attributes, paddingIndex: 4 },
        },
        {
          inputs: [
            ...[floats(random, [9, 4]), ints(random, [LIVE, 2], 0, 9)],
            ...[1, 2, 3].map(() => floats(random, [LIVE, 2, 4])),
          ],
          attributes,
          live: LIVE,
        },
        {
          inputs: [
            ...[floats(random, [9, 4]), ints(random, [8], 0, 9)],
            ...[floats(random, [4, 4]), floats(random, [4, 4]), offsetsOf([0, 3, 3, 4, 8])],
          ],
          attributes: { ...attributes, mode: 'mean' },
        },
      ],
      invalid: [
        {
          inputs: [float32([5, 2]), int32([3]), float32([3, 4])],
          attributes,
          message: /^coalesce: dy should be of shape \[3, 2\] but got \[3, 4\]/,
        },
        {
          inputs: [float32([5, 2]), int32([3]), float32([3, 2]), int32([3])],
          attributes,
          message: /^coalesce: dy should be of shape \[2, 2\] but got \[3, 2\]/,
        },
      ],
    }
  },
})

const offsetsOf = (values: readonly number[]): ReferenceArray => ({
  dtype: 'int32',
  shape: [values.length],
  data: Float64Array.from(values),
})

const updateRowsOp: Op<Record<string, never>> = defineOp<Record<string, never>>({
  name: 'updateRows',
  commits: true,
  partial: () => ({ tables: [0], rows: 1 }),
  infer([table, slots, rows]: readonly [TensorSpec, TensorSpec, TensorSpec]) {
    requireDtype('updateRows', 'table', table, 'float32')
    requireRank('updateRows', 'table', table, 1)
    requireDtype('updateRows', 'slots', slots, 'int32')
    requireRank('updateRows', 'slots', slots, 1, 1)
    requireDtype('updateRows', 'rows', rows, 'float32')
    requireShape('updateRows', 'rows', rows, [...slots.shape, ...table.shape.slice(1)])
    return [table]
  },
  vjp: 'it writes a variable, after the gradients',
  reference([table, slots, rows]: readonly [ReferenceArray, ReferenceArray, ReferenceArray]) {
    const width = product(table.shape.slice(1))
    const result = Float64Array.from(table.data)
    slots.data.forEach((slot, position) => {
      if (slot < 0 || slot >= read(table.shape, 0)) return
      for (let i = 0; i < width; i++) result[slot * width + i] = read(rows.data, position * width + i)
    })
    return [array(table.shape, (index) => read(result, index))]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [floats(random, [11, 5]), ints(random, [LIVE], -1, 12), floats(random, [LIVE, 5])],
        attributes: {},
        live: LIVE,
      },
      { inputs: [floats(random, [9]), ints(random, [4], 0, 9), floats(random, [4])], attributes: {} },
      { inputs: [floats(random, [9, 2, 3]), ints(random, [0], 0, 9), floats(random, [0, 2, 3])], attributes: {} },
      { inputs: [floats(random, [4, 17]), ints(random, [4], 0, 4), floats(random, [4, 17])], attributes: {} },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), float32([3, 4])],
        attributes: {},
        message: /^updateRows: rows should be of shape \[3, 2\] but got \[3, 4\]/,
      },
    ],
  }),
  flops: () => 0,
})

export interface SparseRows {
  /** Row numbers, ascending, each once: int32[U]. */
  readonly slots: Tensor
  /** float32[U, ...]. */
  readonly rows: Tensor
}

/**
 * Adds up the rows of `dy` by id: each id's sum once, by ascending id. With `offsets`, `dy` has a row per bag, which
 * counts for every id of the bag (divided by the bag's length in mode 'mean').
 *
 * `symbol` names the number of rows, which the run computes. A run fails with KAIROS_ID_RANGE on an id outside the
 * table or offsets that do not ascend from 0 to the number of ids.
 */
export function coalesce(
  table: Tensor,
  ids: Tensor,
  dy: Tensor,
  { offsets, mode = 'sum', ...rest }: Omit<CoalesceAttributes, 'mode'> & { offsets?: Tensor; mode?: PoolingMode },
): SparseRows {
  const inputs = offsets ? [table, ids, dy, offsets] : [table, ids, dy]
  const [slots, rows] = coalesceOp(inputs, { ...rest, mode }) as readonly [Tensor, Tensor]
  return { slots, rows }
}

/**
 * `table` with the rows of `slots` replaced; slots outside the table are left out, and of equal slots the last counts.
 * Assigned to the table itself it is written in place: only those rows are touched.
 */
export const updateRows = (table: Tensor, { slots, rows }: SparseRows): Loose =>
  updateRowsOp([table, slots, rows], {})[0] as Loose
