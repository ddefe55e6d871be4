/** Pantheon: its identities, and the parts that its proof is made of. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { adam, compile, createParameters, createState, Executor } from '../../lib/index.js'
import { armRowsOf } from '../../lib/prove/arms.js'
import { proofRows } from '../../lib/prove/proofData.js'
import { pantheonConfig } from '../../lib/systems/pantheon/config.js'
import { formulaScores, logsOf, searchFormula } from '../../lib/systems/pantheon/formula.js'
import * as identities from '../../lib/systems/pantheon/identities.js'
import { KeptRanker } from '../../lib/systems/pantheon/keptRanker.js'
import { PantheonModel } from '../../lib/systems/pantheon/model.js'
import { KeptEnsemble } from '../../lib/systems/pantheon/rivals.js'
import { matched, RunningMoments } from '../../lib/systems/pantheon/scoreMatching.js'
import { auditOf, searchWeights } from '../../lib/systems/pantheon/search.js'
import { TASKS } from '../../lib/systems/pantheon/trainer.js'
import { chartFile } from '../../lib/train/chart.js'

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

describe('identities', () => {
  it.each(Object.entries(identities))(
    '%s',
    async (_, identity) => {
      const { pass, figure } = await identity(executor)
      expect(pass, figure).toBe(true)
    },
    60_000,
  )
})

const SIZES = { seeds: 1, train: 6400, test: 800, epochs: 1, batchSize: 128, learningRate: 3e-3 }
const SMALL = { dimensions: 4, experts: 2, expertSizes: [16, 8], towerSizes: [8], ensembleSizes: [16, 8] }

/** A ranker on a small platform, its states kept. */
async function prepared() {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-pantheon-'))
  const data = { kind: 'simulator', preset: 'pantheon', test: 'later', knobs: { users: 60, authors: 40 } } as const
  const rows = armRowsOf((await proofRows(data, SIZES, 1, 1))!)
  const run = { arm: 'pantheon', seed: 1, sizes: SIZES, config: {} }
  const tools = { rows, executor, folder, signal: new AbortController().signal, onStep: () => undefined }
  const config = pantheonConfig.parse(SMALL)
  const ranker = (await KeptRanker.train(TASKS, config, run, tools))!
  return { folder, rows, run, tools, config, ranker }
}

describe('kept states', () => {
  it('train the ensemble that joint training would have, to the bit', async () => {
    const { folder, rows, run, tools, config, ranker } = await prepared()
    const ensemble = await KeptEnsemble.create('fixed', config, ranker, run, tools)
    const { begin, end } = ranker.part('stream')
    await ensemble.learn(0, end - begin)

    const model = new PantheonModel(rows.features, TASKS, config)
    const { schema, ...source } = await rows.batches('train', { batchSize: SIZES.batchSize })
    const updateOf = (loss: 'ranker' | 'ensemble') => ({
      loss,
      parameters: (name: string) => name.startsWith(`${loss}.`),
      optimizer: adam(),
    })
    const build = (m: PantheonModel, batch: object) => m.losses(batch as never) as never
    const alone = compile(model, build, { schema, seed: 1, executor, updates: [updateOf('ranker')] } as never)
    const both = compile(model, build, {
      schema,
      seed: 1,
      executor,
      updates: [updateOf('ranker'), updateOf('ensemble')],
    } as never)
    const handles = {
      parameters: createParameters(model, 1),
      optimizer: both.createOptimizerState(),
      state: createState(model),
    }
    let at = 0
    for await (const batch of source.batches(1)) {
      const program = at < begin ? alone : both
      const leased = await program.lease(source.capacities)
      batch.fill(leased.views as never)
      await program.step(leased as never, { lr: SIZES.learningRate }, { ...handles, counts: batch.counts })
      at += batch.counts.batch as number
    }
    const kept = await ensemble.copy()
    const found = (await kept.read()) as Record<string, Float32Array>
    const wanted = (await handles.parameters.read(Object.keys(found))) as Record<string, Float32Array>
    expect(Object.keys(found).length).toBeGreaterThan(8)
    expect(found).toEqual(wanted)
    ensemble.dispose()
    await ranker.close()
    expect(await readdir(folder)).toEqual([])
    await rm(folder, { recursive: true })
  }, 60_000)

  it('are searched by windows, with a trail; a base that is easily beaten is replaced', async () => {
    const { folder, rows, run, tools, config, ranker } = await prepared()
    const options = { first: 1024, window: 512, ahead: 1024, seed: 1 }
    const search = async (base: (from: number, to: number) => Float32Array) => {
      const reference = await KeptEnsemble.create('ippo', config, ranker, run, tools)
      const found = await searchWeights(reference, { score: async (a, b) => base(a, b) }, ranker, tools, options)
      const scores = await reference.score('test')
      reference.dispose()
      return { ...found!, scores }
    }
    // Scores that know the labels are never beaten, and those that turn them round always.
    const { of, begin } = ranker.part('stream')
    const labels = TASKS.map((name) => rows.column(of, name))
    const knowing = (sign: number) => (from: number, to: number) =>
      Float32Array.from(
        { length: to - from },
        (_, i) => sign * labels.reduce((sum, y) => sum + y[begin + from + i]!, 0),
      )
    const never = await search(knowing(1))
    expect(never.accepted).toBe(0)
    expect(never.rounds.length).toBeGreaterThan(2)
    expect(never.rounds.every(({ raised }) => raised !== null)).toBe(true)
    const always = await search(knowing(-1))
    expect(always.rounds[0]?.accepted).toBe(true)
    expect(always.scores).not.toEqual(never.scores)
    const again = await search(knowing(1))
    expect(again.scores).toEqual(never.scores)

    const { trail, charts } = auditOf(never, 'small')
    expect((trail as { rounds: unknown[] }).rounds).toHaveLength(never.rounds.length)
    expect(charts[0]?.series.map(({ name }) => name)).toEqual([...TASKS])
    expect(chartFile(charts[0]!)).toMatch(/^<svg xmlns=.*effectiveView.*<\/svg>\n$/s)
    await ranker.close()
    await rm(folder, { recursive: true })
  }, 60_000)
})

describe('formula', () => {
  it('finds exponents that order by the objective that counts', async () => {
    const logits = Float32Array.from({ length: 400 }, (_, i) => Math.sin(i * i) * 2 - 2)
    const logs = await logsOf(logits)
    expect(logs[0]).toBeCloseTo(Math.log1p(1 / (1 + Math.exp(2))), 6)
    const second = (scores: Float32Array) => {
      let sum = 0
      for (let row = 0; row < scores.length; row++)
        sum += scores[row]! * logits[2 * row + 1]! - scores[row]! * logits[2 * row]!
      return Promise.resolve(sum)
    }
    const { exponents, value } = await searchFormula(logs, [0.2, 0.1], second, { seed: 1, trials: 50 })
    expect(exponents[1]! / exponents[0]!).toBeGreaterThan(20)
    expect(await second(await formulaScores(logs, exponents))).toBe(value)
  })
})

describe('score matching', () => {
  it('gives scores the moments of the baseline, and leaves their order', () => {
    const scores = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * 1.7) ** 2)
    const base = Float32Array.from(scores, (_, i) => 3 + 0.2 * Math.cos(i * 0.9))
    const moments = (values: ArrayLike<number>) => {
      const running = new RunningMoments()
      for (let i = 0; i < values.length; i += 1000) running.update(Array.from(values).slice(i, i + 1000))
      return running
    }
    const [from, to] = [moments(scores), moments(base)]
    const made = matched(scores, from, to)
    expect(Math.abs(moments(made).mean - to.mean) / to.deviation).toBeLessThan(0.01)
    expect(Math.abs(moments(made).deviation / to.deviation - 1)).toBeLessThan(0.01)
    const order = (values: ArrayLike<number>) => Array.from(values, (v, i) => [v, i]).sort((a, b) => a[0]! - b[0]!)
    expect(order(made).map(([, i]) => i)).toEqual(order(scores).map(([, i]) => i))
    const restored = new RunningMoments()
    restored.restore(from.state)
    expect(restored.mean).toBe(from.mean)
    const flat = new RunningMoments()
    flat.update([1, 1, 1])
    expect(() => matched([1], flat, to)).toThrow('matched: from should be moments of scores that differ')
  })
})

describe('settings', () => {
  const build = (more: object) => () =>
    new PantheonModel([{ kind: 'number', name: 'x' }], ['click', 'gift'], pantheonConfig.parse({ ...SMALL, ...more }))
  it('refuses objectives that are no tasks, and weights that do not fit', () => {
    expect(build({ objectives: ['gfit'] })).toThrow("pantheon: objectives should be tasks: click, gift but got 'gfit'")
    expect(build({ objectiveWeights: [1] })).toThrow(
      'pantheon: objectiveWeights should be 2, one for each objective, but got 1',
    )
  })
})
