/** FARM: the identities of its filter, its parts and ablations, and what training does to them. */
import { afterAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { interpret } from '../../lib/graph/interpret.js'
import {
  adam,
  all,
  compile,
  createParameters,
  field,
  input,
  namedVariables,
  parameterCount,
  type Schema,
} from '../../lib/index.js'
import { Executor } from '../../lib/runtime/index.js'
import * as identities from '../../lib/systems/farm/identities.js'
import { type FarmModel, farm } from '../../lib/systems/farm/index.js'
import type { FeatureBatch, FeatureInput } from '../../lib/systems/system.js'

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

describe('identities', () => {
  it.each(Object.entries(identities).filter(([, identity]) => typeof identity === 'function'))(
    '%s',
    async (_, identity) => {
      const { pass, figure } = await (identity as typeof identities.bandsAddUp)(executor)
      expect(pass, figure).toBe(true)
    },
  )
})

// A tiny platform -----------------------------------------------------------------------------------------------------

const [ITEMS, AUTHORS, BEHAVIOURS, GROUPS] = [30, 10, 8, 4]
const TIME = { video: 9, live: 5 }
const domains = ['video', 'live'] as const
const columns = [
  ['Item', ITEMS],
  ['Author', AUTHORS],
  ['Behaviour', BEHAVIOURS],
] as const

const featuresOf = (padded: boolean): FeatureInput[] => [
  { kind: 'id', name: 'item', table: 'item', rows: ITEMS },
  { kind: 'id', name: 'author', table: 'author', rows: AUTHORS },
  { kind: 'id', name: 'group', table: 'group', rows: GROUPS },
  ...domains.flatMap((domain) =>
    columns.map(([column, rows]) => ({
      kind: 'sequence' as const,
      name: `${domain}${column}`,
      table: `${domain}${column}`,
      rows,
      ...(padded ? { padded: TIME[domain] } : {}),
    })),
  ),
]

const sequences = domains.flatMap((domain) =>
  columns.map(([column, rows]) => ({ name: `${domain}${column}`, domain, rows })),
)
const shared = {
  item: field('int32', 'batch'),
  author: field('int32', 'batch'),
  group: field('int32', 'batch'),
  user: field('int32', 'batch'),
  click: field('float32', 'batch'),
  gift: field('float32', 'batch'),
}
const schemaOf = (padded: boolean): Schema =>
  Object.assign(
    { ...shared },
    ...sequences.map(({ name, domain }) =>
      padded
        ? { [name]: field('int32', 'batch', TIME[domain]), [`${name}.length`]: field('int32', 'batch') }
        : { [`${name}.values`]: field('int32', `${name}_count`), [`${name}.offsets`]: field('int32', 'batch+1') },
    ),
  )

/** Clicks follow whether an act with the sixth behaviour was on the candidate's author. Histories longer than TIME and empty ones are among them. */
function draw(rows: number, seed: number) {
  const random = createRandom(seed)
  const ids = (count: number, limit: number) => Int32Array.from({ length: count }, () => random.int(limit))
  const lengths = {
    video: Int32Array.from({ length: rows }, (_, row) => [12, 0, 9][row] ?? random.int(12)),
    live: Int32Array.from({ length: rows }, (_, row) => [2, 5, 0][row] ?? random.int(8)),
  }
  const histories = sequences.map(({ name, domain, rows: limit }) => ({
    name,
    time: TIME[domain],
    values: Array.from(lengths[domain], (length) => [...ids(length, limit)]),
  }))
  const valuesOf = (name: string) => histories.find((history) => history.name === name)?.values as number[][]
  const author = ids(rows, AUTHORS)
  const rare = (row: number) =>
    domains.some((domain) =>
      valuesOf(`${domain}Author`)[row]?.some(
        (each, t) => each === author[row] && (valuesOf(`${domain}Behaviour`)[row]?.[t] as number) >= 4,
      ),
    )
  const common = {
    item: ids(rows, ITEMS),
    author,
    group: ids(rows, GROUPS),
    user: Int32Array.from({ length: rows }, (_, row) => Math.floor(row / 2)),
    click: Float32Array.from({ length: rows }, (_, row) => Number(rare(row))),
    gift: Float32Array.from({ length: rows }, () => random.int(2)),
  }
  const ragged = histories.flatMap(({ name, values }) => [
    [`${name}.values`, Int32Array.from(values.flat())],
    [`${name}.offsets`, offsetsOf(values)],
  ])
  const padded = histories.flatMap(({ name, time, values }) => {
    const latest = values.map((each) => each.slice(-time))
    return [
      [name, Int32Array.from(latest.flatMap((each) => [...each, ...new Array<number>(time - each.length).fill(0)]))],
      [`${name}.length`, Int32Array.from(latest, (each) => each.length)],
    ]
  })
  return { ragged: { ...common, ...Object.fromEntries(ragged) }, padded: { ...common, ...Object.fromEntries(padded) } }
}

/** Where each row begins, and the end. */
function offsetsOf(rows: readonly (readonly number[])[]): Int32Array {
  const offsets = new Int32Array(rows.length + 1)
  rows.forEach((row, i) => {
    offsets[i + 1] = (offsets[i] as number) + row.length
  })
  return offsets
}

type Settings = Record<string, unknown>
const small = {
  dimensions: 8,
  embeddingDimensions: 4,
  candidate: ['item', 'author'],
  videoLength: TIME.video,
  liveLength: TIME.live,
  cutoffShare: 0.2,
  behaviourBits: true,
  gateHidden: 4,
  heads: 2,
  leastActs: 1,
  user: 'user',
  expertSizes: [8, 4],
  towerSizes: [4],
  dropout: 0,
}
const build = (settings: Settings = {}, padded = false): FarmModel =>
  farm.build(featuresOf(padded), ['click', 'gift'], farm.config.parse({ ...small, ...settings })) as FarmModel

const trainerOf = (model: FarmModel, padded = false) =>
  compile(model, (m, b) => m.losses(b as unknown as FeatureBatch), {
    schema: schemaOf(padded),
    seed: 5,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }) }],
    executor,
  })

/** Parameters by seed, with gates that no longer stand at 1/2: filters that start alike then differ. */
async function opened(model: FarmModel) {
  const parameters = createParameters(model, 1)
  const values = await parameters.read()
  const names = Object.keys(values).filter((name) => name.endsWith('gate.outer.bias'))
  const biases = names.map((name) => [name, (values[name] as Float32Array).map((_, i) => (i === 0 ? 1 : -1))])
  await parameters.write(Object.fromEntries(biases))
  return parameters
}

const logitsOf = async (model: FarmModel, feeds: object, padded = false) => {
  const program = compile(model, (m, b) => ({ logits: m.logits(b as unknown as FeatureBatch) }), {
    schema: schemaOf(padded),
    executor,
  })
  const { logits } = await program.step(feeds as never, {}, { parameters: await opened(model) })
  return logits as Float32Array
}

const batch = draw(24, 3)

/** The system and everything that it is compared with. */
const arms: Readonly<Record<string, Settings>> = {
  farm: {},
  'ragged transforms': { ragged: true },
  'gains per channel': { gatePerChannel: true },
  'gates of the user': { gateSees: 'user' },
  'no frequency': { filter: 'none' },
  'gate without filter': { filter: 'gate' },
  'Low + b^2 High': { filter: 'channel' },
  'full filter': { filter: 'full' },
  'alpha = beta': { fixedAlpha: 0.5, fixedBeta: 0.5 },
  'beta = 0': { fixedBeta: 0 },
  'wider low band': { cutoffShare: 0.5 },
  'no align': { align: 'none' },
  'align after fuse': { align: 'after' },
  'no fuse': { fuse: 'pooled' },
  'target attention': { fuse: 'target' },
  'live only': { domains: 'live' },
  base: { encoder: 'plain', fuse: 'target', align: 'none', behaviour: false },
  'base with behaviours': { encoder: 'plain', fuse: 'target', align: 'none' },
  'base with rare acts': { encoder: 'plain', fuse: 'target', align: 'none', behaviour: false, rare: 'live' },
  sasrec: { encoder: 'sasrec', fuse: 'target', align: 'none' },
  bsarec: { encoder: 'bsarec', fuse: 'target', align: 'none' },
}

describe('farm', () => {
  it('scores on the device as the float64 interpreter does', async () => {
    for (const settings of [{}, { ragged: true, gatePerChannel: true }, { encoder: 'bsarec' }]) {
      const model = build(settings)
      const values = await (await opened(model)).read()
      const variables = new Map(
        namedVariables(model).map(({ name, variable }) => [
          variable,
          { dtype: variable.dtype, shape: variable.shape, data: Float64Array.from(values[name] as Float32Array) },
        ]),
      )
      const fields = schemaOf(false)
      const leaves = Object.fromEntries(
        Object.entries(fields).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
      )
      const feeds = Object.fromEntries(
        Object.entries(batch.ragged as Record<string, Int32Array | Float32Array>).map(([name, data]) => [
          name,
          { dtype: (fields[name] as Schema[string]).dtype, shape: [data.length], data: Float64Array.from(data) },
        ]),
      )
      const logits = await logitsOf(model, batch.ragged)
      const [reference] = interpret([model.logits(leaves as never)], { variables, feeds, counts: { batch: 24 } })
      logits.forEach((logit, i) => expect(logit).toBeCloseTo(reference?.data[i] as number, 4))
    }
  })

  it('reads ragged and padded histories alike, the latest acts of those that are too long', async () => {
    const settings = { ragged: true }
    const ragged = await logitsOf(build(settings), batch.ragged)
    const padded = await logitsOf(build(settings, true), batch.padded, true)
    ragged.forEach((logit, i) => expect(padded[i]).toBeCloseTo(logit, 5))
    // Padding before and behind the acts is one and the same circle of a fixed length.
    const fixed = await logitsOf(build({}, true), batch.padded, true)
    ;(await logitsOf(build(), batch.ragged)).forEach((logit, i) => expect(fixed[i]).toBeCloseTo(logit, 5))
    expect(fixed).not.toEqual(padded)
  })

  it('sums the behaviours of an act, one vector for each bit', () => {
    const rows = (settings: Settings) =>
      namedVariables(build(settings)).find(({ name }) => name === 'inputs.behaviours.weight')?.variable.shape
    expect(rows({})).toEqual([3, 8])
    expect(rows({ behaviourBits: false })).toEqual([8, 8])
    expect(rows({ behaviour: false })).toBeUndefined()
  })

  it('shares tables of fields that the candidate has', () => {
    const names = namedVariables(build()).map(({ name }) => name)
    expect(names.filter((name) => name.startsWith('inputs.tables'))).toEqual([
      'inputs.tables.item.weight',
      'inputs.tables.author.weight',
    ])
  })

  it('starts from alpha = beta = 1/2 and tells them with its predictions', async () => {
    const model = build()
    const names = farm.outputs?.(['click', 'gift'], farm.config.parse(small)).map(({ name }) => name)
    expect(names).toEqual(['click', 'gift', 'alphaLive', 'betaLive', 'alphaVideo', 'betaVideo'])
    const program = compile(model, (m, b) => ({ p: m.probabilities(b as never) }), {
      schema: schemaOf(false),
      executor,
    })
    const { p } = await program.step(batch.ragged as never, {}, { parameters: createParameters(model, 1) })
    for (let row = 0; row < 24; row++) {
      expect([...(p as Float32Array).subarray(row * 6 + 2, row * 6 + 6)]).toEqual([0.5, 0.5, 0.5, 0.5])
    }
  })

  it.each(Object.entries(arms))('%s: another model, which learns', async (name, settings) => {
    const features = name.includes('rare') ? { ...settings, rare: 'live' } : settings
    const model = build(features)
    if (name !== 'farm') {
      const logits = await logitsOf(model, batch.ragged)
      expect([...logits].every(Number.isFinite)).toBe(true)
      const alike = ['gates of the user', 'no align', 'align after fuse']
      if (!alike.includes(name)) expect(logits).not.toEqual(await logitsOf(build(), batch.ragged))
    }
    const program = trainerOf(model)
    const stores = { parameters: createParameters(model, 1), optimizer: program.createOptimizerState() }
    const losses: number[] = []
    for (let step = 0; step < 40; step++) losses.push((await program.step(batch.ragged as never, {}, stores)).loss)
    expect(losses.at(-1)).toBeLessThan(0.7 * (losses[0] as number))
  })

  it('has as many parameters with the gate alone as with the filter', () => {
    expect(parameterCount(build({ filter: 'gate' }))).toBe(parameterCount(build()))
    expect(parameterCount(build({ filter: 'none' }))).toBeLessThan(parameterCount(build()))
  })

  it('computes once per user what all candidates share', async () => {
    const model = build({ gateSees: 'user' })
    const parameters = createParameters(model, 1)
    const each = 3
    const users = draw(4, 9).ragged as unknown as Record<string, Int32Array>
    const schema = {
      ...schemaOf(false),
      items: field('int32', `${each}*batch`),
      authors: field('int32', `${each}*batch`),
    }
    const program = compile(
      model,
      (m, b) => {
        const { items, authors } = b as unknown as Record<string, never>
        const candidate = m.candidate({ item: items, author: authors } as never)
        return { scores: m.scores(m.preferences(b as never), candidate, each) }
      },
      { schema, executor },
    )
    const [items, authors] = [ITEMS, AUTHORS].map((limit, i) =>
      Int32Array.from({ length: 12 }, (_, n) => (7 * n + i) % limit),
    )
    const { scores } = await program.step({ ...users, items, authors } as never, {}, { parameters })
    for (let place = 0; place < each; place++) {
      const of = (all: Int32Array | undefined) =>
        Int32Array.from({ length: 4 }, (_, user) => all?.[user * each + place] as number)
      const logits = await logitsOf(model, { ...users, item: of(items), author: of(authors) })
      logits.forEach((logit, i) => {
        const [user, task] = [Math.floor(i / 2), i % 2]
        expect((scores as Float32Array)[(user * each + place) * 2 + task]).toBeCloseTo(logit, 4)
      })
    }
  })

  it('learns a task only where its label mask is 1', async () => {
    const masked = {
      ...batch.ragged,
      gift: batch.ragged.gift.map((gift: number, i: number) => (batch.ragged.click[i] ? gift : 1 - gift)),
    }
    const lossOf = async (feeds: object, labelMasks: Record<string, string>) => {
      const model = build({ labelMasks })
      return (await trainerOf(model).step(feeds as never, {}, { parameters: createParameters(model, 1) })).loss
    }
    expect(await lossOf(masked, { gift: 'click' })).toBe(await lossOf(batch.ragged, { gift: 'click' }))
    expect(await lossOf(masked, {})).not.toBe(await lossOf(batch.ragged, {}))
  })

  it('leaves users with few acts and rows of the same user out of the contrast', async () => {
    const alignOf = async (settings: Settings) => {
      const model = build(settings)
      return (await trainerOf(model).step(
        batch.ragged as never,
        {},
        { parameters: createParameters(model, 1) },
      )) as unknown as { readonly align: number }
    }
    const [some, other, none] = [
      await alignOf({}),
      await alignOf({ user: undefined }),
      await alignOf({ leastActs: 99 }),
    ]
    expect(other.align).toBeGreaterThan(some.align)
    expect(none.align).toBe(0)
  })

  it('refuses inputs without a domain or a candidate', () => {
    expect(() => build({ video: 'clips' })).toThrow(/farm: video should be sequences whose names begin with 'clips'/)
    expect(() => build({ candidate: ['room'] })).toThrow(/farm: candidate should be some of item, author, group/)
  })
})
