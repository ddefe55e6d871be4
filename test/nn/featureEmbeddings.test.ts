/** Rows of features as one vector each, against plain lookups. */
import { describe, expect, it } from 'vitest'
import { compile, createParameters, FeatureEmbeddings, type FeatureEmbeddingsOptions, field } from '../../lib/index.js'

const schema = {
  colour: field('int32', 'batch'),
  size: field('int32', 'batch'),
  item: field('int32', 'batch'),
  'seen.values': field('int32', 'seen_count'),
  'seen.offsets': field('int32', 'batch+1'),
  recent: field('int32', 'batch', 3),
  'recent.length': field('int32', 'batch'),
  price: field('float32', 'batch'),
  vector: field('float32', 'batch', 2),
}
const batch = {
  colour: Int32Array.of(2, 0),
  size: Int32Array.of(1, 3),
  item: Int32Array.of(4, 5),
  'seen.values': Int32Array.of(1, 4, 2),
  'seen.offsets': Int32Array.of(0, 3, 3),
  recent: Int32Array.of(3, 1, 0, 5, 0, 0),
  'recent.length': Int32Array.of(2, 1),
  price: Float32Array.of(0.5, -2),
  vector: Float32Array.of(1, 2, 3, 4),
}
const options: FeatureEmbeddingsOptions = {
  ids: [
    { name: 'colour', table: 'colour', rows: 3 },
    { name: 'size', table: 'size', rows: 4 },
    { name: 'item', table: 'item', rows: 6 },
  ],
  sequences: [
    { name: 'seen', table: 'item', rows: 6 },
    { name: 'recent', table: 'item', rows: 6, padded: 3 },
  ],
  numbers: [{ name: 'price' }, { name: 'vector', width: 2 }],
  dimensions: (table) => (table === 'item' ? 3 : 2),
}

async function vectorsOf(layer: FeatureEmbeddings, feeds: typeof batch = batch) {
  const parameters = createParameters({ layer }, 4)
  const program = compile({ layer }, (m, b) => ({ y: m.layer.forward(b) }), { schema })
  const { y } = await program.step(feeds, {}, { parameters })
  const read = (await parameters.read()) as Record<string, Float32Array>
  const row = (table: string, index: number, width: number) => [
    ...(read[`layer.${table}.weight`] as Float32Array).subarray(index * width, (index + 1) * width),
  ]
  return { y: y as Float32Array, row, width: layer.width, names: Object.keys(read) }
}

const meanOf = (rows: number[][]) =>
  rows[0]?.map((_, i) => rows.reduce((sum, row) => sum + (row[i] as number), 0) / rows.length) ?? []

describe('FeatureEmbeddings', () => {
  it('joins stacked tables, shared tables, averaged histories and numbers, in that order', async () => {
    const { y, row, width, names } = await vectorsOf(new FeatureEmbeddings(options))
    expect(names).toEqual(['layer.stacked.width2.weight', 'layer.tables.item.weight'])
    const item = (index: number) => row('tables.item', index, 3)
    const expected = [
      [
        ...row('stacked.width2', 2, 2),
        ...row('stacked.width2', 3 + 1, 2),
        ...item(4),
        ...meanOf([item(1), item(4), item(2)]),
        ...meanOf([item(3), item(1)]),
        0.5,
        ...[1, 2],
      ],
      // An empty history is zeros.
      [...row('stacked.width2', 0, 2), ...row('stacked.width2', 3 + 3, 2), ...item(5), 0, 0, 0, ...item(5), -2, 3, 4],
    ]
    expect(width).toBe(expected[0]?.length)
    expected.flat().forEach((value, index) => expect(y[index]).toBeCloseTo(value, 6))
  })

  it('attends to ragged and padded histories alike', async () => {
    const attended = new FeatureEmbeddings({ ...options, targets: { seen: 'item', recent: 'item' } })
    const ragged = Int32Array.of(3, 1, 5)
    const feeds = { ...batch, 'seen.values': ragged, 'seen.offsets': Int32Array.of(0, 2, 3) }
    const parameters = createParameters({ layer: attended }, 4)
    for (const part of ['query', 'key', 'value']) {
      const name = (sequence: string) => `layer.attention.${sequence}.${part}.weight`
      await parameters.write({
        [name('recent')]: (await parameters.read([name('seen')]))[name('seen')] as Float32Array,
      })
    }
    const program = compile({ layer: attended }, (m, b) => ({ y: m.layer.forward(b) }), { schema })
    const { y } = await program.step(feeds, {}, { parameters })
    const rows = y as Float32Array
    for (const start of [0, attended.width]) {
      for (let i = 0; i < 3; i++) expect(rows[start + 7 + i]).toBeCloseTo(rows[start + 10 + i] as number, 5)
    }
    expect([...rows.subarray(7, 10)].some((value) => Math.abs(value) > 1e-6)).toBe(true)
  })

  it.each([
    [
      { colour: Int32Array.of(3, 0) },
      /feeds\.colour should be an id of table 'tableSlots' in \[0, 3\) but got 3 at row 0/,
    ],
    [
      { item: Int32Array.of(0, -1) },
      /feeds\.item should be an id of table 'layer\.tables\.item\.weight' in \[0, 6\) but got -1/,
    ],
    [{ 'recent.length': Int32Array.of(4, 0) }, /range bound 1 of its range bounds should be in \[0, 4\) but got 4/],
  ])('refuses %j', async (wrong, message) => {
    const layer = new FeatureEmbeddings({ ...options, targets: { recent: 'item' } })
    await expect(vectorsOf(layer, { ...batch, ...wrong })).rejects.toThrow(message)
  })

  it('refuses tables of two sizes, and targets that are none', () => {
    const twice = [...options.ids, { name: 'other', table: 'item', rows: 7 }]
    expect(() => new FeatureEmbeddings({ ...options, ids: twice })).toThrow(
      /other should be 6 rows, as the other features of table 'item' but got 7/,
    )
    expect(() => new FeatureEmbeddings({ ...options, targets: { seen: 'price' } })).toThrow(
      /targets\.seen should be one of colour, size, item but got 'price'/,
    )
  })
})
