/** The commands from end to end: a file goes in, a table comes out. */
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rowCount, rowOf } from '../../lib/core/ragged.js'
import { plantedSequences } from '../../lib/data/planted.js'
import { explainSystem } from '../../lib/train/explainSystem.js'
import { demoOptions, explainOptions, parseOptions, trainOptions } from '../../lib/train/options.js'
import { runDemo } from '../../lib/train/runDemo.js'
import { trainSystem } from '../../lib/train/trainSystem.js'

const small = { maxLength: 12, dimensions: 16, epochs: 3, learningRate: 5e-3, dropout: 0.1, cutoff: 2, threads: 2 }

let folder = ''
let data = ''

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-commands-'))
  data = join(folder, 'sequences.txt')
  const sequences = plantedSequences({ users: 200, signal: 0.9, seed: 1 })
  const line = (row: number) => [row + 1, ...rowOf(sequences, row)].join(' ')
  await writeFile(data, `${Array.from({ length: rowCount(sequences) }, (_, row) => line(row)).join('\n')}\n`)
})

afterAll(() => rm(folder, { recursive: true, force: true }))

async function printed<T>(run: (print: (line: string) => void) => Promise<T>): Promise<{ result: T; text: string }> {
  const lines: string[] = []
  const result = await run((line) => lines.push(line))
  return { result, text: lines.join('\n') }
}

const train = (raw: Record<string, unknown>) =>
  printed((print) => trainSystem(parseOptions(trainOptions, raw, 'train'), print))

describe('train', () => {
  it('ranks by popularity, and says so when the counts leak', async () => {
    const honest = await train({ system: 'popularity', data })
    const leaking = await train({ system: 'popularity', data, popularityCounts: 'all' })
    expect(honest.text).toMatch(/200 users are ranked/)
    expect(honest.text).toMatch(/HR {5}0\.\d{4} {3}0\.\d{4}/)
    expect(honest.text).not.toMatch(/leak/)
    expect(leaking.text).toMatch(/the figures leak the answers/)
    expect(leaking.result.metrics.MRR).toBeGreaterThan(honest.result.metrics.MRR as number)
  })

  it('trains the frequency system to the same bits from the same seed', async () => {
    const one = await train({ system: 'frequency', data, ...small })
    const two = await train({ system: 'frequency', data, ...small })
    const other = await train({ system: 'frequency', data, ...small, seed: 7 })
    expect(one.text).toMatch(/Kept epoch \d of 3, the best by validation NDCG@10/)
    expect([...two.result.ranks]).toEqual([...one.result.ranks])
    expect([...other.result.ranks]).not.toEqual([...one.result.ranks])
  })

  it('keeps a run in a folder, and resumes it to the same ranks', async () => {
    const output = join(folder, 'run')
    const whole = await train({ system: 'frequency', data, ...small })
    await train({ system: 'frequency', data, ...small, epochs: 2, output })
    const again = { system: 'frequency', data, ...small, output }
    await expect(train(again)).rejects.toThrow(/empty, or a run to resume but got one with checkpoints/)
    await expect(train({ ...again, resume: true, learningRate: 1 })).rejects.toThrow(
      /learningRate is 0\.005 there, 1 here/,
    )
    const resumed = await train({ ...again, resume: true })
    expect([...resumed.result.ranks]).toEqual([...whole.result.ranks])
    expect(resumed.text).toMatch(/Report: .*run\/report\.html/)
    expect((await readdir(output)).sort()).toEqual(['checkpoints', 'log.jsonl', 'report.html', 'run.json'])
    const report = await readFile(join(output, 'report.html'), 'utf8')
    expect(report).toMatch(
      /frequency on sequences\.txt.*Ended after 3 epochs, resumed once.*Test.*<th scope="row">HR<\/th>/s,
    )
    expect(() => parseOptions(trainOptions, { system: 'frequency', data, resume: true }, 'train')).toThrow(
      /train: output should be the folder of the run to resume but got nothing/,
    )
  })

  it('refuses a file that is not there in one sentence', async () => {
    await expect(train({ system: 'popularity', data: join(folder, 'nothing.txt') })).rejects.toThrow(
      /nothing\.txt should be a readable text file/,
    )
  })
})

describe('explain', () => {
  it('prints parameters, passes, plan and shares of time', async () => {
    const { epochs: _, ...model } = small
    const options = parseOptions(explainOptions, { system: 'frequency', data, ...model, batchSize: 32 }, 'explain')
    const { text } = await printed((print) => explainSystem(options, print))
    expect(text).toMatch(/items\.weight +\[385, 16\] +6,160/)
    expect(text).toMatch(/frequency: [\d,]+ trainable parameters/)
    for (const pass of [
      'trace',
      'simplify',
      'autodiff',
      'expand',
      'fuse epilogues',
      'fuse elementwise',
      'fuse row updates',
      'schedule and plan',
    ]) {
      expect(text).toMatch(new RegExp(`== ${pass}: \\d+ ops, .* moved, .*FLOP at batch 32`))
    }
    expect(text).toMatch(/checks; then \d+ steps write \d+ variables/)
    expect(text).toMatch(/Temporaries: .* in the arena, .* if none were shared/)
    expect(text).toMatch(/matmul +\d+ +\d+\.\d %/)
  })

  it('prints the profile alone', async () => {
    const { epochs: _, ...model } = small
    const raw = { system: 'frequency', data, ...model, batchSize: 32, profile: true }
    const { text } = await printed((print) => explainSystem(parseOptions(explainOptions, raw, 'explain'), print))
    expect(text).not.toContain('== ')
    expect(text).toMatch(/^Kernels of one step: \d+, of which \d+ write variables\.$/m)
    expect(text).toMatch(/^Moved by them: .*, \d+\.\dx the .* if no temporary left the caches\.$/m)
    expect(text).toMatch(/^Temporaries: .* in the arena, .* if none were shared \(\d+\.\dx\)\.$/m)
    expect(text).toMatch(/^Time of one step: .* ms on 2 threads, .* ms in kernels and \d+\.\d % outside\.$/m)
    expect(text).toMatch(/^kernel +steps +share of time +ms +moved +GB\/s +GFLOP\/s$/m)
  })
})

describe('demo', () => {
  it('ends with the table, a verdict and the next command', async () => {
    const options = parseOptions(demoOptions, { users: 100, epochs: 1, threads: 2 }, 'demo')
    const { text, result } = await printed((print) => runDemo(options, print))
    expect(text).toMatch(/popularity .*\nno-frequency .*\nfrequency /)
    expect(text).toMatch(/frequency minus no-frequency, NDCG@10: [+-]\d\.\d{4}, 95 % interval/)
    expect(text).toMatch(/npm start -- --signal 0/)
    expect(result.ranks.frequency).toHaveLength(100)
  })
})

const lastFm =
  process.env.KAIROS_LASTFM ?? fileURLToPath(new URL('../../../shared/data/lastfm-seq/LastFM.txt', import.meta.url))
const absent = !existsSync(lastFm)
const needs = absent ? ' (skipped: set KAIROS_LASTFM to the LastFM sequence file)' : ''

describe.skipIf(absent)(`on LastFM${needs}`, () => {
  it.each([
    ['train', 0.0385, 0.018],
    ['all', 0.044, 0.02],
  ])('popularity with %s counts has the known figures', async (popularityCounts, hitRate, gain) => {
    const { metrics } = (await train({ system: 'popularity', data: lastFm, popularityCounts })).result
    expect(metrics['HR@10']).toBeCloseTo(hitRate, 4)
    expect(metrics['NDCG@10']).toBeCloseTo(gain, 4)
  })

  it('explain counts the published number of parameters', async () => {
    const options = parseOptions(explainOptions, { system: 'frequency', data: lastFm, batchSize: 16 }, 'explain')
    const { text } = await printed((print) => explainSystem(options, print))
    expect(text).toMatch(/frequency: 337,088 trainable parameters/)
  })
})
