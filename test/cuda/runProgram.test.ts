/** `kairos_run_program`: recordings of the registry walk checked on the processor and on the emulated GPU. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { adam, all, compile, createParameters, field, input, mean, normal, parameter } from '../../lib/index.js'
import { matmul, square } from '../../lib/ops/index.js'
import { Executor, type Store } from '../../lib/runtime/index.js'
import { ops } from '../ops/harness.js'
import { encodeRecording, type RecordedCase } from './recording.js'
import { recordedCases } from './recordPrograms.js'

const binary = fileURLToPath(new URL('../../build/Release/kairos_run_program', import.meta.url))
const opNamed = (name: string) => ops.find((op) => op.name === name) as OpDefinition

describe.skipIf(!existsSync(binary) || process.env.KAIROS_ADDON)('kairos_run_program', () => {
  let folder = ''
  let executor: Executor
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kairos-recording-'))
    executor = new Executor({ threads: 1, device: 'cpu' })
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true })
    await executor.close()
  })

  const save = async (name: string, cases: readonly RecordedCase[]) => {
    const path = join(folder, `${name}.recording`)
    writeFileSync(path, await encodeRecording(cases, executor))
    return path
  }
  const run = (...words: string[]) => {
    const { status, stdout, stderr } = spawnSync(binary, words, { encoding: 'utf8' })
    return { status, stdout, stderr }
  }

  it.each(['softmax', 'matmul', 'topK'])('checks %s, with its gradient and live counts', async (name) => {
    const cases = recordedCases(opNamed(name), true)
    const path = await save(name, cases)
    const onProcessor = run(path)
    expect(onProcessor, onProcessor.stdout).toMatchObject({ status: 0 })
    expect(onProcessor.stdout).toContain(`cpu: ${cases.length} passed, 0 failed, 0 without a kernel`)
    if (process.platform !== 'linux') return
    const onEmulation = run('--device', 'emulated', path)
    expect(onEmulation, onEmulation.stdout).toMatchObject({ status: 0 })
    expect(onEmulation.stdout).toMatch(/emulated: \d+ passed, 0 failed/)
  })

  it('finds a wrong answer, and says where', async () => {
    const [first] = recordedCases(opNamed('softmax'), true) as [RecordedCase]
    const [good] = first.runs as [RecordedCase['runs'][0]]
    const answers = good.answers as Record<string, ReferenceArray>
    const { data, ...rest } = answers.result0 as ReferenceArray
    const wrong = { ...rest, data: data.map((x, index) => (index === 2 ? x + 0.01 : x)) }
    const path = await save('wrong', [{ ...first, runs: [{ ...good, answers: { ...answers, result0: wrong } }] }])
    const { status, stdout } = run(path)
    expect(status).toBe(1)
    expect(stdout).toMatch(/^FAILED softmax .*: run 0, result0: element 2 is .* apart where .* is allowed/m)
    expect(stdout).toContain('cpu: 0 passed, 1 failed')
  })

  it('times kernels over arrays that it makes itself, and training steps with their stores', async () => {
    const y = matmul(input('a', ['n', 32]), input('b', [32, 16]))
    const product: RecordedCase = {
      name: 'a product',
      runner: new GraphRunner({ y: mean(y) }),
      capacities: { n: 64 },
      runs: [{ counts: { n: 64 }, feeds: { a: { uniform: [-1, 1] }, b: { uniform: [-1, 1] } } }],
      timed: ['matmul'],
      flops: 2 * 64 * 32 * 16,
    }
    const model = { weight: parameter([4, 1], normal(0.1)) }
    const program = compile(model, (m, b) => ({ loss: mean(square(matmul(b.x, m.weight))) }), {
      schema: { x: field('float32', 'batch', 4) },
      updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.1 }) }],
      executor,
    })
    const zeros = (store: Store) =>
      store.entries.map(({ name, dtype, shape }) => ({
        name,
        dtype,
        shape,
        contents: dtype === 'int32' ? { ramp: 0 } : new Float32Array(shape.reduce((a, b) => a * b, 1)),
      }))
    const training: RecordedCase = {
      name: 'a "step"',
      runner: program.runner,
      capacities: { batch: 8 },
      stores: { parameters: zeros(createParameters(model)), optimizer: zeros(program.createOptimizerState()) },
      runs: [{ counts: { batch: 8 }, feeds: { x: { uniform: [-1, 1] }, lr: Float32Array.of(0.1) } }],
    }
    const path = await save('timed', [product, training])
    const { status, stdout } = run('--time', '--json', '--rounds', '3', path)
    expect(status).toBe(0)
    const [device, ...cases] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(device.device).not.toBe('')
    expect(cases).toMatchObject([{ name: 'a product', flops: product.flops }, { name: 'a "step"' }])
    for (const { run, timed, kernels } of cases) {
      expect(run).toBeGreaterThan(0)
      expect(timed).toBeGreaterThan(0)
      expect(kernels.matmul).toBeGreaterThan(0)
    }
    expect(cases[0].timed).toBeCloseTo(cases[0].kernels.matmul, 6)
    expect(run('--time', '--rounds', '3', path).stdout).toMatch(/^a product +run .* ms, kernels .* ms.*TFLOP\/s/m)
  })

  it('refuses what is no recording, devices that are not there and unknown flags', async () => {
    const path = join(folder, 'cut.recording')
    writeFileSync(path, (await encodeRecording(recordedCases(opNamed('exp'), true), executor)).subarray(0, 300))
    expect(run(path)).toMatchObject({ status: 2, stderr: expect.stringMatching(/should be .* but got/) })
    expect(run(join(folder, 'nothing'))).toMatchObject({ status: 2, stderr: expect.stringContaining('nothing') })
    expect(run('--device', 'tpu', path)).toMatchObject({ status: 3, stderr: expect.stringContaining('tpu') })
    expect(run('--devise', 'cpu', path)).toMatchObject({ status: 2, stderr: expect.stringContaining('--devise') })
  })
})
