/** Ranks among all items, without sorting any. */
import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { defineOp, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { at, float32, floats, int32, ints, LIVE, type Loose, noGradient, read, requireShape, typed } from './support.js'

const targetRankOp = defineOp({
  name: 'targetRank',
  ids: [{ operand: 1, limit: ([scores]) => (scores as TensorSpec).shape[1] as Dim }],
  infer([scores, target, exclude]: readonly [TensorSpec, TensorSpec, TensorSpec]) {
    requireDtype('targetRank', 'scores', scores, 'float32')
    requireRank('targetRank', 'scores', scores, 2, 2)
    requireDtype('targetRank', 'target', target, 'int32')
    requireShape('targetRank', 'target', target, scores.shape.slice(0, 1))
    requireDtype('targetRank', 'exclude', exclude, 'int32')
    requireRank('targetRank', 'exclude', exclude, 2, 2)
    requireShape('targetRank', 'exclude', exclude, [at(scores.shape, 0), at(exclude.shape, 1)])
    return [int32(scores.shape.slice(0, 1))]
  },
  vjp: noGradient,
  reference([scores, target, exclude]: readonly [ReferenceArray, ReferenceArray, ReferenceArray]) {
    const items = read(scores.shape, 1)
    const listed = read(exclude.shape, 1)
    return [
      typed('int32', target.shape, (row) => {
        const own = read(target.data, row)
        if (own < 0 || own >= items) {
          const expected = `in [0, ${items})`
          throw new KairosError('KAIROS_ID_RANGE', {
            op: 'targetRank',
            argument: `target, element ${row}`,
            expected,
            got: `${own}`,
          })
        }
        const excluded = new Set(exclude.data.subarray(row * listed, (row + 1) * listed))
        // NaN ranks below every number, and among equals the smaller index comes first.
        const score = (item: number) => {
          const value = read(scores.data, row * items + item)
          return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value
        }
        const lost = Number.isNaN(read(scores.data, row * items + own))
        let rank = 0
        for (let item = 0; item < items; item++) {
          if (item === own || excluded.has(item)) continue
          if (lost || score(item) > score(own) || (score(item) === score(own) && item < own)) rank++
        }
        return rank
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      {
        inputs: [floats(random, [LIVE, 37]), ints(random, [LIVE], 0, 37), ints(random, [LIVE, 4], -1, 37)],
        attributes: {},
        live: LIVE,
      },
      // Few distinct scores: ties everywhere.
      {
        inputs: [
          typed('float32', [5, 21], () => random.int(3)),
          ints(random, [5], 0, 21),
          ints(random, [5, 3], -1, 21),
        ],
        attributes: {},
      },
      { inputs: [floats(random, [3, 9]), ints(random, [3], 0, 9), ints(random, [3, 0], 0, 1)], attributes: {} },
      { inputs: [floats(random, [0, 9]), ints(random, [0], 0, 9), ints(random, [0, 2], 0, 9)], attributes: {} },
      {
        inputs: [
          typed('float32', [2, 5], (index) => [Number.NaN, 1, 2, Number.NaN, 0][index % 5] as number),
          typed('int32', [2], (row) => 1 + 2 * row),
          typed('int32', [2, 1], () => -1),
        ],
        attributes: {},
      },
    ],
    invalid: [
      {
        inputs: [float32(['batch', 9]), int32(['time']), int32(['batch', 4])],
        attributes: {},
        message: /^targetRank: target should be of shape \[batch\] but got \[time\]/,
      },
      {
        inputs: [float32([3, 9]), int32([3]), int32([4, 4])],
        attributes: {},
        message: /^targetRank: exclude should be of shape \[3, 4\] but got \[4, 4\]/,
      },
    ],
  }),
  flops: ([scores]) => 2 * (scores as readonly number[]).reduce((a, b) => a * b, 1),
})

/**
 * How many items of `scores[B, I]` come before each row's target: 0 is the best rank. Items listed in `exclude[B, E]`
 * do not count; -1 pads the list. Equal scores rank by index, NaN ranks last. No gradient flows.
 *
 * Throws KAIROS_SHAPE when rows differ, KAIROS_DTYPE for other types. A run fails with KAIROS_ID_RANGE when a target
 * lies outside [0, I).
 */
export function targetRank<B extends Dim>(
  scores: Tensor<readonly [B, Dim], 'float32'>,
  target: Tensor<readonly [NoInfer<B>], 'int32'>,
  exclude: Tensor<readonly [NoInfer<B>, Dim], 'int32'>,
): Tensor<readonly [B], 'int32'> {
  return targetRankOp([scores as Loose, target as Loose, exclude as Loose], {})[0] as Loose
}
