import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { describe as describeAddon, Executor, variantsUpTo } from '../../lib/runtime/index.js'

const runtime = new URL('../../lib/runtime/index.ts', import.meta.url).href

/** What a process of its own prints for an expression over the runtime, or the error it meets. */
async function evaluate(expression: string, env: Record<string, string> = {}): Promise<string> {
  const script = `import * as runtime from '${runtime}'
    try { console.log(JSON.stringify(${expression})) } catch (error) { console.log(error.code + ' ' + error.message) }`
  const args = ['--import', 'tsx', '--input-type=module', '-e', script]
  return (await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...env } })).stdout.trim()
}

test('describes the machine', () => {
  const { version, cpu, cuda, oneDnn, kernels } = describeAddon()
  expect(version).toMatch(/^\d+\.\d+\.\d+$/)
  expect(cpu.variants[0]).toBe('baseline')
  expect(cpu.cores).toBeGreaterThan(0)
  expect(cuda.available ? cuda.gpus.length : cuda.reason).toEqual(
    cuda.available ? expect.any(Number) : expect.stringMatching(/driver|GPU|CUDA/),
  )
  expect(typeof oneDnn.available).toBe('boolean')
  expect(kernels).toContain('matmul')
  expect(variantsUpTo('baseline')).toEqual(['baseline'])
  expect(variantsUpTo('avx512')).toEqual(cpu.variants)
})

test('importing loads nothing; the first call says what was tried and what to type', async () => {
  expect(await evaluate('typeof runtime.Executor', { KAIROS_ADDON: '/nowhere/kairos.node' })).toBe('"function"')
  const missing = await evaluate('runtime.describe()', { KAIROS_ADDON: '/nowhere/kairos.node' })
  expect(missing).toMatch(/^KAIROS_NATIVE_LOAD .*\/nowhere\/kairos.node: no such file. .*npm run build:native$/)
  const path = join(tmpdir(), `kairos-${process.pid}.node`)
  await writeFile(path, 'no library')
  expect(await evaluate('runtime.describe()', { KAIROS_ADDON: path })).toMatch(
    /^KAIROS_NATIVE_LOAD .*: .*(file too short|invalid ELF|mach-o)/,
  )
})

test('KAIROS_CPU caps the variant', async () => {
  expect(
    await evaluate('[runtime.describe().cpu.variants, new runtime.Executor().variant]', { KAIROS_CPU: 'baseline' }),
  ).toBe('[["baseline"],"baseline"]')
  expect(await evaluate('runtime.describe()', { KAIROS_CPU: 'sse9' })).toBe(
    "KAIROS_ARGUMENT environment: KAIROS_CPU should be baseline, avx2 or avx512 but got 'sse9'",
  )
  expect(await evaluate("new runtime.Executor({ variant: 'avx2' })", { KAIROS_CPU: 'baseline' })).toMatch(
    /^KAIROS_UNSUPPORTED createExecutor: variant should be one of baseline/,
  )
})

test('KAIROS_THREADS caps the default', async () => {
  expect(await evaluate('new runtime.Executor().threads', { KAIROS_THREADS: '1' })).toBe('1')
  expect(await evaluate('new runtime.Executor()', { KAIROS_THREADS: 'two' })).toMatch(
    /^KAIROS_ARGUMENT environment: KAIROS_THREADS/,
  )
})

test.each([0, 1.5, -1, 1e9, Number.NaN])('%s threads are refused', (threads) => {
  expect(() => new Executor({ threads })).toThrow(expect.objectContaining({ code: 'KAIROS_ARGUMENT' }))
})

test('handles of another kind are refused by name', async () => {
  await using one = new Executor({ threads: 1 })
  const { loadAddon } = await import('../../lib/runtime/loader.js')
  const addon = loadAddon()
  const store = addon.createStore([])
  for (const wrong of [store, {}, null, 3, Object.create(store as object)])
    await expect(addon.loadProgram(wrong as never, new Uint8Array(8))).rejects.toMatchObject({
      code: 'KAIROS_ARGUMENT',
      op: 'loadProgram',
      argument: 'executor',
      expected: 'an executor',
    })
  expect(() => addon.dispose(one.handle as never)).toThrow(expect.objectContaining({ code: 'KAIROS_ARGUMENT' }))
})
