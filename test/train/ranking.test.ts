/** A ranking system from a file to predictions: train, evaluate against another run, predict new rows. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { evaluateRun } from '../../lib/train/evaluateRun.js'
import { predictRun } from '../../lib/train/predictRun.js'
import { rankingTrainOptions } from '../../lib/train/rankingOptions.js'
import { evaluateOptions, predictOptions } from '../../lib/train/runOptions.js'
import { trainRanking } from '../../lib/train/trainRanking.js'

let folder = ''
const at = (name: string) => join(folder, name)
const ROWS = 3000

/** Clicks follow the colour and the number, purchases whether one of the first six items is in the history. */
function rowsOf(seed: number, count: number): string {
  const random = createRandom(seed)
  const chance = (p: number) => (random.uniform() < p ? 1 : 0)
  const lines = ['user,colour,item,history,price,click,buy']
  for (let row = 0; row < count; row++) {
    const colour = ['red', 'green', 'blue'][random.int(3)] as string
    const item = random.int(12)
    const history = Array.from({ length: random.int(5) }, () => random.int(12))
    const price = random.normal()
    const click = chance(1 / (1 + Math.exp(-(colour === 'red' ? 2 : -1) - price)))
    const buy = chance(history.some((i) => i < 6) ? 0.9 : 0.1)
    lines.push([random.int(40), colour, `i${item}`, history.map((i) => `i${i}`).join(' '), price, click, buy].join(','))
  }
  return `${lines.join('\n')}\n`
}

const schema = {
  user: { kind: 'groupId' },
  colour: { kind: 'categorical' },
  item: { kind: 'categorical', vocabulary: 'item' },
  history: { kind: 'sequence', vocabulary: 'item' },
  price: { kind: 'numeric', standardise: true },
  click: { kind: 'label' },
  buy: { kind: 'label' },
}

const optionsOf = (more: Record<string, unknown>) =>
  rankingTrainOptions.parse({
    system: 'mmoe',
    data: at('rows.csv'),
    schema,
    testShare: 0.2,
    dimensions: 8,
    targets: { history: 'item' },
    experts: 2,
    expertSizes: [16],
    towerSizes: [8],
    batchSize: 64,
    learningRate: 0.01,
    epochs: 12,
    clipNorm: 5,
    threads: 1,
    ...more,
  })

const lines: string[] = []
const print = (line: string) => lines.push(line)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-ranking-'))
  await writeFile(at('rows.csv'), rowsOf(1, ROWS))
  await writeFile(at('new.csv'), rowsOf(2, 50))
})
afterAll(() => rm(folder, { recursive: true }))

describe('a ranking system', () => {
  it('learns its tasks from a file, and keeps the run in a folder', async () => {
    const { metrics } = await trainRanking(optionsOf({ output: at('mmoe') }), print)
    expect(metrics.click?.auc).toBeGreaterThan(0.8)
    expect(metrics.buy?.auc).toBeGreaterThan(0.75)
    expect(metrics.click?.gauc?.gauc).toBeGreaterThan(0.7)
    const files = ['checkpoints', 'encoding.json', 'log.jsonl', 'report.html', 'run.json']
    expect((await readdir(at('mmoe'))).sort()).toEqual(files)
    expect(lines.join('\n')).toMatch(/task +AUC +GAUC +log-loss +PCOC +ECE +positive\nclick +0\.\d+ ± 0\.\d+/)
  })

  it('is measured again to the same figures, and against another run', async () => {
    const first = lines.find((line) => line.includes('GAUC'))
    await trainRanking(
      optionsOf({
        tasks: ['click'],
        system: 'shared-bottom',
        experts: undefined,
        expertSizes: undefined,
        bottomSizes: [16],
        output: at('single'),
      }),
      print,
    )
    lines.length = 0
    await evaluateRun(evaluateOptions.parse({ run: at('mmoe'), against: at('single'), threads: 1 }), print)
    expect(lines[0]?.trim()).toBe(first?.trim())
    expect(lines[1]).toMatch(
      /^AUC of click, .*mmoe minus .*single: [+-]0\.\d{4}, 95 % interval .* \(paired DeLong\)\.$/,
    )
    expect(lines).toHaveLength(2)
  })

  it('measures averages of its parameters where it keeps them, here and later', async () => {
    lines.length = 0
    const averaged = await trainRanking(optionsOf({ output: at('averaged'), averageDecay: 0.95, epochs: 3 }), print)
    const plain = await trainRanking(optionsOf({ epochs: 3 }), () => undefined)
    expect(averaged.predictions.click).not.toEqual(plain.predictions.click)
    const table = lines.find((line) => line.includes('GAUC'))
    lines.length = 0
    await evaluateRun(evaluateOptions.parse({ run: at('averaged'), threads: 1 }), print)
    expect(lines[0]?.trim()).toBe(table?.trim())
  })

  it('predicts new rows, unknown values among them', async () => {
    await predictRun(
      predictOptions.parse({ run: at('mmoe'), data: at('new.csv'), output: at('p.jsonl'), threads: 1 }),
      print,
    )
    const predicted = (await readFile(at('p.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(predicted).toHaveLength(50)
    for (const { click, buy } of predicted) for (const p of [click, buy]) expect(p > 0 && p < 1).toBe(true)
    const wrong = predictOptions.parse({ run: at('mmoe'), data: at('new.csv'), output: at('p.txt'), threads: 1 })
    await expect(predictRun(wrong, print)).rejects.toThrow(/output should be a file name that ends in \.csv or \.jsonl/)
    expect((await readdir(folder)).filter((name) => name.includes('half'))).toEqual([])
  })

  it.each([
    [{ tasks: ['clicks'] }, /tasks should be labels of the schema: click, buy but got 'clicks'/],
    [{ split: 'by-time' }, /split should be a feature of kind time in the schema but got none/],
    [{ targets: { history: 'items' } }, /targets\.history should be one of .* but got 'items'/],
    [{ schema: { ...schema, price: { kind: 'number' } } }, /price\.kind should be one of .* but got 'number'/],
  ])('refuses %j', async (more, message) => {
    await expect(trainRanking(optionsOf(more), print)).rejects.toThrow(message)
  })

  it('is no run where the folder is none', async () => {
    const none = evaluateOptions.parse({ run: at('none'), threads: 1 })
    await expect(evaluateRun(none, print)).rejects.toThrow(/run\.json should be the options of a run/)
  })
})
