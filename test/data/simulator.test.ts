import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { BatchSource } from '../../lib/core/batchSource.js'
import type { Dataset } from '../../lib/data/dataset.js'
import { datasetBatches } from '../../lib/data/datasetBatches.js'
import { parseSchema, readDataset } from '../../lib/data/index.js'
import {
  chorusCvr,
  correlations,
  farm,
  objectives,
  pantheon,
  simulate,
  type Table,
  writeSimulation,
} from '../../lib/data/simulator/index.js'
import { calibrationOf, correlationOf, mean } from '../../lib/data/simulator/measures.js'
import { createState, initializeParameters } from '../../lib/graph/stores.js'
import { Executor } from '../../lib/runtime/index.js'
import { MmoeModel, mmoeConfig } from '../../lib/systems/mmoe/index.js'
import { fitLoop } from '../../lib/train/loop.js'
import {
  compilePrediction,
  compileRankingTraining,
  featureInputs,
  judge,
  predict,
} from '../../lib/train/rankingTrainer.js'

const column = (table: Table, name: string) => table.columns[name]!.values
const ascending = (values: ArrayLike<number>) => {
  for (let i = 1; i < values.length; i++) if (values[i]! < values[i - 1]!) return false
  return true
}
const small = { events: 6000, users: 200 }

describe('simulate', () => {
  it.each([
    [farm, { users: 60, activitySpread: 1, rareActs: true }],
    [chorusCvr, small],
    [pantheon, { ...small, authors: 100 }],
  ] as const)('gives the same columns on one thread and on three', async (preset, knobs) => {
    const [one, three] = [await simulate(preset, knobs, { threads: 1 }), await simulate(preset, knobs, { threads: 3 })]
    for (const name of ['rows', 'truth', 'events', 'eventTruth', 'users'] as const)
      expect(three[name]).toEqual(one[name])
    expect((await simulate(preset, { ...knobs, seed: 7 })).truth).not.toEqual(one.truth)
    expect(ascending(column(one.events, 'time'))).toBe(true)
    expect((await one.dataset()).rowCount).toBe(one.rows.rowCount)
  })

  it('refuses knobs by name', async () => {
    await expect(simulate(farm, { omga: 1 } as never)).rejects.toThrow(
      "simulate 'farm': omga: no such knob. Did you mean 'omega'?",
    )
    await expect(simulate(farm, { omega: 2 })).rejects.toThrow(
      "simulate 'farm': omega should be a number from 0 to 1 but got 2",
    )
    await expect(simulate(chorusCvr, {}, { threads: 0 })).rejects.toThrow(
      'simulate: threads should be an integer from 1 to 256 but got 0',
    )
  })
})

describe('farm', () => {
  it('has 15 live and 135 video acts, 3 % of them valuable, and calibrated clicks', async () => {
    const { users, events, eventTruth, rows, truth } = await simulate(farm, { users: 1000, seed: 1 })
    expect(new Set(column(users, 'liveActs'))).toEqual(new Set([15]))
    expect(new Set(column(users, 'videoActs'))).toEqual(new Set([135]))
    const acts = events.rowCount - rows.rowCount
    const valuable = mean(column(eventTruth, 'valuable')) * events.rowCount
    expect(valuable / acts).toBeCloseTo(0.03, 2)
    expect(Math.abs(mean(column(rows, 'click')) - 0.25)).toBeLessThan(0.02)
    for (const [p, y] of calibrationOf(column(truth, 'pClick'), column(rows, 'click'), 5))
      expect(Math.abs(p - y)).toBeLessThan(0.06)
  })
})

describe('switches of farm', () => {
  const knobs = { users: 300, seed: 5 }

  it('another part has other acts of the same users, and more candidates move nothing else', async () => {
    const [train, test, many] = [
      await simulate(farm, knobs, { part: 'train' }),
      await simulate(farm, knobs, { part: 'test' }),
      await simulate(farm, knobs, { part: 'test', exposure: { candidates: 20 } }),
    ]
    expect(test.users).toEqual(train.users)
    expect(test.items).toEqual(train.items)
    expect(column(test.rows, 'videoItem')).not.toEqual(column(train.rows, 'videoItem'))
    expect(many.rows.rowCount).toBe(2 * test.rows.rowCount)
    expect(column(many.truth, 'pClick')[0]).toBe(column(test.truth, 'pClick')[0])
  })

  it('permuting exchanges acts within a history and keeps them', async () => {
    const [kept, permuted] = [await simulate(farm, knobs), await simulate(farm, { ...knobs, permute: true })]
    const of = ({ rows }: typeof kept, row: number) => {
      const { values, offsets } = rows.columns.videoItem as unknown as { values: Int32Array; offsets: Int32Array }
      return [...values.subarray(offsets[row], offsets[row + 1])]
    }
    for (let row = 0; row < 100; row += 10) {
      expect(of(permuted, row)).not.toEqual(of(kept, row))
      expect(of(permuted, row).sort()).toEqual(of(kept, row).sort())
    }
    expect(column(permuted.truth, 'pClick')).toEqual(column(kept.truth, 'pClick'))
  })

  it('with videoOnly 1 no valuable act is live, and overlap is the share with live acts', async () => {
    const { events, eventTruth, users } = await simulate(farm, { ...knobs, videoOnly: 1, overlap: 0.5 })
    const [domain, valuable] = [column(events, 'domain'), column(eventTruth, 'valuable')]
    expect(valuable.some((one: number) => one === 1)).toBe(true)
    expect(valuable.every((one: number, i: number) => one === 0 || domain[i] === 1)).toBe(true)
    const inBoth = [...column(users, 'liveActs')].filter((acts) => acts > 0).length
    expect(Math.abs(inBoth / 300 - 0.5)).toBeLessThan(0.1)
  })

  it('tells how many acts a user has', async () => {
    const { truth, users } = await simulate(farm, { ...knobs, activitySpread: 1 })
    const [video, live] = [column(users, 'videoActs'), column(users, 'liveActs')]
    for (let user = 0; user < 300; user++)
      expect(column(truth, 'acts')[10 * user]).toBe((video[user] as number) + (live[user] as number))
  })
})

describe('the logging policy', () => {
  it('with a position bias clicks fall with the position as the examination does', async () => {
    const { rows, truth } = await simulate(chorusCvr, {
      events: 60_000,
      perRequest: 10,
      positionBias: 1,
      clickRate: 0.2,
    })
    const [position, click, examined] = [column(rows, 'position'), column(rows, 'click'), column(truth, 'examined')]
    const rateAt = (wanted: number) => {
      const at = [...position].flatMap((place, row) => (place === wanted ? [row] : []))
      expect(examined[at[0] as number]).toBeCloseTo(1 / (wanted + 1), 5)
      return at.reduce((sum, row) => sum + (click[row] as number), 0) / at.length
    }
    expect(rateAt(4) / rateAt(0)).toBeCloseTo(1 / 5, 1)
  })
})

describe('chorus-cvr', () => {
  it.each([-0.5, 0, 0.9])('has its rates and the correlation %d', async (correlation) => {
    const { rows, truth } = await simulate(chorusCvr, { events: 100_000, correlation, seed: 2 })
    expect(Math.abs(mean(column(rows, 'click')) - 0.05)).toBeLessThan(0.005)
    expect(Math.abs(mean(column(truth, 'conversion')) - 0.03)).toBeLessThan(0.004)
    expect(
      Math.abs(correlationOf(column(truth, 'clickScore'), column(truth, 'conversionScore')) - correlation),
    ).toBeLessThan(0.04)
    const [click, shown, drawn] = [column(rows, 'click'), column(rows, 'conversion'), column(truth, 'conversion')]
    expect(shown.every((y: number, i: number) => y === click[i]! * drawn[i]!)).toBe(true)
    for (const [p, y] of calibrationOf(column(truth, 'pConversion'), drawn, 5))
      expect(Math.abs(p - y)).toBeLessThan(0.012)
  })
})

describe('pantheon', () => {
  it('has six rates and, without selection, the correlations asked for', async () => {
    const { rows, truth, knobs } = await simulate(pantheon, { events: 100_000, selection: 0, seed: 3 })
    for (const [i, name] of objectives.entries()) {
      const rate = knobs[`${name}Rate`]
      expect(Math.abs(mean(column(rows, name)) / rate - 1)).toBeLessThan(0.25)
      for (const [j, other] of objectives.entries()) {
        const found = correlationOf(column(truth, `${name}Score`), column(truth, `${other}Score`))
        expect(Math.abs(found - correlations[i]![j]!)).toBeLessThan(0.08)
      }
    }
  })

  it('has two contexts with equal clicks, of which one raises gifts', async () => {
    const { rows, truth } = await simulate(pantheon, { events: 60_000, users: 500, authors: 200, seed: 4 })
    const context = column(truth, 'context')
    const meanIn = (name: string, which: number) => mean(column(truth, name).filter((_, row) => context[row] === which))
    for (const name of ['pClick', 'pEffectiveView', 'pLongView', 'pLike', 'pFollow'])
      expect(Math.abs(meanIn(name, 1) / meanIn(name, 0) - 1)).toBeLessThan(0.06)
    expect(meanIn('pGift', 1) / meanIn('pGift', 0)).toBeGreaterThan(3)
    const scenes = new Set([...column(rows, 'scene')].map((scene, row) => `${scene} ${context[row]}`))
    expect(scenes.size).toBe(16)
  })

  it('is learnable: a small ranker orders within users far better than chance', async () => {
    const simulation = await simulate(pantheon, { events: 60_000, users: 300, authors: 100, seed: 5 })
    const data = (await simulation.dataset()) as unknown as Dataset
    const [train, held] = [data.slice(0, 50_000), data.slice(50_000)]
    const config = mmoeConfig.parse({ dimensions: 8, experts: 2, expertSizes: [32, 16], towerSizes: [8] })
    const model = new MmoeModel(featureInputs(train), objectives, config)
    const executor = new Executor({ threads: 1 })
    const source = (await datasetBatches(train, { batchSize: 256 })) as unknown as BatchSource
    const program = compileRankingTraining(model, objectives, source.schema, { seed: 1, executor })
    const parameters = await initializeParameters(model, 1, executor)
    const state = createState(model)
    await fitLoop({ program, source, parameters, state, epochs: 1, schedule: { lr: 4e-3 } })
    const outputs = objectives.map((name) => ({ name, labels: [name] }))
    const prediction = compilePrediction(model, train, {}, executor)
    const judged = await judge(held, await predict(prediction, held, { outputs }, { parameters, state }), outputs)
    // Of the true probabilities themselves it is .80 for clicks and .85 for likes.
    expect(judged.click?.gauc?.gauc).toBeGreaterThan(0.58)
    expect(judged.effectiveView?.gauc?.gauc).toBeGreaterThan(0.58)
    expect(judged.like?.gauc?.gauc).toBeGreaterThan(0.58)
    await executor.close()
  }, 60_000)
})

describe('files', () => {
  it.each([
    [farm, { users: 60 }],
    [chorusCvr, small],
  ] as const)('hold the rows as they are in memory', async (preset, knobs) => {
    const output = await mkdtemp(join(tmpdir(), 'kairos-simulation-'))
    try {
      await writeSimulation(preset, knobs as never, { output, threads: 2 })
      const { data, schema } = parse(await readFile(join(output, 'train.yaml'), 'utf8'))
      expect(isAbsolute(data)).toBe(true)
      const [read, made] = [
        await readDataset({ path: data }, parseSchema(schema), { threads: 2 }),
        await (await simulate(preset, knobs as never)).dataset(),
      ]
      expect(read.rowCount).toBe(made.rowCount)
      for (const [name, { kind }] of Object.entries(made.schema.features)) {
        if (kind === 'time') continue
        const [a, b] = [read.column(name), made.column(name as never)] as {
          values: ArrayLike<number>
          offsets?: Int32Array
        }[]
        expect(Array.from(a?.values ?? []), name).toEqual(Array.from(b?.values ?? []))
        expect(a?.offsets && [...a.offsets]).toEqual(b?.offsets && [...b.offsets])
      }
    } finally {
      await rm(output, { recursive: true })
    }
  })
})
