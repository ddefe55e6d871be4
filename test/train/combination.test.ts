/** `--combine`: every way to weigh losses, on systems with one loss for each task, with losses of their own, and with two parts. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { field } from '../../lib/core/schema.js'
import { all, compile, createParameters, Executor, fixedWeights, minNorm, sgd } from '../../lib/index.js'
import { MmoeModel, mmoeConfig } from '../../lib/systems/mmoe/index.js'
import type { FeatureBatch } from '../../lib/systems/system.js'
import { combinations } from '../../lib/train/combination.js'
import { rankingTrainOptions } from '../../lib/train/rankingOptions.js'
import { trainRanking } from '../../lib/train/trainRanking.js'

const executor = new Executor({ threads: 1 })
let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-combine-'))
  const random = createRandom(1)
  const lines = ['user,item,price,click,buy']
  for (let row = 0; row < 1500; row++) {
    const [item, price] = [random.int(12), random.normal()]
    const click = Number(random.uniform() < 1 / (1 + Math.exp(-price - (item < 6 ? 1 : -1))))
    const buy = Number(click === 1 && random.uniform() < (item % 2 === 0 ? 0.7 : 0.2))
    lines.push([random.int(30), `i${item}`, price, click, buy].join(','))
  }
  await writeFile(join(folder, 'rows.csv'), `${lines.join('\n')}\n`)
})
afterAll(async () => {
  await executor.close()
  await rm(folder, { recursive: true })
})

const schema = {
  user: { kind: 'groupId' },
  item: { kind: 'categorical' },
  price: { kind: 'numeric', standardise: true },
  click: { kind: 'label' },
  buy: { kind: 'label' },
}
const shapes = {
  mmoe: { dimensions: 8, experts: 2, expertSizes: [16], towerSizes: [8] },
  'shared-bottom': { dimensions: 8, bottomSizes: [16], towerSizes: [8] },
  'chorus-cvr': { dimensions: 8, bottomSizes: [16], towerSizes: [8] },
  pantheon: { dimensions: 8, experts: 2, expertSizes: [16], towerSizes: [8], ensembleSizes: [16] },
}

const optionsOf = (system: keyof typeof shapes, more: Record<string, unknown>) =>
  rankingTrainOptions.parse({
    system,
    data: join(folder, 'rows.csv'),
    schema,
    testShare: 0.2,
    batchSize: 64,
    learningRate: 0.01,
    epochs: 3,
    threads: 1,
    ...shapes[system],
    ...more,
  })
const trained = (system: keyof typeof shapes, more: Record<string, unknown>) =>
  trainRanking(optionsOf(system, more), () => undefined)

describe.each(Object.keys(shapes) as (keyof typeof shapes)[])('%s', (system) => {
  it.each(combinations)('learns with --combine %s', async (combine) => {
    const { metrics } = await trained(system, { combine })
    const first = metrics.click ?? metrics.CTR
    expect(first?.auc).toBeGreaterThan(0.65)
  })

  it.each(['mgda', 'upgrad'])('learns with --combine %s at representations', async (combine) => {
    const { metrics } = await trained(system, { combine, combineAt: 'representation' })
    expect((metrics.click ?? metrics.CTR)?.auc).toBeGreaterThan(0.65)
  })
})

describe('combinations', () => {
  it('is the plain sum with fixed weights of 1', async () => {
    const [plain, fixed] = [await trained('mmoe', {}), await trained('mmoe', { combine: 'fixed' })]
    const [a, b] = [plain.predictions.buy!, fixed.predictions.buy!]
    a.forEach((value, i) => expect(Math.abs(value - b[i]!)).toBeLessThan(1e-4))
    const heavy = await trained('mmoe', { combine: 'fixed', lossWeights: [100, 0.01] })
    expect(heavy.predictions.buy).not.toEqual(b)
  })

  it('goes on with dynamic weights where a run was interrupted', async () => {
    const output = join(folder, 'dwa')
    const whole = await trained('mmoe', { combine: 'dwa', epochs: 4, patience: 100 })
    await trained('mmoe', { combine: 'dwa', epochs: 3, patience: 100, output })
    const resumed = await trained('mmoe', { combine: 'dwa', epochs: 4, patience: 100, output, resume: true })
    expect(resumed.predictions).toEqual(whole.predictions)
  })

  it('leaves parameters that are stacked by task out of the combination', async () => {
    const features = [
      { kind: 'number', name: 'x' },
      { kind: 'number', name: 'z' },
    ] as const
    const model = new MmoeModel(features, ['click', 'buy'], mmoeConfig.parse(shapes.mmoe))
    const fields = Object.fromEntries(['x', 'z', 'click', 'buy'].map((name) => [name, field('float32', 'batch')]))
    const random = createRandom(2)
    const batch = Object.fromEntries(
      Object.keys(fields).map((name) => [
        name,
        Float32Array.from({ length: 32 }, () => (name.length === 1 ? random.normal() : random.int(2))),
      ]),
    )
    const build = (m: MmoeModel, b: object) => {
      const { losses, representation } = m.objectives(b as FeatureBatch)
      const [x, experts] = representation!
      return { ...losses, x, experts } as Record<'click' | 'buy' | 'x' | 'experts', never>
    }
    const after = async (more: object, name: string) => {
      const updates = [{ losses: ['click', 'buy'], parameters: all, optimizer: sgd(), ...more }]
      const program = compile(model, build, { schema: fields, executor, updates } as never)
      const parameters = createParameters(model, 1)
      await program.step(batch as never, { lr: 0.01 }, { parameters })
      return (await parameters.read([name]))[name]
    }
    const apart = { apart: model.apart }
    for (const name of ['mmoe.towers.0.weight', 'mmoe.gates.weight']) {
      const own = await after({ combine: fixedWeights() }, name)
      expect(await after({ combine: minNorm(), ...apart }, name)).toEqual(own)
      expect(await after({ combine: minNorm(), ...apart, representation: ['x', 'experts'] }, name)).toEqual(own)
    }
    const shared = 'mmoe.experts.0.weight'
    expect(await after({ combine: minNorm(), ...apart }, shared)).not.toEqual(
      await after({ combine: fixedWeights() }, shared),
    )
  })

  it('refuses what does not fit', async () => {
    await expect(trained('mmoe', { combine: 'fixed', lossWeights: [1] })).rejects.toThrow(
      /lossWeights should be 2, for click, buy/,
    )
    expect(() => optionsOf('mmoe', { combine: 'mgda', lossWeights: [1, 2] })).toThrow(/beside loss weights/)
    await expect(trained('pantheon', { ranker: 'ple', combine: 'mgda', combineAt: 'representation' })).rejects.toThrow(
      /combineAt should be 'gradients' for a system that names no representation/,
    )
  })
})
