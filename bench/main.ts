/**
 * `npm run bench [-- NAME ... --threads 1,2 --write]`: kernels and whole models beside their peers and floors, in one
 * run. Threads are 1, 2, 4 ... cores where none are given.
 *
 * Without names all run, on the best instruction set and some once more on AVX2, and bench/results is written. With
 * names only those run, and `--write` puts their cases in place of the old ones. KAIROS_CPU caps the instruction set.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describe } from '../lib/runtime/index.js'
import { attentionBench, attentionLengthBench, targetAttentionBench } from './attention.js'
import { crossEntropyBench } from './crossEntropy.js'
import { dataBench } from './data.js'
import { executorsBench } from './executors.js'
import { farmBench } from './farm.js'
import { frequencyFilterBench } from './frequencyFilter.js'
import { gramBench } from './gram.js'
import { largeTableBench } from './largeTable.js'
import { matmulBench } from './matmul.js'
import { memoryBoundBench } from './memoryBound.js'
import { mmoeBench } from './mmoe.js'
import { mmoeInferenceBench } from './mmoeInference.js'
import { overheadBench } from './overhead.js'
import { paretoBench } from './pareto.js'
import { writePlots } from './plots.js'
import { formatCase, formatReport, mergeCases, type Report, type ReportCase, reportCase } from './report.js'
import { sasrecBench } from './sasrec.js'
import type { BenchResult } from './support.js'
import { tableBatchedBench } from './tableBatched.js'
import { topKBench } from './topK.js'
import { trainingStepBench } from './trainingStep.js'

/** Called once per count of threads. */
const benches: Readonly<Record<string, (threads: number) => Promise<readonly BenchResult[]>>> = {
  attention: attentionBench,
  attentionLength: attentionLengthBench,
  crossEntropy: crossEntropyBench,
  data: dataBench,
  executors: executorsBench,
  farm: farmBench,
  frequencyFilter: frequencyFilterBench,
  gram: gramBench,
  largeTable: largeTableBench,
  matmul: matmulBench,
  memoryBound: memoryBoundBench,
  mmoe: mmoeBench,
  mmoeInference: mmoeInferenceBench,
  overhead: overheadBench,
  pareto: paretoBench,
  sasrec: sasrecBench,
  tableBatched: tableBatchedBench,
  targetAttention: targetAttentionBench,
  topK: topKBench,
  trainingStep: trainingStepBench,
}
/** What a full run measures on AVX2 as well. */
const alsoOnAvx2 = ['attention', 'frequencyFilter', 'gram', 'matmul', 'memoryBound', 'targetAttention']

const folder = new URL('results/', import.meta.url)
const order = Object.keys(benches)
const { cpu, oneDnn } = describe()
const variant = cpu.variants.at(-1) ?? 'baseline'

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { write: { type: 'boolean', default: false }, threads: { type: 'string' } },
})
const unknown = names.filter((name) => !(name in benches))
if (unknown.length > 0) {
  console.error(`bench: no bench '${unknown.join("', '")}'; there are ${order.join(', ')}`)
  process.exit(2)
}

await printMachine()
const cases: ReportCase[] = []
for (const name of order.filter((each) => names.length === 0 || names.includes(each))) cases.push(...(await run(name)))
if (names.length === 0 || options.write) await save(cases)
if (names.length === 0 && variant === 'avx512') {
  const main = fileURLToPath(import.meta.url)
  execFileSync(process.execPath, [...process.execArgv, main, ...alsoOnAvx2, '--write'], {
    env: { ...process.env, KAIROS_CPU: 'avx2' },
    stdio: 'inherit',
  })
}

/** Cases of one bench, printed as they come. One that fails says so and ends the run with status 1. */
async function run(name: string): Promise<ReportCase[]> {
  const found: ReportCase[] = []
  try {
    for (const threads of threadCounts()) {
      for (const result of (await benches[name]?.(threads)) ?? []) {
        const each = reportCase(name, variant, result)
        found.push(each)
        console.log(formatCase(each))
      }
    }
    return found
  } catch (error) {
    console.error(`bench: ${name} failed, its cases stay as they were:`, error)
    process.exitCode = 1
    return []
  }
}

function threadCounts(): number[] {
  if (options.threads !== undefined) return options.threads.split(',').map(Number)
  return Array.from({ length: 1 + Math.floor(Math.log2(cpu.cores)) }, (_, i) => 2 ** i)
}

async function save(fresh: readonly ReportCase[]): Promise<void> {
  // The machine's own variants, not those under a cap: the order of sections does not depend on KAIROS_CPU.
  const before = readReport()
  const variants = before.machine.variants.length > cpu.variants.length ? before.machine.variants : cpu.variants
  const report = mergeCases({ machine: { ...cpu, variants }, cases: before.cases }, fresh, order)
  writeFileSync(new URL('cpu.json', folder), `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(new URL('cpu.md', folder), formatReport(report))
  await writePlots(report, folder)
}

function readReport(): Report {
  try {
    return JSON.parse(readFileSync(new URL('cpu.json', folder), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { machine: cpu, cases: [] }
    throw error
  }
}

async function printMachine(): Promise<void> {
  const busy = await busyShare()
  const load = loadavg().map((average) => average.toFixed(2))
  const engine = oneDnn.available ? 'present' : `absent: ${oneDnn.reason}`
  console.log(`${cpu.name}, ${cpu.cores} cores, ${variant}; load ${load.join(', ')}; oneDNN ${engine}`)
  if (busy > 0.1)
    console.warn(`bench: ${Math.round(100 * busy)} % of the processor is taken by other work: times will be worse`)
}

/** Share of all cores that is taken while this process waits. */
async function busyShare(): Promise<number> {
  const look = () => cpus().map(({ times }) => times)
  const sum = (times: ReturnType<typeof look>, of: (each: (typeof times)[number]) => number) =>
    times.reduce((total, each) => total + of(each), 0)
  const all = (each: ReturnType<typeof look>[number]) => Object.values(each).reduce((a, b) => a + b, 0)
  const before = look()
  await setTimeout(300)
  const after = look()
  const idle = sum(after, ({ idle }) => idle) - sum(before, ({ idle }) => idle)
  return 1 - idle / Math.max(1, sum(after, all) - sum(before, all))
}
