/** The fields of a batch, and its tensors, follow from the schema of the data; the type checker is the test. */
import { describe, expectTypeOf, it } from 'vitest'
import type { Field } from '../../lib/core/schema.js'
import type { Batch, BatchArrays, DataSchema, Schema, Tensor } from '../../lib/index.js'
import {
  categorical,
  type Dataset,
  datasetBatches,
  defineSchema,
  dense,
  domain,
  groupId,
  label,
  numeric,
  sequence,
  splitByTime,
  time,
} from '../../lib/index.js'

const schema = defineSchema({
  age: numeric(),
  height: numeric({ nulls: 'indicator' }),
  work: categorical({ vocabulary: 'work' }),
  history: sequence('item', { maxLength: 50 }),
  recent: sequence({ size: 10, padded: 20 }),
  vec: dense(64),
  click: label(),
  user: groupId(),
  author: groupId({ input: true }),
  at: time(),
  device: domain(['phone', 'web']),
})

type Fields = typeof schema.fields
type Tensors = Batch<Fields>

describe('the fields of a batch', () => {
  it('are one for most features, two for sequences and marked numbers, none for groups and times', () => {
    expectTypeOf<keyof Fields>().toEqualTypeOf<
      | 'age'
      | 'height'
      | 'height.missing'
      | 'work'
      | 'history.values'
      | 'history.offsets'
      | 'recent'
      | 'recent.length'
      | 'vec'
      | 'click'
      | 'author'
      | 'device'
    >()
    expectTypeOf<Fields['history.values']>().toEqualTypeOf<Field<readonly ['history_count'], 'int32'>>()
  })

  it('are tensors of known shapes', () => {
    expectTypeOf<Tensors['age']>().toEqualTypeOf<Tensor<readonly ['batch'], 'float32'>>()
    expectTypeOf<Tensors['height.missing']>().toEqualTypeOf<Tensor<readonly ['batch'], 'float32'>>()
    expectTypeOf<Tensors['work']>().toEqualTypeOf<Tensor<readonly ['batch'], 'int32'>>()
    expectTypeOf<Tensors['history.values']>().toEqualTypeOf<Tensor<readonly ['history_count'], 'int32'>>()
    expectTypeOf<Tensors['history.offsets']>().toEqualTypeOf<Tensor<readonly ['batch+1'], 'int32'>>()
    expectTypeOf<Tensors['recent']>().toEqualTypeOf<Tensor<readonly ['batch', 20], 'int32'>>()
    expectTypeOf<Tensors['recent.length']>().toEqualTypeOf<Tensor<readonly ['batch'], 'int32'>>()
    expectTypeOf<Tensors['vec']>().toEqualTypeOf<Tensor<readonly ['batch', 64], 'float32'>>()
    expectTypeOf<Tensors['click']>().toEqualTypeOf<Tensor<readonly ['batch'], 'float32'>>()
    expectTypeOf<Tensors['author']>().toEqualTypeOf<Tensor<readonly ['batch'], 'int32'>>()
    expectTypeOf<Tensors['device']>().toEqualTypeOf<Tensor<readonly ['batch'], 'int32'>>()
    expectTypeOf<BatchArrays<Fields>['vec']>().toEqualTypeOf<Float32Array>()
  })

  it('stay known through data sets, splits and batches', () => {
    const use = async (data: Dataset<(typeof schema)['features']>) => {
      const { train } = splitByTime(data, 'at', { train: 0.9, test: 0.1 })
      expectTypeOf((await datasetBatches(train, { batchSize: 1 })).schema).toEqualTypeOf<Fields>()
      // @ts-expect-error No feature of that name.
      data.values('clicks')
      // @ts-expect-error No part of that name.
      splitByTime(data, 'at', { train: 0.9, test: 0.1 }).validation
    }
    expectTypeOf(use).returns.toEqualTypeOf<Promise<void>>()
  })

  it('are any fields where the features are not known', () => {
    expectTypeOf<DataSchema['fields']>().toEqualTypeOf<Schema>()
  })
})
