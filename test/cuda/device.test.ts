/** The runtime's device layer on the emulated GPU: order of a capture, refusals, memory that runs out, failed steps. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { input } from '../../lib/graph/leaf.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { cast, embedding, embeddingBag, exp, sum } from '../../lib/ops/index.js'
import '../../lib/graph/passes.js'
import { describe as describeAddon, device, Executor } from '../../lib/runtime/index.js'

describe.skipIf(describeAddon().cuda.available)('without a GPU', () => {
  it('device("cuda") says why, in one sentence', () => {
    expect(() => device('cuda')).toThrow(/cuda.*(GPU|nvcc|CUDA)/)
  })
})

describe.skipIf(process.platform !== 'linux')('on the emulated GPU', () => {
  let executor: Executor
  beforeAll(() => {
    executor = new Executor({ device: 'emulated' })
  })
  afterAll(() => executor.close())

  it('runs a program again and again with live counts', async () => {
    const runner = new GraphRunner({ y: sum(exp(input('x', ['n'])), 0) }, { executor })
    for (const count of [3, 0, 5, 1]) {
      const run = await runner.run({ feeds: { x: new Float32Array(count) }, counts: { n: count } })
      expect(run.outputs.y?.data[0]).toBe(count)
    }
  })

  it('names an id that the device computed and that is outside its table, and goes on', async () => {
    const picked = embedding(input('table', [4, 2]), cast(input('x', [3]), 'int32'))
    const runner = new GraphRunner({ picked }, { executor })
    const table = Float32Array.from({ length: 8 }, (_, i) => i)
    const run = (...x: number[]) => runner.run({ feeds: { table, x: Float32Array.from(x) } })
    await expect(run(0, 1, 4)).rejects.toThrow(/id 2 of its ids.*\[0, 4\).*4/)
    expect([...((await run(3, 0, 1)).outputs.picked?.data ?? [])]).toEqual([6, 7, 0, 1, 2, 3])
  })

  it('names offsets that do not ascend, and reads no memory by them', async () => {
    const offsets = input('offsets', [4], 'int32')
    const table = input('table', [4, 2])
    const pooled = embeddingBag(table, input('ids', [3], 'int32'), offsets)
    const runner = new GraphRunner({ pooled }, { executor })
    const run = (...edges: number[]) =>
      runner.run({
        feeds: { table: new Float32Array(8).fill(1), ids: new Int32Array(3), offsets: Int32Array.from(edges) },
      })
    await expect(run(0, 1 << 30, 2, 3)).rejects.toThrow(/offset/)
    await expect(run(1, 1, 2, 3)).rejects.toThrow(/offset 0/)
    await expect(run(0, 1, 2, 2)).rejects.toThrow(/offset 3/)
    expect([...((await run(0, 1, 1, 3)).outputs.pooled?.data ?? [])]).toEqual([1, 1, 0, 0, 2, 2])
  })

  it('names an output that is not finite', async () => {
    const runner = new GraphRunner({ y: exp(input('x', [3])) }, { executor })
    const x = Float32Array.of(0, 1000, 0)
    await expect(runner.run({ feeds: { x }, requireFinite: ['y'] })).rejects.toThrow(/outputs\.y.*Infinity/)
    const again = await runner.run({ feeds: { x: new Float32Array(3) }, requireFinite: ['y'] })
    expect([...(again.outputs.y?.data ?? [])]).toEqual([1, 1, 1])
  })
})

describe.skipIf(process.platform !== 'linux')('a process of its own', () => {
  const run = (source: string, env: Record<string, string>) =>
    execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      env: { ...process.env, ...env },
      encoding: 'utf8',
    })
  const imports = ['graph/leaf', 'graph/runner', 'ops/index', 'runtime/index', 'graph/passes']
    .map((path, index) => `import * as m${index} from './lib/${path}.ts'`)
    .join(';')
  const program = `${imports};const executor = new m3.Executor({ device: 'emulated' });
    const of = (size) => new m1.GraphRunner({ y: m2.sum(m2.exp(m0.input('x', [size])), 0) }, { executor });`

  it('captures once, in order, and launches the graph at each run', () => {
    const trace = join(mkdtempSync(join(tmpdir(), 'kairos-')), 'trace')
    run(`${program} const r = of(4); for (let i = 0; i < 2; i++) await r.run({ feeds: { x: new Float32Array(4) } })`, {
      KAIROS_EMULATED_TRACE: trace,
    })
    const lines = readFileSync(trace, 'utf8').trim().split('\n')
    const captured = lines.slice(lines.indexOf('begin capture'), lines.indexOf('end capture') + 1)
    expect(captured).toEqual(['begin capture', 'start', 'elementwise', 'sum', 'check finite', 'gate', 'end capture'])
    expect(lines.filter((line) => line === 'begin capture')).toHaveLength(1)
    expect(lines.filter((line) => line === 'launch graph')).toHaveLength(2)
  })

  it('writes state only behind the gate', () => {
    const trace = join(mkdtempSync(join(tmpdir(), 'kairos-')), 'trace')
    const source = `${imports};import * as k from './lib/index.ts';
      const executor = new m3.Executor({ device: 'emulated' });
      const model = { w: k.parameter([4, 2], k.normal(1)) };
      const program = k.compile(model, (m, b) => ({ loss: k.mean(m2.square(k.matmul(b.x, m.w))) }), {
        schema: { x: k.field('float32', 'batch', 4) }, executor,
        updates: [{ loss: 'loss', parameters: k.all, optimizer: k.adam() }] });
      for (let i = 0; i < 3; i++) await program.step({ x: new Float32Array(8).fill(1) }, { lr: 0.1 })`
    run(source, { KAIROS_EMULATED_TRACE: trace })
    const lines = readFileSync(trace, 'utf8').trim().split('\n')
    const captured = lines.slice(lines.indexOf('begin capture') + 1, lines.indexOf('end capture'))
    const [before, after] = [captured.slice(0, captured.indexOf('gate')), captured.slice(captured.indexOf('gate') + 1)]
    expect(before[0]).toBe('start')
    expect(before.filter((line) => line === 'matmul')).toHaveLength(2)
    expect(before.at(-1)).toBe('check finite')
    // Adam's moments, the parameter and the count of its steps.
    expect(after.length).toBeGreaterThan(0)
    expect(after.every((line) => line.startsWith('elementwise'))).toBe(true)
    // A run: feeds, header, graph, then loss, counts and fault; parameters and moments travelled before the first.
    const runs = lines
      .slice(lines.indexOf('end capture') + 1)
      .join(' ')
      .split('launch graph')
    expect(runs).toHaveLength(4)
    expect(runs[2]).toBe(' copy copy copy await copy copy ')
    expect(runs[2]).not.toContain('synchronize')
  })

  it('survives the want of memory', () => {
    const source = `${program}
      await of(1 << 20).run({ feeds: { x: new Float32Array(1 << 20) } }).catch((e) => console.log(e.code, e.message));
      console.log((await of(4).run({ feeds: { x: new Float32Array(4) } })).outputs.y.data[0])`
    const out = run(source, { KAIROS_EMULATED_MEMORY: '1000000' })
    expect(out).toMatch(/KAIROS_OUT_OF_MEMORY.*arena.*bytes on the device/)
    expect(out.trim().endsWith('4')).toBe(true)
  })
})
