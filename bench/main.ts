/**
 * `npm run bench [-- NAME]`: kernels and one whole step, beside a peer where one is built in and beside the floor.
 * Writes bench/results/cpu.md and cpu.json when all of them ran.
 */
import { writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { describe } from '../lib/runtime/index.js'
import { attentionBench } from './attention.js'
import { crossEntropyBench } from './crossEntropy.js'
import { dataBench } from './data.js'
import { gramBench } from './gram.js'
import { largeTableBench } from './largeTable.js'
import { matmulBench } from './matmul.js'
import { memoryBoundBench } from './memoryBound.js'
import { mmoeBench } from './mmoe.js'
import { paretoBench } from './pareto.js'
import { sasrecBench } from './sasrec.js'
import { type BenchResult, formatResult, header } from './support.js'
import { trainingStepBench } from './trainingStep.js'

const benches = {
  attention: attentionBench,
  crossEntropy: crossEntropyBench,
  data: dataBench,
  gram: gramBench,
  largeTable: largeTableBench,
  matmul: matmulBench,
  memoryBound: memoryBoundBench,
  mmoe: mmoeBench,
  pareto: paretoBench,
  sasrec: sasrecBench,
  trainingStep: trainingStepBench,
}

const [only] = process.argv.slice(2)
if (only !== undefined && !(only in benches)) {
  console.error(`bench: no bench '${only}'; there are ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}

const { cpu, oneDnn } = describe()
const variant = cpu.variants.at(-1)
console.log(
  `${cpu.name}, ${cpu.cores} cores, ${variant}; load ${loadavg()[0]?.toFixed(2)}; oneDNN ${oneDnn.available ? 'present' : `absent: ${oneDnn.reason}`}`,
)

const results: BenchResult[] = []
for (const [name, bench] of Object.entries(benches)) {
  if (only !== undefined && name !== only) continue
  for (let threads = 1; threads <= cpu.cores; threads *= 2) {
    for (const result of await bench(threads)) {
      results.push(result)
      console.log(formatResult(result).filter(Boolean).join('  '))
    }
  }
}

if (only === undefined) {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const table = [row(header), row(header.map(() => '---')), ...results.map((result) => row(formatResult(result)))]
  const about = `# Benchmarks on a CPU\n\n${cpu.name}, ${cpu.cores} cores, ${variant}. Medians with the middle half; \`npm run bench\` writes this file.\n`
  const folder = new URL('results/', import.meta.url)
  await writeFile(new URL('cpu.md', folder), `${about}\n${table.join('\n')}\n`)
  await writeFile(
    new URL('cpu.json', folder),
    `${JSON.stringify({ machine: { ...cpu, variant }, cases: results }, null, 2)}\n`,
  )
}
