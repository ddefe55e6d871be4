import { describe, expect, it } from 'vitest'
import {
  categorical,
  defineSchema,
  dense,
  domain,
  type Feature,
  groupId,
  label,
  numeric,
  parseSchema,
  sequence,
  time,
} from '../../lib/data/index.js'

const features = {
  age: numeric({ nulls: 'indicator' }),
  work: categorical({ column: 'class of worker' }),
  history: sequence('item', { maxLength: 50, separator: '|' }),
  recent: sequence({ size: 10, padded: 20 }),
  vec: dense(64),
  click: label({ positive: ['yes', 'maybe'] }),
  user: groupId({ text: true }),
  author: groupId({ input: true }),
  at: time({ unit: 'ms' }),
  device: domain(['phone', 'web']),
}

describe('defineSchema', () => {
  it('says what a batch holds', () => {
    expect(defineSchema(features).fields).toEqual({
      age: { dtype: 'float32', shape: ['batch'] },
      'age.missing': { dtype: 'float32', shape: ['batch'] },
      work: { dtype: 'int32', shape: ['batch'] },
      'history.values': { dtype: 'int32', shape: ['history_count'] },
      'history.offsets': { dtype: 'int32', shape: ['batch+1'] },
      recent: { dtype: 'int32', shape: ['batch', 20] },
      'recent.length': { dtype: 'int32', shape: ['batch'] },
      vec: { dtype: 'float32', shape: ['batch', 64] },
      click: { dtype: 'float32', shape: ['batch'] },
      author: { dtype: 'int32', shape: ['batch'] },
      device: { dtype: 'int32', shape: ['batch'] },
    })
  })

  it.each<[Record<string, Feature>, string]>([
    [{}, 'features should be at least one feature but got none'],
    [
      { 'a b': numeric() },
      "features should be names of letters, digits and _, not starting with a digit but got 'a b'",
    ],
    [{ random: numeric() }, "features should be a name that is not reserved but got 'random'"],
    [{ v: dense(0) }, 'v.width should be an integer from 1 to 65536 but got 0'],
    [{ h: sequence('i', { padded: 1.5 }) }, 'h.padded should be an integer from 1 to 65536 but got 1.5'],
    [
      { h: sequence('i', { padded: 5, maxLength: 5 }) },
      'h.maxLength should be left out beside padded, which says the same but got 5',
    ],
    [
      { h: sequence('i', { size: 5 }) },
      "h.vocabulary should be left out beside size, which takes values as ids but got 'i'",
    ],
    [{ h: sequence('i', { separator: '' }) }, "h.separator should be a character or more but got ''"],
    [{ c: categorical({ size: 0 }) }, 'c.size should be an integer from 1 to 2147483646 but got 0'],
    [{ c: categorical({ size: 3, nullId: 3 }) }, 'c.nullId should be an integer from 0 to 2 but got 3'],
    [{ c: categorical({ nullId: 3 }) }, 'c.nullId should be left out: a vocabulary has an id for null but got 3'],
    [{ y: label({ real: true, positive: 'a' }) }, 'y.positive should be left out beside real but got "a"'],
    [{ d: domain([]) }, 'd.values should be at least one value but got none'],
    [{ d: domain(['a', 'a']) }, "d.values should be different values but got 'a' twice"],
  ])('refuses %j', (wrong, message) => {
    expect(() => defineSchema(wrong)).toThrow(`defineSchema: ${message}`)
  })
})

describe('parseSchema', () => {
  it('reads what JSON kept of a schema', () => {
    const parsed = parseSchema(JSON.parse(JSON.stringify(features)))
    expect(parsed).toEqual(defineSchema(features))
  })

  it.each<[unknown, string]>([
    [[], 'schema should be an object of features by name but got []'],
    [{ age: 'numeric' }, "age should be an object such as { kind: 'numeric' } but got 'numeric'"],
    [
      { age: { kind: 'numerical' } },
      "age.kind should be one of categorical, numeric, sequence, dense, label, groupId, time, domain but got 'numerical'. Did you mean 'numeric'?",
    ],
    [
      { age: {} },
      'age.kind should be one of categorical, numeric, sequence, dense, label, groupId, time, domain but got nothing',
    ],
    [
      { age: { kind: 'numeric', standardize: true } },
      "age.standardize should be an option of numeric, column, nulls, standardise but got another. Did you mean 'standardise'?",
    ],
    [
      { age: { kind: 'toString' } },
      "age.kind should be one of categorical, numeric, sequence, dense, label, groupId, time, domain but got 'toString'",
    ],
    [{ v: { kind: 'dense' } }, 'v.width: Invalid input: expected number, received undefined'],
    [{ v: { kind: 'dense', width: 'ten' } }, 'v.width: Invalid input: expected number, received string'],
    [
      { c: { kind: 'categorical', size: 3, vocabulary: 'x' } },
      "c.vocabulary should be left out beside size, which takes values as ids but got 'x'",
    ],
  ])('refuses %j', (wrong, message) => {
    expect(() => parseSchema(wrong)).toThrow(message)
  })
})
