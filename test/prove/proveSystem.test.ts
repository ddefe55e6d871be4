/** The runner of proofs: what it asks for, what it writes, and that a killed one goes on to the same figures. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../../lib/cli/run.js'
import { planProof } from '../../lib/prove/plan.js'
import { proofRows, type RowSource } from '../../lib/prove/proofData.js'
import { proofs } from '../../lib/systems/proofs.js'
import { prove, tinyProof } from './tinyProof.js'

let folder = ''
let whole = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-prove-'))
  whole = join(folder, 'whole')
  await prove(whole)
}, 240_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

/** What a proof says but for when and how fast. */
async function saidBy(output: string) {
  const { verdicts, points, seeds, quick } = JSON.parse(await readFile(join(output, 'proof.json'), 'utf8'))
  return { verdicts, points, seeds, quick }
}

const runsIn = async (output: string): Promise<string[]> =>
  (await readdir(join(output, 'runs'), { recursive: true })).filter((name) => name.endsWith('.json')).sort()

describe('proveSystem', () => {
  it('writes tables, figures, costs and a page, and a verdict for every line', async () => {
    const { verdicts } = await saidBy(whole)
    const told = verdicts.map(({ name, verdict, figure }: Record<string, string>) => [name, verdict, figure])
    expect(told.slice(1)).toEqual([
      ['second', 'FAIL', 'no'],
      ['only full', 'not run', 'only in the full proof: small / rho 0.5'],
      ['without a bar', 'reported', 'so much'],
      ['absent', 'not run', 'data absent: a set that nobody has'],
      ['unfit', 'not run', 'it has no times'],
    ])
    expect(told[0]?.slice(0, 2)).toEqual(['first', 'pass'])
    const page = await readFile(join(whole, 'proof.md'), 'utf8')
    expect(page).toContain('1 passed, 1 FAILED, 3 not run, 1 reported without a bar')
    expect(page).toContain('2 (reduced from 3)')
    expect(await readFile(join(whole, 'cost.md'), 'utf8')).toContain('samples/s trained')
    expect(await readFile(join(whole, 'report.html'), 'utf8')).toContain('<svg')
    expect(await runsIn(whole)).toHaveLength(8)
  })

  it('makes no run twice', async () => {
    let asked = 0
    const rows: RowSource = (...of) => {
      asked++
      return proofRows(...of)
    }
    await prove(whole, { rows })
    expect(asked).toBe(0)
  })

  it('goes on after a failure, and makes anew what is half written or of other settings', async () => {
    const output = join(folder, 'failed')
    let left = 2
    const rows: RowSource = (...of) => {
      if (left-- === 0) throw new Error('the disk is gone')
      return proofRows(...of)
    }
    await expect(prove(output, { rows })).rejects.toThrow('the disk is gone')
    const made = await runsIn(output)
    expect(made).toHaveLength(4)
    await truncate(join(output, 'runs', made[0]?.replace('.json', '.f64') as string), 8)
    await writeFile(join(output, 'runs', made[1] as string), '{"half')
    const other = join(output, 'runs', made[2] as string)
    await writeFile(other, (await readFile(other, 'utf8')).replace('"batchSize": 128', '"batchSize": 64'))
    const lines: string[] = []
    await prove(output, {}, (line) => lines.push(line))
    expect(lines).toContain('1 of 8 runs are there already.')
    expect(await saidBy(output)).toEqual(await saidBy(whole))
  })

  it('goes on after a kill', async () => {
    const output = join(folder, 'killed')
    const script = fileURLToPath(new URL('tinyProof.ts', import.meta.url))
    const child = spawn(process.execPath, ['--import', 'tsx', script, output], { stdio: 'ignore' })
    const gone = new Promise((resolve) => child.on('close', resolve))
    const done = async () => (existsSync(join(output, 'runs')) ? (await runsIn(output)).length : 0)
    while ((await done()) < 3 && child.exitCode === null) await setTimeout(5)
    child.kill('SIGKILL')
    await gone
    expect(await done()).toBeGreaterThanOrEqual(3)
    await prove(output)
    expect(await saidBy(output)).toEqual(await saidBy(whole))
  })
})

describe('planProof', () => {
  it('trains what the lines and names that were asked for need', () => {
    const plan = (only: string, quick = true) => planProof(tinyProof, { quick, only })
    expect(plan('first').runs.map(({ path }) => path)).toEqual([
      'small-rho-0/chorus-1',
      'small-rho-0/esmm-1',
      'small-rho-0/chorus-2',
      'small-rho-0/esmm-2',
    ])
    expect(plan('first').lines).toEqual(['first'])
    expect(plan('0.9 / ESMM').runs.map(({ path }) => path)).toEqual(['small-rho-0.9/esmm-1', 'small-rho-0.9/esmm-2'])
    expect(plan('only full').runs).toEqual([])
    expect(plan('only full', false).runs).toHaveLength(6)
    expect(() => plan('frist')).toThrow(
      "prove: only should be part of the name of an acceptance line, an experiment, a point or an arm but got 'frist'. Did you mean 'first'?",
    )
  })

  it.each(Object.entries(proofs))('%s: names of points, arms and lines are there and are one each', (_, proof) => {
    const { lines, runs } = planProof(proof, { quick: false })
    expect(new Set(lines).size).toBe(lines.length)
    expect(new Set(runs.map(({ path }) => path)).size).toBe(runs.length)
    const points = new Set(runs.map(({ pointName }) => pointName))
    for (const { needs = [] } of proof.acceptance) for (const point of needs) expect(points).toContain(point)
    for (const { experiment, quickPoints = [] } of proof.plots?.map(({ experiment }) => ({
      experiment,
      quickPoints: [],
    })) ?? []) {
      expect(proof.experiments.map(({ name }) => name)).toContain(experiment)
      expect(quickPoints).toEqual([])
    }
  })
})

describe('kairos prove', () => {
  it.each([
    [['prove'], "kairos prove: system should be 'chorus-cvr' or 'farm' or 'pantheon' but got nothing.\n"],
    [['prove', 'frm'], "kairos prove: 'frm' should be 'farm'.\n"],
    [['prove', 'farm', '--seeds', '0'], 'kairos prove: --seeds should be an integer from 1 to 1000 but got 0.\n'],
    [['prove', 'farm', '--quik'], "kairos prove: '--quik' should be '--quick'.\n"],
  ])('%j', async (words, message) => {
    let said = ''
    const write = process.stderr.write
    process.stderr.write = ((text: string) => {
      said += text
      return true
    }) as never
    try {
      expect(await runCli(words)).not.toBe(0)
    } finally {
      process.stderr.write = write
    }
    expect(said).toBe(message)
  })
})
