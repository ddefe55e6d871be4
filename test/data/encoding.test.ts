import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import {
  categorical,
  Dataset,
  defineSchema,
  encode,
  encodingDigest,
  fitEncoding,
  fitEncodingOfFile,
  loadEncoding,
  numeric,
  readDataset,
  saveEncoding,
  sequence,
  splitAtRow,
} from '../../lib/data/index.js'
import { refusalOf, temporaryFolder } from './support.js'

const files = temporaryFolder()

const schema = defineSchema({
  item: categorical(),
  history: sequence('item'),
  age: numeric({ standardise: true }),
  height: numeric({ nulls: 'indicator' }),
})

/** Four rows, of which the last is for evaluation: there are the new item f and a history of only unknown ones. */
const text = `item,history,age,height
b,a b,1,
a,b b é,3,1.5
,,,2
f,f f,5,
`

const read = async (name: string) => readDataset(await files.write(name, text), schema)

describe('fitEncoding', () => {
  it('counts the training part alone, the most frequent first, equal ones in order of their bytes', async () => {
    const [train] = splitAtRow(await read('fit.csv'), 3)
    // b 4 times, a twice, é once
    expect(await fitEncoding(train)).toEqual({
      vocabularies: { item: ['b', 'a', 'é'] },
      scales: { age: { mean: 2, deviation: 1 } },
    })
    expect((await fitEncoding(train, { minCount: 2 })).vocabularies.item).toEqual(['b', 'a'])
    expect((await fitEncoding(train, { maxSize: 1 })).vocabularies.item).toEqual(['b'])
    const own = { vocabularies: { item: { minCount: 3 } } }
    expect((await fitEncoding(train, own)).vocabularies.item).toEqual(['b'])
  })

  it('gives what a file gives, whichever way it is fitted', async () => {
    const data = await read('both.csv')
    const path = files.path('both.csv')
    for (const limits of [
      {},
      { minCount: 2 },
      { maxSize: 2 },
      { vocabularies: { item: { minCount: 3, maxSize: 1 } } },
    ]) {
      const [train] = splitAtRow(data, 3)
      expect(await fitEncodingOfFile(path, schema, { ...limits, rows: [0, 3] })).toEqual(
        await fitEncoding(train, limits),
      )
      expect(await fitEncodingOfFile(path, schema, limits)).toEqual(await fitEncoding(data, limits))
    }
  })

  it('orders equal counts by bytes, as DuckDB does, not by UTF-16 units', async () => {
    const words = ['\u{1F600}', '\uFFFD', 'Z', 'a', 'é']
    const path = await files.write('order.csv', `w\n${words.join('\n')}\n`)
    const wanted = defineSchema({ w: categorical() })
    const data = await readDataset(path, wanted)
    expect(data.encoding.vocabularies.w).toEqual(['Z', 'a', 'é', '\uFFFD', '\u{1F600}'])
    expect((await fitEncoding(data)).vocabularies.w).toEqual(data.encoding.vocabularies.w)
  })

  it('refuses limits and vocabularies that are none', async () => {
    const data = await read('limits.csv')
    expect(await refusalOf(fitEncoding(data, { minCount: 0 }))).toBe(
      'fitEncoding: minCount should be a positive integer but got 0',
    )
    expect(await refusalOf(fitEncoding(data, { vocabularies: { itme: {} } }))).toBe(
      "fitEncoding: vocabularies should be names of vocabularies, item but got 'itme'. Did you mean 'item'?",
    )
  })
})

describe('encode', () => {
  it('gives new ids and scales, a null its meaning and a new value the id of unknown', async () => {
    const data = await read('encode.csv')
    const [train, test] = splitAtRow(data, 3)
    const encoding = await fitEncoding(train)
    const [seen, unseen] = [await encode(train, encoding), await encode(test, encoding)]
    expect([...seen.values('item')]).toEqual([3, 4, 2])
    expect(seen.column('history')).toEqual({ values: Int32Array.of(4, 3, 3, 3, 5), offsets: Int32Array.of(0, 2, 5, 5) })
    // A null is the mean.
    expect([...seen.values('age')]).toEqual([-1, 1, 0])
    expect(seen.column('height').missing).toEqual(Uint8Array.of(1, 0, 0))
    expect([...unseen.values('item')]).toEqual([1])
    expect(unseen.column('history')).toEqual({ values: Int32Array.of(1, 1), offsets: Int32Array.of(0, 2) })
    expect([...unseen.values('age')]).toEqual([3])
    expect(await unseen.report()).toEqual({
      item: { values: 1, unknown: 1, nulls: 0 },
      history: { values: 2, unknown: 2, nulls: 0 },
      age: { values: 1, unknown: 0, nulls: 0 },
      height: { values: 1, unknown: 0, nulls: 1 },
    })
    expect(await refusalOf(encode(seen, encoding))).toContain('should be rows as they were read but got age already')
  })

  it('agrees with reading by the encoding', async () => {
    const data = await read('agree.csv')
    const encoding = await fitEncoding(splitAtRow(data, 3)[0], { minCount: 2 })
    const encoded = await encode(data, encoding)
    const again = await readDataset(files.path('agree.csv'), schema, { encoding })
    expect(again.columns).toEqual(encoded.columns)
    expect(again.encoding).toEqual(encoding)
  })

  it('keeps the order of chosen rows', async () => {
    const data = await read('chosen.csv')
    const encoded = await encode(
      data.select(Int32Array.of(3, 1)),
      data.encoding.scales.age ? data.encoding : await fitEncoding(data),
    )
    expect(encoded.rowCount).toBe(2)
    expect([...(encoded.column('history').offsets as Int32Array)]).toEqual([0, 2, 5])
  })

  it('serves data made of columns as well', async () => {
    const words = defineSchema({ w: categorical() })
    const made = { vocabularies: { w: ['x', 'y'] }, scales: {} }
    const data = await Dataset.fromColumns(words, { w: { values: Int32Array.of(4, 3, 4, 2, 1) } }, made)
    const fitted = await fitEncoding(data)
    expect(fitted.vocabularies.w).toEqual(['y', 'x'])
    expect([...(await encode(data, fitted)).values('w')]).toEqual([3, 4, 3, 2, 1])
  })
})

describe('a saved encoding', () => {
  const encoding = { vocabularies: { b: ['x', 'ü "q"\n'], a: [] }, scales: { age: { mean: 1 / 3, deviation: 1e-9 } } }

  it('comes back as it was', async () => {
    const path = files.path('saved.json')
    await saveEncoding(encoding, path)
    expect(await loadEncoding(path)).toEqual(encoding)
    expect(encodingDigest(await loadEncoding(path))).toBe(encodingDigest(encoding))
  })

  it.each([
    ['cut off', (text: string) => text.slice(0, -20), 'should be a readable encoding but got'],
    ['of something else', () => '{"format":"model"}', 'kairos encoding, version 1 but got format:'],
    ['of a later version', (text: string) => text.replace('"version":1', '"version":2'), 'but got version:'],
    ['changed', (text: string) => text.replace('"x"', '"y"'), 'should be content of sha256'],
    ['shorter', (text: string) => text.replace('"x",', ''), "should be 2 values in vocabulary 'b' but got 1"],
    [
      'repeating',
      (text: string) => text.replace('"x"', '"ü \\"q\\"\\n"'),
      "different values in vocabulary 'b' but got one twice",
    ],
    ['rescaled', (text: string) => text.replace('1e-9', '1e-8'), 'should be content of sha256'],
    ['without spread', (text: string) => text.replace('1e-9', '0'), 'but got scales.age.deviation:'],
  ])('is refused when it is %s', async (what, change, message) => {
    const path = files.path(`${what}.json`)
    await saveEncoding(encoding, path)
    await files.write(`${what}.json`, change(await readFile(path, 'utf8')))
    expect(await refusalOf(loadEncoding(path))).toContain(message)
  })

  it('is refused when it is not there', async () => {
    const path = files.path('nowhere.json')
    expect(await refusalOf(loadEncoding(path))).toBe(
      `loadEncoding: ${path} should be a readable encoding but got no such file`,
    )
  })
})
