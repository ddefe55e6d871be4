/** Inner products of all pairs of rows: what gradient combination of several tasks is solved on. */
import type { Dim } from '../core/dim.js'
import { defineOp, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add } from './arithmetic.js'
import { matmul } from './matmul.js'
import { transpose } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  read,
  refuseArgument,
  requireShape,
} from './support.js'

/** Tasks are few; the kernel keeps all pairs of rows at once. */
const MOST_ROWS = 64

const gramOp = defineOp({
  name: 'gram',
  infer([j]: readonly [TensorSpec]) {
    requireDtype('gram', 'j', j, 'float32')
    requireRank('gram', 'j', j, 2, 2)
    const rows = at(j.shape, 0)
    // A symbol is checked by its capacity.
    if (typeof rows === 'number' && rows > MOST_ROWS) {
      const hint = 'matmul of j by its transpose has no such limit'
      refuse('gram', 'j', `of at most ${MOST_ROWS} rows`, `${rows}`, hint)
    }
    return [float32([rows, rows])]
  },
  // dJ = (dG + dG^T) J
  vjp: gradient(({ inputs: [j], cotangents: [dg] }) => [
    matmul(add(dg, transpose(dg, [1, 0]) as Loose) as Loose, j) as Loose,
  ]),
  reference([j]: readonly [ReferenceArray]) {
    const [rows, columns] = j.shape as [number, number]
    return [
      array([rows, rows], (index) => {
        const [left, right] = [Math.floor(index / rows) * columns, (index % rows) * columns]
        let total = 0
        for (let i = 0; i < columns; i++) total += read(j.data, left + i) * read(j.data, right + i)
        return total
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      { inputs: [floats(random, [3, LIVE])], attributes: {}, live: LIVE },
      { inputs: [floats(random, [LIVE, 37])], attributes: {}, live: LIVE },
      { inputs: [floats(random, [1 + random.int(9), 1 + random.int(300)])], attributes: {} },
      { inputs: [floats(random, [1, 1])], attributes: {} },
      { inputs: [floats(random, [0, 5])], attributes: {} },
      { inputs: [floats(random, [5, 0])], attributes: {} },
    ],
    invalid: [
      {
        inputs: [float32([65, 'parameters'])],
        attributes: {},
        message: /^gram: j should be of at most 64 rows but got 65/,
      },
      { inputs: [float32([3])], attributes: {}, message: /^gram: j should be rank 2 but got shape \[3\]/ },
      { inputs: [int32([2, 3])], attributes: {}, message: /^gram: j should be dtype float32 but got int32/ },
    ],
  }),
  flops: ([j]) => {
    const [rows, columns] = j as [number, number]
    return rows * (rows + 1) * columns
  },
})

type PartsAttributes = { rows: number }

const gramOfPartsOp = defineOp<PartsAttributes>({
  name: 'gramOfParts',
  infer(parts: readonly TensorSpec[], { rows }) {
    if (!(Number.isInteger(rows) && rows >= 1 && rows <= MOST_ROWS)) {
      refuseArgument('gramOfParts', 'rows', `a whole number in [1, ${MOST_ROWS}]`, rows)
    }
    if (parts.length === 0 || parts.length % rows !== 0) {
      refuseArgument('gramOfParts', 'parts', `a multiple of ${rows} tensors`, parts.length)
    }
    parts.forEach((part, index) => {
      requireDtype('gramOfParts', 'parts', part, 'float32')
      requireShape('gramOfParts', 'parts', part, (parts[index - (index % rows)] as TensorSpec).shape)
    })
    return [float32([rows, rows])]
  },
  vjp: 'it measures gradients; gram of one matrix has a gradient',
  reference(parts: readonly ReferenceArray[], { rows }) {
    return [
      array([rows, rows], (index) => {
        let total = 0
        for (let part = 0; part < parts.length; part += rows) {
          const left = (parts[part + Math.floor(index / rows)] as ReferenceArray).data
          const right = (parts[part + (index % rows)] as ReferenceArray).data
          for (let i = 0; i < left.length; i++) total += read(left, i) * read(right, i)
        }
        return total
      }),
    ]
  },
  cases: (random) => {
    const partsOf = (rows: number, ...shapes: (readonly number[])[]) => ({
      inputs: shapes.flatMap((shape) => Array.from({ length: rows }, () => floats(random, shape))),
      attributes: { rows },
    })
    return {
      valid: [
        { ...partsOf(3, [LIVE, 5], [40], [LIVE]), live: LIVE },
        partsOf(1 + random.int(9), [1 + random.int(300)], [], [3, 1 + random.int(40)]),
        partsOf(17, [70], [0, 4], [9]),
      ],
      invalid: [
        {
          inputs: [float32([3]), float32([4])],
          attributes: { rows: 2 },
          message: /^gramOfParts: parts should be of shape \[3\] but got \[4\]/,
        },
        {
          inputs: [float32([3]), float32([3]), float32([3])],
          attributes: { rows: 2 },
          message: /^gramOfParts: parts should be a multiple of 2 tensors but got 3/,
        },
      ],
    }
  },
  flops: (parts, _, { rows }) =>
    (rows + 1) * parts.reduce((sum, shape) => sum + shape.reduce((size, dim) => size * dim, 1), 0),
})

/**
 * `gram` of rows that lie in pieces: `parts[p][k]` is part p of row k, parts of any shape, equal for all rows. Task
 * gradients are measured where their backward passes left them.
 *
 * Throws KAIROS_ARGUMENT for more than 64 rows, KAIROS_SHAPE where parts differ in shape, KAIROS_DTYPE unless float32.
 */
export const gramOfParts = (parts: readonly (readonly Tensor[])[]): Tensor<readonly number[], 'float32'> =>
  gramOfPartsOp(parts.flat(), { rows: parts[0]?.length ?? 0 })[0] as Loose

/**
 * J J^T of the rows of `j[K, P]`, K up to 64, in one read of `j`: float32 within blocks of columns, float64 across
 * them. Equal bits for every number of threads.
 *
 * Throws KAIROS_SHAPE for more rows, KAIROS_DTYPE unless float32.
 * Source: the matrix of Désidéri, "Multiple-gradient descent algorithm (MGDA)", 2012, and of solvers after it.
 */
export function gram<K extends Dim>(j: Tensor<readonly [K, Dim], 'float32'>): Tensor<readonly [K, K], 'float32'> {
  return gramOp([j as Loose], {})[0] as Loose
}
