/** What a proof costs: runs, samples and time, from the speed of the runs that were made. */
import type { Proof } from '../systems/proof.js'
import { formatSeconds } from '../train/progress.js'
import { formatTable } from '../train/table.js'
import { type PlannedRun, planProof } from './plan.js'
import type { FinishedRun } from './runStore.js'

const samplesOf = ({ sizes }: PlannedRun): number => sizes.train * sizes.epochs
const count = (value: number): string => Math.round(value).toLocaleString('en-US')

/** Samples of training a second, of all runs together; null before the first. */
export function speedOf(finished: readonly FinishedRun[]): number | null {
  const seconds = finished.reduce((sum, { trainSeconds }) => sum + trainSeconds, 0)
  return seconds === 0 ? null : finished.reduce((sum, { run }) => sum + samplesOf(run), 0) / seconds
}

/** A table of experiments for the quick and the full proof, with the time that each takes at the measured speeds. */
export function costSheet(proof: Proof, finished: readonly FinishedRun[]): string {
  const speed = speedOf(finished)
  const tested = finished.reduce((sum, { run }) => sum + run.sizes.test, 0)
  const predictSeconds = finished.reduce((sum, { predictSeconds }) => sum + predictSeconds, 0)
  const predictSpeed = predictSeconds === 0 ? null : tested / predictSeconds
  const sheets = [true, false].map((quick) => {
    const { runs } = planProof(proof, { quick })
    const names = [...new Set(runs.map(({ experiment }) => experiment.name))]
    const rowOf = (name: string, those: readonly PlannedRun[]) => {
      const samples = those.reduce((sum, run) => sum + samplesOf(run), 0)
      const tests = those.reduce((sum, run) => sum + run.sizes.test, 0)
      const time = speed && predictSpeed ? formatSeconds(samples / speed + tests / predictSpeed) : '?'
      return [name, count(those.length), count(samples), count(tests), time]
    }
    const rows = names.map((name) =>
      rowOf(
        name,
        runs.filter(({ experiment }) => experiment.name === name),
      ),
    )
    const table = formatTable(
      ['experiment', 'runs', 'samples trained', 'rows predicted', 'time'],
      [...rows, rowOf('all', runs)],
    )
    return `${quick ? 'Quick' : 'Full'}:\n\n${table}`
  })
  const measured =
    speed && predictSpeed
      ? `Measured over ${count(finished.length)} runs: ${count(speed)} samples/s trained, ${count(predictSpeed)} rows/s predicted.`
      : 'Not measured yet: no run is finished.'
  return `${sheets.join('\n\n')}\n\n${measured} Data and bootstrap come on top.\n`
}

/** Samples per second of each arm. */
export function speedTable(finished: readonly FinishedRun[]): { header: string[]; rows: string[][] } {
  const arms = [...new Set(finished.map(({ run }) => run.arm))]
  const rows = arms.map((arm) => {
    const those = finished.filter(({ run }) => run.arm === arm)
    return [arm, String(those.length), count(speedOf(those) ?? 0)]
  })
  return { header: ['arm', 'runs', 'samples/s trained'], rows }
}
