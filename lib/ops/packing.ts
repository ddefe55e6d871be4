/**
 * Padded sequences without their padding: the positions that hold something, one after another.
 *
 *     range    [1, 3) [0, 3)      of 3 positions
 *     rows     1 2 3 4 5          which of the 6 positions each packed row is
 *     columns  1 2 0 1 2          its place in its sequence
 *     slots    -1 0 1 2 3 4       which packed row each position is; -1: padding
 *     offsets  0 2 5              where each sequence's packed rows begin, and the last one's end
 *
 * The number of packed rows is a size that the run computes.
 */
import { addDims, type Dim, multiplyDims } from '../core/dim.js'
import { defineOp, type Op, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import {
  array,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  noGradient,
  product,
  read,
  refuseArgument,
  requireShape,
  typed,
} from './support.js'

type PackAttributes = {
  /** Positions of a sequence, padding included. */
  time: number
  /** Name of the computed size. */
  symbol: string
}

const packPaddedOp: Op<PackAttributes> = defineOp<PackAttributes>({
  name: 'packPadded',
  computes: ([range], { symbol, time }) => ({
    symbol,
    limit: multiplyDims((range as TensorSpec).shape[0] as Dim, time),
    output: 2,
  }),
  infer([range]: readonly [TensorSpec], { time, symbol }) {
    requireDtype('packPadded', 'range', range, 'int32')
    requireRank('packPadded', 'range', range, 2, 2)
    requireShape('packPadded', 'range', range, [range.shape[0] as Dim, 2])
    if (!Number.isInteger(time) || time < 1) refuseArgument('packPadded', 'time', 'a positive whole number', time)
    const batch = range.shape[0] as Dim
    const shapes = [[symbol], [symbol], [], [multiplyDims(batch, time)], [addDims(batch, 1)]]
    return shapes.map((shape) => ({ dtype: 'int32' as const, shape }))
  },
  vjp: noGradient,
  reference([range]: readonly [ReferenceArray], { time }) {
    const [rows, columns]: [number[], number[]] = [[], []]
    const offsets = [0]
    const slots = Array.from({ length: read(range.shape, 0) * time }, () => -1)
    for (let sequence = 0; sequence < read(range.shape, 0); sequence++) {
      for (let t = read(range.data, 2 * sequence); t < read(range.data, 2 * sequence + 1); t++) {
        slots[sequence * time + t] = rows.length
        rows.push(sequence * time + t)
        columns.push(t)
      }
      offsets.push(rows.length)
    }
    const ints = (list: readonly number[]) => typed('int32', [list.length], (index) => read(list, index))
    return [ints(rows), ints(columns), typed('int32', [], () => rows.length), ints(slots), ints(offsets)]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [typed('int32', [LIVE, 2], (i) => (i % 2) * 4 + random.int(4))],
        attributes: { time: 7, symbol: 'packed' },
        live: LIVE,
      },
      {
        inputs: [typed('int32', [3, 2], (i) => (i % 2 === 0 ? 0 : random.int(4)))],
        attributes: { time: 3, symbol: 'packed' },
      },
      { inputs: [typed('int32', [0, 2], () => 0)], attributes: { time: 3, symbol: 'packed' } },
    ],
    invalid: [
      {
        inputs: [int32([3, 3])],
        attributes: { time: 3, symbol: 'packed' },
        message: /^packPadded: range should be of shape \[3, 2\] but got \[3, 3\]/,
      },
      {
        inputs: [int32([3, 2])],
        attributes: { time: 0, symbol: 'packed' },
        message: /^packPadded: time should be a positive whole number but got 0/,
      },
    ],
  }),
  flops: () => 0,
})

type Three<T> = readonly [T, T, T]

const pickRowsOp: Op<Record<string, never>> = defineOp<Record<string, never>>({
  name: 'pickRows',
  infer([x, picked, inverse]: Three<TensorSpec>) {
    requireRank('pickRows', 'x', x, 1)
    requireDtype('pickRows', 'picked', picked, 'int32')
    requireRank('pickRows', 'picked', picked, 1, 1)
    requireDtype('pickRows', 'inverse', inverse, 'int32')
    requireShape('pickRows', 'inverse', inverse, [x.shape[0] as Dim])
    return [{ dtype: x.dtype, shape: [picked.shape[0] as Dim, ...x.shape.slice(1)] }]
  },
  vjp: gradient(({ inputs: [, picked, inverse], cotangents: [dy] }) => [
    pickRowsOp([dy, inverse, picked], {})[0] as Loose,
    null,
    null,
  ]),
  reference([x, picked]: Three<ReferenceArray>) {
    const width = product(x.shape.slice(1))
    return [
      typed(x.dtype, [picked.data.length, ...x.shape.slice(1)], (index) => {
        const row = read(picked.data, Math.floor(index / width))
        return row < 0 ? 0 : read(x.data, row * width + (index % width))
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [5, 3]), slots([1, -1, 4, 0]), slots([3, 0, -1, -1, 2])], attributes: {} },
      { inputs: [floats(random, [2, 2, 17]), slots([-1, 1, -1, 0]), slots([3, 1])], attributes: {} },
      { inputs: [floats(random, [2, LIVE]), slots([-1, 1]), slots([-1, 1])], attributes: {}, live: LIVE },
      { inputs: [typed('int32', [3], () => random.int(9)), slots([2, -1]), slots([-1, -1, 0])], attributes: {} },
      { inputs: [array([0, 3]), slots([-1, -1]), slots([])], attributes: {} },
    ],
    invalid: [
      {
        inputs: [float32([5, 2]), int32([3]), int32([4])],
        attributes: {},
        message: /^pickRows: inverse should be of shape \[5\] but got \[4\]/,
      },
    ],
  }),
  flops: () => 0,
})

const slots = (values: readonly number[]): ReferenceArray =>
  typed('int32', [values.length], (index) => read(values, index))

/** Where the rows of a packed batch lie in the padded one, and back. */
export interface Packing {
  /** Positions of a sequence, padding included. */
  readonly time: number
  /** Of each packed row: sequence * time + place. int32[packed] */
  readonly rows: Tensor
  /** Of each packed row: its place in its sequence. int32[packed] */
  readonly columns: Tensor
  /** Of each position: its packed row, or -1. int32[batch * time] */
  readonly slots: Tensor
  /** Of each sequence: where its packed rows begin; behind them the end. int32[batch + 1] */
  readonly offsets: Tensor
}

/**
 * The positions inside [start, end) of each sequence: range[batch, 2] -> a packing for `pack` and `unpack`.
 *
 * `symbol` names the number of packed rows, which the run computes: one name per packing of a graph. A run fails with
 * KAIROS_ID_RANGE on a range outside [0, time]; one that ends before it starts is empty.
 */
export function packPadded(
  range: Tensor,
  { time, symbol = 'packed' }: { readonly time: number; readonly symbol?: string },
): Packing {
  const results = packPaddedOp([range as Loose], { time, symbol })
  const [rows, columns, , places, offsets] = results as [Tensor, Tensor, Tensor, Tensor, Tensor]
  return { time, rows, columns, slots: places, offsets }
}

/** x[batch * time, ...] -> [packed, ...]: rows without the padding. */
export const pack = (x: Tensor, { rows, slots: places }: Packing): Loose =>
  pickRowsOp([x as Loose, rows, places], {})[0] as Loose

/** x[packed, ...] -> [batch * time, ...], zeros where there is padding. */
export const unpack = (x: Tensor, { rows, slots: places }: Packing): Loose =>
  pickRowsOp([x as Loose, places, rows], {})[0] as Loose
