/** Systems on simulated platforms through the command line: a preset goes in; training, its resumption and all reading commands. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { runCli } from '../../lib/cli/run.js'

let folder = ''
let out = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-simulated-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))
beforeEach(() => {
  out = ''
  const collect = (text: string | Uint8Array) => {
    out += text
    return true
  }
  vi.spyOn(process.stdout, 'write').mockImplementation(collect)
  vi.spyOn(process.stderr, 'write').mockImplementation(collect)
})
afterEach(() => vi.restoreAllMocks())

/** What a command printed. */
async function kairos(...words: string[]): Promise<string> {
  const before = out.length
  const code = await runCli(words)
  expect(`${code} ${code === 0 ? '' : out.slice(before)}`).toBe('0 ')
  return out.slice(before)
}

describe.each([
  ['farm', ['--users', '120', '--video-acts', '20', '--live-acts', '6', '--candidates', '6'], [], 'click', 720],
  // A ramp is a share of all steps, so that it would end elsewhere in a shorter run.
  ['chorus-cvr', ['--events', '4000', '--users', '150'], ['--align-ramp', '0'], 'CTR', 4000],
  ['pantheon', ['--events', '4000', '--users', '150', '--authors', '60'], [], 'score on gift', 4000],
] as const)('%s', (system, knobs, flags, task, rows) => {
  it('trains, resumes to the same answers, and is measured, explained and asked', async () => {
    const data = join(folder, system)
    const simulated = await kairos('simulate', system, '--output', data, ...knobs)
    expect(simulated).toContain(`kairos train --system ${system} --config ${join(data, 'train.yaml')}`)

    const train = (run: string, epochs: number, ...more: string[]) =>
      kairos(
        ...['train', '--system', system, '--config', join(data, 'train.yaml'), '--output', join(folder, run)],
        ...['--epochs', `${epochs}`, '--batch-size', '256', '--threads', '1', '--patience', '100', ...flags, ...more],
      )
    const whole = await train(`${system}-whole`, 2)
    expect(whole).toMatch(new RegExp(`\\n${task} +\\d?\\.\\d+`))
    await train(`${system}-run`, 1)
    await train(`${system}-run`, 2, '--resume')

    const file = data + (system === 'farm' ? '/rows.parquet' : '/events.parquet')
    const answers: string[] = []
    for (const run of ['whole', 'run']) {
      const output = join(folder, `${system}-${run}.csv`)
      await kairos('predict', '--run', join(folder, `${system}-${run}`), '--data', file, '--output', output)
      answers.push(await readFile(output, 'utf8'))
    }
    expect(answers[1]).toBe(answers[0])
    expect(answers[0]?.trim().split('\n')).toHaveLength(rows + 1)

    // With its losses weighed step by step.
    const combined = await train(`${system}-combined`, 1, '--combine', 'mgda')
    expect(combined).toMatch(new RegExp(`\\n${task} +\\d?\\.\\d+`))

    expect(await kairos('evaluate', '--run', join(folder, `${system}-run`))).toMatch(
      new RegExp(`\\n${task} +\\d?\\.\\d+`),
    )
    const explained = await kairos('explain', system, '--config', join(data, 'train.yaml'))
    expect(explained).toMatch(/parameters/i)
  }, 120_000)
})
