/** `npm run bench:gpu`: its path with tiny arrays on the emulated GPU, and the report that it makes of measurements. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { formatGpuReport, linesOf, reportOf } from '../../bench/gpu/report.js'
import { describe as describeAddon } from '../../lib/runtime/index.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const bench = (...words: string[]) =>
  execFileSync(process.execPath, ['--import', 'tsx', 'bench/gpu/main.ts', ...words], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
const missing =
  process.platform !== 'linux' || process.env.KAIROS_ADDON || !existsSync(`${root}/build/Release/kairos_run_program`)

describe('bench:gpu', () => {
  it.skipIf(describeAddon().cuda.available)('says in one sentence why it does not run without a GPU', () => {
    expect(bench().trim()).toMatch(/^Skipped: bench:gpu needs a GPU: device: cuda should be .* but got [^\n]*$/)
  })

  it.skipIf(missing)('takes its whole path with tiny arrays on the emulated GPU', { timeout: 300_000 }, () => {
    const text = bench('--device', 'emulated', '--tiny')
    expect(text).toMatch(/^# Benchmarks on an emulated GPU/)
    expect(text).toMatch(/\| matmul \[64,64,64\] \| [\d.]+ \|/)
    expect(text.match(/^\| .* \|$/gm)?.length).toBeGreaterThan(20)
  })

  it('judges a case by its share of a roof and by its peers', () => {
    const roofs = { gpu: 'G', copy: 2e12, read: 2e12, gather: 1e12, matrix: 1e15 }
    const base = { runner: null as never, capacities: {}, runs: [] }
    const cases = [
      { ...base, name: 'a', bytes: 2e9, timed: ['k'], roof: 'copy', share: 0.7, peers: { torch: 2 } },
      { ...base, name: 'b', bytes: 2e9, timed: ['k'], roof: 'copy', share: 0.7 },
      { ...base, name: 'c', peers: { eager: 2 } },
    ] as const
    const ours = linesOf<object>(
      '{"device":"G","copy":1}\nnoise\n{"name":"a","run":9,"timed":1.25}\n{"name":"b","timed":2}\n{"name":"c","run":3}',
    )
    const peers = [{ case: 'a', variant: 'torch', milliseconds: 5 }]
    const report = reportOf(cases, { roofs, ours, peers })
    expect(report.cases).toMatchObject([
      { ours: 1.25, ofRoof: 0.8, met: true, peers: [{ variant: 'torch', factor: 4 }] },
      { ours: 2, ofRoof: 0.5, met: false },
      { ours: 3, met: null, target: '2x eager' },
    ])
    const text = formatGpuReport(report)
    expect(text).toContain(
      '| a | 1.250 | 1600 GB/s | 80 % of copy | torch 5.000 (4.00x) | 70 % of copy, 2x torch | met |',
    )
    expect(text).toContain('**missed**')
    expect(text).toContain('not measured')
  })
})
