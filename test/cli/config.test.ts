/** Options from a file, and which system takes which. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { runCli } from '../../lib/cli/run.js'

const trainSystem = vi.hoisted(() => vi.fn())
const trainRanking = vi.hoisted(() => vi.fn())
vi.mock('../../lib/train/trainSystem.js', () => ({ trainSystem }))
vi.mock('../../lib/train/trainRanking.js', () => ({ trainRanking }))

let folder = ''
let err = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-config-'))
})
afterAll(() => rm(folder, { recursive: true }))
beforeEach(() => {
  err = ''
  for (const mock of [trainSystem, trainRanking]) mock.mockReset()
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
})

async function train(config: string, flags = ''): Promise<number> {
  const path = join(folder, 'config.yaml')
  await writeFile(path, config)
  return runCli(['train', '--config', path, ...flags.split(' ').filter((word) => word !== '')])
}

const rows = 'system: mmoe\ndata: rows.csv\nschema:\n  age: { kind: numeric }\n  click: { kind: label }\n'

describe('a config file', () => {
  it('gives options by either spelling; flags count more', async () => {
    expect(
      await train('system: sasrec\ndata: f.txt\nbatch-size: 32\nmaxLength: 20\nloss: binary', '--batch-size 64'),
    ).toBe(0)
    expect(trainSystem.mock.lastCall?.[0]).toMatchObject({
      system: 'sasrec',
      batchSize: 64,
      maxLength: 20,
      loss: 'binary',
    })
  })

  it('may be JSON, and holds the schema of rows', async () => {
    const json = { system: 'mmoe', data: 'r.csv', schema: { age: { kind: 'numeric' } }, expertSizes: [8], epochs: 2 }
    expect(await train(JSON.stringify(json), '--tower-sizes 16,8 --tasks click,buy')).toBe(0)
    expect(trainRanking.mock.lastCall?.[0]).toMatchObject({
      schema: { age: { kind: 'numeric' } },
      expertSizes: [8],
      towerSizes: [16, 8],
      tasks: ['click', 'buy'],
      epochs: 2,
      split: 'in-order',
    })
  })

  it.each([
    ['system: mmoe\ndata: [', '', /config\.yaml: .* at line 2, column/],
    ['- a\n- b', '', /should hold options by name/],
    ['system: mmoe\nbatch-size: 1\nbatchSize: 2', '', /has 'batchSize' twice/],
    ['system: sasrecs\ndata: f', '', /'sasrecs' should be 'sasrec'/],
    ['system: sasrec\ndata: f\nepoch: 3', '', /'epoch' should be 'epochs'/],
    ['system: sasrec\ndata: f\nepochs: many', '', /--epochs should be an integer from 1 to 100000 but got 'many'/],
    [
      'system: sasrec\ndata: f',
      '--alpha 0.5',
      /--alpha should be an option of sasrec, which has .* but got one that it/,
    ],
    ['system: frequency\ndata: f', '--experts 3', /--experts.* no such option/],
    [rows, '--bottom-sizes 3', /--bottom-sizes should be an option of mmoe, which has .*--expert-sizes/],
    [rows, '--max-length 3', /--max-length.* no such option/],
    [rows, '--tower-sizes 3,x', /--tower-sizes should be a list of whole numbers but got/],
    [rows, '--test-share 0.95', /--test-share should be less than 0.90/],
    ['system: mmoe\ndata: f', '', /--schema should be an object but got nothing/],
  ])('%j %s is refused with exit code 2', async (config, flags, message) => {
    expect(await train(config, flags)).toBe(2)
    expect(err).toMatch(message)
    expect(trainSystem).not.toHaveBeenCalled()
    expect(trainRanking).not.toHaveBeenCalled()
  })

  it('that is not there is said to be so', async () => {
    expect(await runCli(['train', '--config', join(folder, 'none.yaml')])).toBe(2)
    expect(err).toMatch(/none\.yaml: ENOENT/)
  })
})
