/** Sparse gradients are values: the rows that a batch looked up, and only those are updated. */
import { describe, expect, it } from 'vitest'
import { adam, all, compile, createParameters, field, normal, type Optimizer, parameter, sgd } from '../../lib/index.js'
import { add, embedding, embeddingBag, embeddingBags, mean, multiply, sqrt, square, sum } from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'

const ROWS = 9
const schema = {
  user: field('int32', 'batch'),
  items: field('int32', 'batch', 3),
  words: field('int32', 'words'),
  offsets: field('int32', 'batch+1'),
}
const batch = {
  user: Int32Array.of(4, 1, 4, 7),
  items: Int32Array.of(1, 1, 2, 4, 8, 1, 2, 2, 2, 0, 1, 4),
  words: Int32Array.of(5, 5, 1, 8, 2),
  offsets: Int32Array.of(0, 2, 2, 4, 5),
}
/** Rows that the batch never looks up. */
const UNTOUCHED = [3, 6]

class Lookups {
  readonly table
  readonly scale = parameter([4], normal(1))

  constructor(
    sparse: boolean,
    readonly kind: 'plain' | 'bag' | 'both' | 'batched',
  ) {
    this.table = parameter([ROWS, 4], normal(1), { sparse })
  }

  loss(b: { user: Loose; items: Loose; words: Loose; offsets: Loose }): Loose {
    const plain = add(embedding(this.table, b.user) as Loose, sum(embedding(this.table, b.items) as Loose, 1) as Loose)
    const bag = embeddingBag(this.table, b.words, b.offsets, { mode: 'mean' }) as Loose
    if (this.kind === 'batched') {
      const pooled = embeddingBags(this.table, [{ ids: b.words, offsets: b.offsets }], [ROWS], { mode: 'mean' })
      return mean(square(sum(pooled as Loose, 1))) as Loose
    }
    const rows = this.kind === 'plain' ? plain : this.kind === 'bag' ? bag : add(plain, bag)
    return mean(square(sum(rows as Loose, 1))) as Loose
  }
}

async function train(model: Lookups, optimizer: Optimizer, options: { clipNorm?: number } = {}, steps = 3) {
  const program = compile(model, (m, b) => ({ loss: m.loss(b) }), {
    schema,
    check: true,
    updates: [{ loss: 'loss', parameters: (name) => name === 'table', optimizer, gradientNorm: true, ...options }],
  })
  const parameters = createParameters(model, 5)
  const optimizerState = program.createOptimizerState()
  const before = (await parameters.read(['table'])).table as Float32Array
  const norms: number[] = []
  for (let step = 0; step < steps; step++) {
    const results = await program.step(batch, { lr: 0.1 }, { parameters, optimizer: optimizerState })
    norms.push((results as Record<string, number>)['loss/gradientNorm'] as number)
  }
  const { table } = await parameters.read(['table'])
  return { before, table: table as Float32Array, norms }
}

describe.each(['plain', 'bag', 'both', 'batched'] as const)('lookups: %s', (kind) => {
  it('gives with SGD what the dense gradient gives', async () => {
    const sparse = await train(new Lookups(true, kind), sgd())
    const dense = await train(new Lookups(false, kind), sgd())
    sparse.table.forEach((value, index) => expect(value).toBeCloseTo(dense.table[index] as number, 5))
    expect([...sparse.table]).not.toEqual([...sparse.before])
    sparse.norms.forEach((norm, index) => expect(norm).toBeCloseTo(dense.norms[index] as number, 4))
  })

  it('clips the norm of rows and whole gradients alike', async () => {
    const sparse = await train(new Lookups(true, kind), sgd(), { clipNorm: 0.5 }, 1)
    const dense = await train(new Lookups(false, kind), sgd(), { clipNorm: 0.5 }, 1)
    sparse.table.forEach((value, index) => expect(value).toBeCloseTo(dense.table[index] as number, 6))
    const moved = Math.hypot(...sparse.table.map((value, index) => value - (sparse.before[index] as number)))
    expect(moved).toBeCloseTo(0.1 * 0.5, 4)
  })

  it('is lazy with Adam: rows that no batch looks up stand still', async () => {
    const { before, table } = await train(new Lookups(true, kind), adam())
    for (const row of UNTOUCHED) expect(table.slice(4 * row, 4 * row + 4)).toEqual(before.slice(4 * row, 4 * row + 4))
    // The first step of Adam moves each element by the learning rate; every later one with it, as the sign stays.
    const first = await train(new Lookups(true, kind), adam(), {}, 1)
    const row = 4 * (kind === 'plain' ? 7 : 5)
    for (let i = row; i < row + 4; i++)
      expect(Math.abs((first.table[i] as number) - (before[i] as number))).toBeCloseTo(0.1, 4)
  })
})

describe('a sparse table', () => {
  it('refuses a use that reads all of it, naming both', () => {
    const model = { table: parameter([ROWS, 4], normal(1), { sparse: true }) }
    const build = () =>
      compile(model, (m, b) => ({ loss: add(sum(m.table), mean(embedding(m.table, b.user))) as Loose }), {
        schema: { user: field('int32', 'batch') },
        updates: [{ loss: 'loss', parameters: all, optimizer: sgd() }],
      })
    expect(build).toThrow(/sparse table 'table' should be used by lookups only but got another use/)
  })

  it('takes batches without any lookup', async () => {
    const model = new Lookups(true, 'bag')
    const program = compile(model, (m, b) => ({ loss: m.loss(b) }), {
      schema,
      updates: [{ loss: 'loss', parameters: (name) => name === 'table', optimizer: adam() }],
    })
    const parameters = createParameters(model, 5)
    const empty = { ...batch, words: new Int32Array(0), offsets: new Int32Array(5) }
    const { loss } = await program.step(empty, { lr: 0.1 }, { parameters, counts: { words: 0 } })
    expect(loss).toBe(0)
    expect((await parameters.read()).table).toEqual((await createParameters(model, 5).read()).table)
  })

  it('changes nothing where the gradient is not finite though the loss is', async () => {
    const model = { table: parameter([ROWS, 4], normal(1), { sparse: true }) }
    // sqrt has no derivative at 0: the loss is 0 and the gradient is not a number.
    const build = (m: typeof model, b: { user: Loose }): { loss: Loose } => ({
      loss: sum(sqrt(multiply(embedding(m.table, b.user) as Loose, 0) as Loose) as Loose) as Loose,
    })
    const program = compile(model, build as never, {
      schema: { user: field('int32', 'batch') },
      updates: [{ loss: 'loss' as never, parameters: all, optimizer: adam(), gradientNorm: true }],
    })
    const parameters = createParameters(model, 5)
    const step = program.step(
      { user: batch.user } as never,
      { lr: 0.1 },
      { parameters, requireFinite: ['loss', 'loss/gradientNorm'] },
    )
    await expect(step).rejects.toThrow(/outputs\.loss\/gradientNorm should be finite but got NaN/)
    expect(await parameters.read()).toEqual(await createParameters(model, 5).read())
  })

  it.each([
    ['descend', [0, 2, 1, 4, 5], /offset 2 of its offsets should be in \[2, 6\) for 'offsets' but got 1/],
    ['do not begin at 0', [1, 2, 2, 4, 5], /offset 0 of its offsets should be in \[0, 1\) for 'offsets' but got 1/],
    ['end early', [0, 2, 2, 4, 4], /offset 4 of its offsets should be in \[5, 6\) for 'offsets' but got 4/],
    ['end late', [0, 2, 2, 4, 2 ** 31 - 1], /offset 4 of its offsets .* but got 2147483647/],
  ])('refuses offsets that %s', async (_, offsets, message) => {
    const model = new Lookups(true, 'bag')
    const program = compile(model, (m, b) => ({ loss: m.loss(b) }), {
      schema,
      updates: [{ loss: 'loss', parameters: (name) => name === 'table', optimizer: adam() }],
    })
    const parameters = createParameters(model, 5)
    const bad = { ...batch, offsets: Int32Array.from(offsets) }
    await expect(program.step(bad, { lr: 0.1 }, { parameters })).rejects.toThrow(message)
    expect((await parameters.read()).table).toEqual((await createParameters(model, 5).read()).table)
  })
})
