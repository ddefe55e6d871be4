/** `kairos simulate`: a preset as files, with progress and, when asked for, a page of its distributions. */
import { join } from 'node:path'
import { presets, writeSimulation } from '../data/simulator/index.js'
import { createProgress, formatSeconds } from './progress.js'
import type { SimulateRunOptions } from './simulateOptions.js'
import { writeSimulationReport } from './simulationReport.js'
import type { Print } from './trainSystem.js'

export async function runSimulate(
  { preset, output, threads, report, ...knobs }: SimulateRunOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<void> {
  const started = performance.now()
  let progress: ReturnType<typeof createProgress> | undefined
  const written = await writeSimulation(presets[preset], knobs, {
    output,
    threads,
    statistics: report,
    onProgress(done, total) {
      progress ??= createProgress({ title: `simulate ${preset}`, total, unit: 'events', loss: false })
      progress.update(done)
      if (done === total) progress.stop()
    },
  }).finally(() => progress?.stop())
  const seconds = (performance.now() - started) / 1000
  const count = (value: number) => Math.round(value).toLocaleString('en-US')
  print(
    `${count(written.events)} events and ${count(written.rows)} rows to learn from in ${formatSeconds(seconds)}, ` +
      `${count(written.events / seconds)} events/s with writing, on ${threads} threads.`,
  )
  const files = [...written.files]
  if (written.statistics) {
    await writeSimulationReport(join(output, 'report.html'), written, written.statistics)
    files.push('report.html')
  }
  print(`${output}: ${files.join(', ')}`)
  print(`Next: npx kairos train --system ${written.system} --config ${join(output, 'train.yaml')}`)
}
