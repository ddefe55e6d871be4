import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { diagnosis } from '../../lib/cli/doctor.js'
import { runCli } from '../../lib/cli/run.js'
import { checkArguments, editDistance, nearest } from '../../lib/cli/usage.js'
import { KairosError } from '../../lib/core/errors.js'
import { systems } from '../../lib/systems/index.js'

const trainSystem = vi.hoisted(() => vi.fn())
const explainSystem = vi.hoisted(() => vi.fn())
const runDemo = vi.hoisted(() => vi.fn())
vi.mock('../../lib/train/trainSystem.js', () => ({ trainSystem }))
vi.mock('../../lib/train/explainSystem.js', () => ({ explainSystem }))
vi.mock('../../lib/train/runDemo.js', () => ({ runDemo }))

const systemNames = Object.keys(systems)
  .map((name) => `'${name}'`)
  .join(' or ')

let out = ''
let err = ''
beforeEach(() => {
  out = ''
  err = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  for (const mock of [trainSystem, explainSystem, runDemo]) mock.mockReset()
})

const kairos = (line: string) => runCli(line.split(' ').filter((word) => word !== ''))

describe('kairos train', () => {
  it('passes typed options with their defaults', async () => {
    expect(await kairos('train --system popularity --data f.txt --split leave-one-out --rank full')).toBe(0)
    expect(trainSystem.mock.lastCall?.[0]).toMatchObject({
      system: 'popularity',
      data: 'f.txt',
      split: 'leave-one-out',
      rank: 'full',
      popularityCounts: 'train',
      batchSize: 256,
      maxLength: 50,
      dimensions: 64,
    })
    expect(await kairos('train --system=frequency --data=f.txt --popularity-counts=all --learning-rate 1e-2')).toBe(0)
    expect(trainSystem.mock.lastCall?.[0]).toMatchObject({ popularityCounts: 'all', learningRate: 0.01 })
  })

  it.each([
    ['--systm popularity', "kairos train: '--systm' should be '--system'."],
    ['--System popularity', "kairos train: '--System' should be '--system'."],
    ['--popularityCounts all', "kairos train: '--popularityCounts' should be '--popularity-counts'."],
    ['-data x', "kairos train: '-data' should be '--data'."],
    ['--colour red', "kairos train: unknown flag '--colour'. `kairos train --help` lists the flags."],
    ['--system popularity', 'kairos train: --data should be given but got nothing.'],
    ['--data x', `kairos train: --system should be ${systemNames} but got nothing.`],
    ['--data x --system popularit', "kairos train: 'popularit' should be 'popularity'."],
    ['--data', 'kairos train: --data needs a value.'],
    ['--data= --system popularity', 'kairos train: --data needs a value.'],
    ['--data --system popularity', 'kairos train: --data needs a value.'],
    ['--data x --data y', 'kairos train: --data is given twice.'],
    ['popularity', "kairos train: 'popularity' is one word too many."],
    ['system popularity', "kairos train: 'system' is one word too many: write --system."],
    [
      '--data x --system frequency --epochs 1.5',
      'kairos train: --epochs should be an integer from 1 to 100000 but got 1.5.',
    ],
    ['--data x --system frequency --epochs 0x10', "--epochs should be an integer from 1 to 100000 but got '0x10'."],
    ['--data x --system frequency --dropout 1', '--dropout should be a number from 0, below 1 but got 1.'],
    ['--data x --system frequency --alpha -1', '--alpha should be a number from 0 to 1 but got -1.'],
    ['--data x --system frequency --heads 3', '--heads should be a divisor of dimensions, which is 64, but got 3.'],
    [
      '--data x --system frequency --max-length 8 --cutoff 6',
      '--cutoff should be at most 5, the frequency bins of a history of 8, but got 6.',
    ],
  ])('refuses %s with exit code 2', async (flags, message) => {
    expect(await kairos(`train ${flags}`)).toBe(2)
    expect(err).toContain(message)
    expect(err.trimEnd()).not.toContain('\n')
    expect(trainSystem).not.toHaveBeenCalled()
  })

  it('prints a Kairos error as one sentence, the stack only when asked, and exits with 1', async () => {
    trainSystem.mockRejectedValue(new KairosError('KAIROS_DATA', { op: 'readSequences', argument: 'f', got: 'x' }))
    expect(await kairos('train --system popularity --data f')).toBe(1)
    expect(err).toBe('readSequences: f: x\n')
    vi.stubEnv('KAIROS_DEBUG', '1')
    expect(await kairos('train --system popularity --data f')).toBe(1)
    expect(err).toMatch(/\n {4}at /)
  })

  it('keeps the stack of any other error', async () => {
    trainSystem.mockRejectedValue(new TypeError('a fault'))
    expect(await kairos('train --system popularity --data f')).toBe(1)
    expect(err).toMatch(/^TypeError: a fault\n {4}at /)
  })
})

describe('kairos', () => {
  it('explains, with the system as a word', async () => {
    expect(await kairos('explain frequency --data f.txt')).toBe(0)
    expect(explainSystem.mock.lastCall?.[0]).toMatchObject({ system: 'frequency', data: 'f.txt', graphs: false })
    expect(await kairos('explain --graphs frequency --data f.txt')).toBe(0)
    expect(explainSystem.mock.lastCall?.[0]).toMatchObject({ system: 'frequency', graphs: true })
    expect(await kairos('explain --data f.txt')).toBe(2)
    expect(err).toContain(`kairos explain: system should be ${systemNames} but got nothing.`)
  })

  it('demonstrates', async () => {
    expect(await kairos('demo --signal 0')).toBe(0)
    expect(runDemo.mock.lastCall?.[0]).toMatchObject({ signal: 0 })
    expect(await kairos('demo --signal 2')).toBe(2)
    expect(err).toContain('kairos demo: --signal should be a number from 0 to 1 but got 2.')
  })

  it('lists systems', async () => {
    expect(await kairos('systems')).toBe(0)
    expect(out).toMatch(/^system +what it is\npopularity +\S.*\nsasrec +\S.*\nfrequency +\S.*\nmmoe +\S/)
  })

  it('helps, in general and with a command', async () => {
    expect(await kairos('')).toBe(0)
    expect(await kairos('help')).toBe(0)
    for (const name of ['train', 'evaluate', 'predict', 'explain', 'demo', 'systems', 'doctor'])
      expect(out).toContain(name)
    out = ''
    expect(await kairos('train --systm x --help')).toBe(0)
    expect(out).toContain('--popularity-counts=<train|all>')
    expect(out).toContain('(default 200; 20 for rows)')
    expect(out).not.toContain('\x1b')
    expect(out).not.toContain(' \n')
    const general = out
    out = ''
    expect(await kairos('help train')).toBe(0)
    expect(out).toBe(general)
  })

  it('tells its version', async () => {
    expect(await kairos('--version')).toBe(0)
    expect(out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it('suggests a command', async () => {
    expect(await kairos('trian')).toBe(2)
    expect(err).toBe("kairos: 'trian' should be 'train'.\n")
    err = ''
    expect(await kairos('constructor')).toBe(2)
    expect(err).toBe(
      "kairos: unknown command 'constructor'. The commands are train, evaluate, predict, explain, simulate, prove, demo, systems, doctor.\n",
    )
  })
})

describe('doctor', () => {
  it('reports the addon and names what is absent', () => {
    vi.stubEnv('KAIROS_CPU', 'avx2')
    const rows = Object.fromEntries(
      diagnosis({
        version: '0.0.1',
        cpu: { name: 'Some CPU', cores: 4, variants: ['baseline', 'avx2'] },
        cuda: {
          available: false,
          reason: 'built without CUDA',
          gpus: [],
          cublasLt: { available: false, reason: 'not on this machine' },
        },
        oneDnn: { available: false, reason: 'not found at build time' },
        kernels: ['copy', 'matmul'],
      }),
    )
    expect(rows).toMatchObject({
      processor: 'Some CPU, 4 cores',
      variants: 'baseline, avx2; avx2 is used (KAIROS_CPU=avx2)',
      CUDA: 'absent: built without CUDA',
      cuBLASLt: 'absent: not on this machine',
      oneDNN: 'absent: not found at build time',
      kernels: '2',
    })
    expect(rows.Kairos).toContain('(addon 0.0.1)')
  })

  it('still describes the machine without the addon', () => {
    const names = diagnosis(undefined).map(([name]) => name)
    expect(names).toEqual(['Kairos', 'Node', 'platform', 'memory', 'threads'])
  })
})

describe('checkArguments', () => {
  const definitions = { file: { type: 'string' }, quick: { type: 'boolean' }, word: { type: 'positional' } } as const

  it('ties values to their flags', () => {
    expect(checkArguments('x', ['--file', '-1', 'w', '--quick'], definitions)).toEqual(['--file=-1', 'w', '--quick'])
    expect(checkArguments('x', ['--file=a=b'], definitions)).toEqual(['--file=a=b'])
  })

  it('refuses a value for a switch', () => {
    expect(() => checkArguments('x', ['--quick=yes'], definitions)).toThrow('kairos x: --quick takes no value.')
  })
})

describe('near misses', () => {
  it.each([
    ['', '', 0],
    ['abc', 'abc', 0],
    ['abc', '', 3],
    ['kitten', 'sitting', 3],
    ['trian', 'train', 1],
    ['systm', 'system', 1],
  ])('%j and %j are %i edits apart', (a, b, edits) => {
    expect(editDistance(a, b)).toBe(edits)
    expect(editDistance(b, a)).toBe(edits)
  })

  it('are not found where nothing is near', () => {
    expect(nearest('xyz', ['data', 'system'])).toBeUndefined()
    expect(nearest('dta', ['data', 'system'])).toBe('data')
  })
})

describe('kairos simulate', () => {
  it.each([
    ['farn', "kairos simulate: 'farn' should be 'farm'."],
    ['farm', 'kairos simulate: --output should be given but got nothing.'],
    ['farm --output x --omga 1', "kairos simulate: '--omga' should be '--omega'."],
    ['farm --output x --omega 2', 'kairos simulate: --omega should be a number from 0 to 1 but got 2.'],
    ['farm --output x --click-scale 3', 'kairos simulate: --click-scale is a knob of chorus-cvr, not of farm.'],
    [
      'pantheon --output x --jump 0.001',
      'kairos simulate: --jump should be 0, or a number from 0.02 to 1 but got 0.001.',
    ],
  ])('refuses %s', async (line, message) => {
    expect(await kairos(`simulate ${line}`)).toBe(2)
    expect(err.trim()).toBe(message)
  })
})
