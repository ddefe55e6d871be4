/** A moment of each fuzzer with a fixed seed, and proof that a fuzzer which finds something is heard. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { input } from '../../lib/graph/leaf.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { softmax } from '../../lib/ops/index.js'
import { Executor } from '../../lib/runtime/index.js'
import { decode, encode } from './fileFormat.js'
import { watch } from './watch.js'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kairos-fuzz-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('the addon', () => {
  it.each(['programFile', 'border', 'graphs'])('stands a moment of %s', async (fuzzer) => {
    const { passed, summary, report } = await watch({ fuzzer, seed: 1, seconds: 2, folder })
    expect(passed, `${summary}\n${report}`).toBe(true)
    expect(summary).toMatch(/[1-9]\d* runs/)
  })
})

describe('a fuzzer that finds', () => {
  it.each([
    ['abort', /died of SIGABRT/],
    ['hang', /hangs for 3 s/],
    ['silence', /waits for a promise that never settles/],
    ['finding', /ended with 1/],
  ])('%s is reported with seed, iteration and input', async (fuzzer, ending) => {
    const { passed, summary, report } = await watch({ fuzzer, seed: 5, seconds: 60, folder, patience: 3 })
    expect(passed).toBe(false)
    expect(summary).toMatch(ending)
    expect(summary).toContain('at seed 5, iteration 7')
    expect(readFileSync(join(folder, `${fuzzer}-5-7`), 'utf8')).toBe('input 7')
    if (fuzzer === 'finding') expect(report).toContain('found on purpose')
  })
})

describe('found before', () => {
  it('empty rows are no work, however many a file says there are', async () => {
    const { file } = decode(new GraphRunner({ y: softmax(input('x', [5, 3])) }).programFile)
    file.dims = file.dims.map(([term]) => (term?.coefficient === 5n ? [{ coefficient: 2n ** 53n, factors: [] }] : []))
    await using executor = new Executor({ threads: 1 })
    const executable = await (await executor.loadProgram(encode(file))).bind({})
    const { outputs } = await executable.run({
      counts: {},
      feeds: { x: new Float32Array() },
      stores: [null, null, null],
    })
    expect(outputs.y?.shape).toEqual([2 ** 53, 0])
  })
})
