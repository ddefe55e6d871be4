/** Result types of ops, as hovers show them; the type checker is the test. */
import { describe, expectTypeOf, it } from 'vitest'
import { input, scalarInput } from '../../lib/graph/leaf.js'
import type { Tensor } from '../../lib/graph/node.js'
import { binaryCrossEntropy, crossEntropy, linearCrossEntropyLoss, meanSquaredError } from '../../lib/losses/index.js'
import {
  add,
  addBias,
  argmax,
  assumeShape,
  attention,
  batchMatmul,
  broadcast,
  broadcastTo,
  cast,
  concat,
  dropout,
  embedding,
  frequencyFilter,
  full,
  gram,
  greater,
  irfft,
  layerNorm,
  linear,
  linearCrossEntropy,
  logSumExp,
  matmul,
  max,
  mean,
  merge,
  multiply,
  pad,
  reshape,
  rfft,
  rmsNorm,
  sampleNegatives,
  select,
  size,
  slice,
  softmax,
  softmaxCrossEntropy,
  split,
  squeeze,
  stack,
  sum,
  targetAttention,
  targetRank,
  topK,
  transpose,
  unsqueeze,
  variance,
} from '../../lib/ops/index.js'

type Float<S extends readonly (number | string)[]> = Tensor<S, 'float32'>

const x = input('x', ['batch', 50, 64])
const ids = input('ids', ['batch', 50], 'int32')
const row = input('row', [64])
const mask = input('mask', ['batch', 50, 64], 'bool')

describe('types of results', () => {
  it('knows what attention gives', () => {
    const q = input('q', ['batch', 20, 4, 16])
    const k = input('k', ['batch', 50, 2, 16])
    const v = input('v', ['batch', 50, 2, 24])
    expectTypeOf(attention(q, k, v)).toEqualTypeOf<Float<readonly ['batch', 20, 4, 24]>>()
    const items = input('items', ['count', 4, 16])
    const offsets = input('offsets', ['batch+1'], 'int32')
    expectTypeOf(targetAttention(q, items, items, offsets)).toEqualTypeOf<Float<readonly ['batch', 20, 4, 16]>>()
  })

  it('keeps shapes through elementwise ops', () => {
    expectTypeOf(add(x, x)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(multiply(x, scalarInput('rate'))).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(add(ids, 1)).toEqualTypeOf<Tensor<readonly ['batch', 50], 'int32'>>()
    expectTypeOf(greater(x, 0)).toEqualTypeOf<Tensor<readonly ['batch', 50, 64], 'bool'>>()
    expectTypeOf(select(mask, x, 0)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(cast(ids, 'float32')).toEqualTypeOf<Float<readonly ['batch', 50]>>()
    expectTypeOf(addBias(x, row)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(dropout(x, { rate: 0.5 })).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(softmax(x)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
  })

  it('computes axes of reductions and movements', () => {
    expectTypeOf(sum(x)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(sum(x, 1)).toEqualTypeOf<Float<readonly ['batch', 64]>>()
    expectTypeOf(mean(x, -1)).toEqualTypeOf<Float<readonly ['batch', 50]>>()
    expectTypeOf(max(x, 1, 2)).toEqualTypeOf<Float<readonly ['batch']>>()
    expectTypeOf(size(x)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(broadcast(row, 0, ['batch', 50])).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(broadcastTo(row, ['batch', 64])).toEqualTypeOf<Float<readonly ['batch', 64]>>()
    expectTypeOf(full(['batch', 3], 1)).toEqualTypeOf<Float<readonly ['batch', 3]>>()
    expectTypeOf(transpose(x, [0, 2, 1])).toEqualTypeOf<Float<readonly ['batch', 64, 50]>>()
    expectTypeOf(split(x, -1, [4, 16])).toEqualTypeOf<Float<readonly ['batch', 50, 4, 16]>>()
    expectTypeOf(merge(x, 1, 2, 3200)).toEqualTypeOf<Float<readonly ['batch', 3200]>>()
    expectTypeOf(merge(x, 0, 2, '50*batch')).toEqualTypeOf<Float<readonly ['50*batch', 64]>>()
    expectTypeOf(slice(x, 1, 49, 1)).toEqualTypeOf<Float<readonly ['batch', 1, 64]>>()
    expectTypeOf(pad(x, 1, 0, 64)).toEqualTypeOf<Float<readonly ['batch', 64, 64]>>()
    expectTypeOf(reshape(x, ['batch', 3200])).toEqualTypeOf<Float<readonly ['batch', 3200]>>()
  })

  it('adds widths of concatenation digit by digit', () => {
    const wide = input('wide', ['batch', 50, 1999])
    expectTypeOf(concat([x, wide], 2)).toEqualTypeOf<Float<readonly ['batch', 50, 2063]>>()
    expectTypeOf(concat([wide, wide, x, x], -1)).toEqualTypeOf<Float<readonly ['batch', 50, 4126]>>()
    expectTypeOf(concat([x, x], 0, '2*batch')).toEqualTypeOf<Float<readonly ['2*batch', 50, 64]>>()
    expectTypeOf(concat([x, x], 0)).toEqualTypeOf<Float<readonly [string | number, 50, 64]>>()
  })

  it('knows products, lookups, transforms and losses', () => {
    const weight = input('weight', [64, 8])
    const table = input('table', [1000, 64])
    expectTypeOf(matmul(x, weight)).toEqualTypeOf<Float<readonly ['batch', 50, 8]>>()
    expectTypeOf(linear(x, table)).toEqualTypeOf<Float<readonly ['batch', 50, 1000]>>()
    expectTypeOf(batchMatmul(x, x, { transposeB: true })).toEqualTypeOf<Float<readonly ['batch', 50, 50]>>()
    expectTypeOf(embedding(table, ids)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(layerNorm(x, row, row)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(rfft(x)).toEqualTypeOf<Float<readonly ['batch', 26, 64, 2]>>()
    expectTypeOf(irfft(rfft(x), 50)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(frequencyFilter(x, input('w', [26, 64, 2]))).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(softmaxCrossEntropy(x, ids)).toEqualTypeOf<Float<readonly ['batch', 50]>>()
    expectTypeOf(crossEntropy(x, ids)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(binaryCrossEntropy(x, x)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(
      targetRank(input('s', ['batch', 9]), input('t', ['batch'], 'int32'), input('e', ['batch', 3], 'int32')),
    ).toEqualTypeOf<Tensor<readonly ['batch'], 'int32'>>()
  })

  it('lets open dims pass until they are assumed', () => {
    const open = x as Tensor<readonly (string | number)[], 'float32'>
    expectTypeOf(sum(open, 1)).toEqualTypeOf<Float<readonly (string | number)[]>>()
    expectTypeOf(assumeShape(open, ['batch', 50, 64])).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
  })

  it('works inside generic functions', () => {
    function residual<S extends readonly (string | number)[]>(z: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
      return add(multiply(z, 2), z)
    }
    function project<D extends number>(
      z: Float<readonly ['batch', D]>,
      w: Float<readonly [D, 8]>,
    ): Float<readonly ['batch', 8]> {
      return matmul(z, w)
    }
    expectTypeOf(residual(x)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(project(input('z', ['batch', 3]), input('w', [3, 8]))).toEqualTypeOf<Float<readonly ['batch', 8]>>()
  })

  it('follows ranking ops and reductions of losses', () => {
    const { values, indices } = topK(x, 3)
    expectTypeOf(values).toEqualTypeOf<Float<readonly ['batch', 50, 3]>>()
    expectTypeOf(indices).toEqualTypeOf<Tensor<readonly ['batch', 50, 3], 'int32'>>()
    expectTypeOf(argmax(x)).toEqualTypeOf<Tensor<readonly ['batch', 50], 'int32'>>()
    expectTypeOf(rmsNorm(x, row)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(logSumExp(x)).toEqualTypeOf<Float<readonly ['batch', 50]>>()
    expectTypeOf(variance(x, 1)).toEqualTypeOf<Float<readonly ['batch', 64]>>()
    expectTypeOf(unsqueeze(x, 1)).toEqualTypeOf<Float<readonly ['batch', 1, 50, 64]>>()
    expectTypeOf(squeeze(unsqueeze(x, 1), 1)).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(stack([x, x], 1)).toEqualTypeOf<Float<readonly ['batch', 2, 50, 64]>>()
    expectTypeOf(gram(input('j', [3, 100]))).toEqualTypeOf<Float<readonly [3, 3]>>()
    const weight = input('weight', [900, 64])
    const { loss } = linearCrossEntropy(x, weight, ids)
    expectTypeOf(loss).toEqualTypeOf<Float<readonly ['batch', 50]>>()
    expectTypeOf(linearCrossEntropyLoss(x, weight, ids)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(meanSquaredError(x, x)).toEqualTypeOf<Float<readonly []>>()
    expectTypeOf(meanSquaredError(x, x, { reduction: 'none' })).toEqualTypeOf<Float<readonly ['batch', 50, 64]>>()
    expectTypeOf(sampleNegatives([100], { classes: 9 })).toEqualTypeOf<Tensor<readonly [100], 'int32'>>()
  })
})
