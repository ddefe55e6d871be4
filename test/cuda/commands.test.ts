/** `--device` of the command line: a run is trained, measured and goes on where it is told. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { runCli } from '../../lib/cli/run.js'
import { createRandom } from '../../lib/core/random.js'
import { describe as describeAddon } from '../../lib/runtime/index.js'
import { lacking } from './lacking.js'

const ROWS = 600

/** Clicks follow the numbers, purchases the colour too. */
function csv(seed: number, count: number): string {
  const random = createRandom(seed)
  const chance = (logit: number) => Number(random.uniform() < 1 / (1 + Math.exp(-logit)))
  const lines = Array.from({ length: count }, () => {
    const [price, age] = [random.normal(), random.normal()]
    const colour = random.int(3)
    return [price, age, `c${colour}`, chance(3 * price - age), chance(2 * age + 2 * colour - 2)].join(',')
  })
  return `price,age,colour,click,buy\n${lines.join('\n')}\n`
}

const config = (colour: boolean) => `system: mmoe
schema:
  price: { kind: numeric, standardise: true }
  age: { kind: numeric }
${colour ? '  colour: { kind: categorical }\n' : ''}  click: { kind: label }
  buy: { kind: label }
dimensions: 4
experts: 2
expertSizes: [8]
towerSizes: [4]
batchSize: 64
learningRate: 0.02
dropout: 0.1
threads: 1
`

let folder = ''
const at = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-device-'))
  await writeFile(at('rows.csv'), csv(1, ROWS))
  await writeFile(at('new.csv'), csv(2, 40))
  await writeFile(at('numbers.yaml'), config(false))
  await writeFile(at('colours.yaml'), config(true))
})
afterAll(() => rm(folder, { recursive: true }))
afterEach(() => vi.restoreAllMocks())

async function kairos(...words: string[]) {
  let text = ''
  const collect = (chunk: unknown) => {
    text += chunk
    return true
  }
  vi.spyOn(process.stdout, 'write').mockImplementation(collect)
  vi.spyOn(process.stderr, 'write').mockImplementation(collect)
  const code = await runCli(words)
  vi.restoreAllMocks()
  return { code, text }
}

const train = (name: string, epochs: number, ...words: string[]) =>
  kairos('train', '--config', at(`${name}.yaml`), '--data', at('rows.csv'), '--epochs', `${epochs}`, ...words)

async function predictions(run: string, device: string): Promise<number[]> {
  const output = at(`${run}-${device}.csv`)
  const words = ['--run', at(run), '--data', at('new.csv'), '--output', output, '--device', device, '--threads', '1']
  const { code, text } = await kairos('predict', ...words)
  expect(code, text).toBe(0)
  const [, ...lines] = (await readFile(output, 'utf8')).trim().split('\n')
  return lines.flatMap((line) => line.split(',').slice(1).map(Number))
}

const embeddings = ['gather', 'gatherBackward', 'embeddingBag', 'embeddingBags', 'coalesce', 'updateRows', 'tableSlots']
const names = ['numbers', ...(lacking.some((name) => embeddings.includes(name)) ? [] : ['colours'])]

describe.skipIf(process.platform !== 'linux' || process.env.KAIROS_ADDON)('--device emulated', () => {
  it.each(names)('%s: trains, evaluates and predicts as the processor does', async (name) => {
    const run = `${name}-run`
    const trained = await train(name, 2, '--output', at(run), '--device', 'emulated')
    expect(trained.code, trained.text).toBe(0)
    expect(trained.text).toMatch(/click .*\d/)
    for (const device of ['emulated', 'cpu']) {
      const { code, text } = await kairos('evaluate', '--run', at(run), '--device', device, '--threads', '1')
      expect(code, text).toBe(0)
    }
    const [there, here] = [await predictions(run, 'emulated'), await predictions(run, 'cpu')]
    expect(here).toHaveLength(80)
    here.forEach((value, i) => expect(there[i]).toBeCloseTo(value, 4))
  })

  it('a run goes on on another device', async () => {
    expect((await train('numbers', 2, '--output', at('moves'), '--device', 'emulated')).code).toBe(0)
    const more = await train('numbers', 3, '--output', at('moves'), '--resume', '--device', 'cpu')
    expect(more.code, more.text).toBe(0)
    expect(more.text).toMatch(/of 3, the best/)
  })
})

describe('--device', () => {
  it.skipIf(describeAddon().cuda.available)('cuda says in one sentence why there is none', async () => {
    const { code, text } = await train('numbers', 1, '--device', 'cuda')
    expect(code).toBe(1)
    expect(text.trim().split('\n').at(-1)).toMatch(/^device: cuda should be .*(GPU|built with CUDA).* but got .*$/)
  })

  it('is one of those that there are', async () => {
    const { code, text } = await train('numbers', 1, '--device', 'abacus')
    expect(code).toBe(2)
    expect(text).toContain("--device should be 'cpu' or 'cuda' or 'emulated' but got 'abacus'")
    expect((await kairos('prove', 'chorus-cvr', '--device', 'abacus')).text).toContain("but got 'abacus'")
    expect((await kairos('train', '--help')).text).toMatch(/--device=<cpu\|cuda\|emulated>/)
  })
})
