/** Results of a proof as tables: for the terminal, for Markdown and for the report. */
import { excludesZero } from '../metrics/index.js'
import type { Proof, ProofSizes } from '../systems/proof.js'
import type { ResultTable } from '../train/report.js'
import type { Cell } from '../train/table.js'
import { type Plan, sizesOf } from './plan.js'
import type { Results } from './results.js'
import type { LineVerdict } from './verdicts.js'

/** Points of a plan, in the order of the proof. */
export const pointsOf = (plan: Plan): string[] => [...new Set(plan.runs.map(({ pointName }) => pointName))]

/** Of each point: means over seeds, and differences to the reference arm. */
export async function pointTables(proof: Proof, plan: Plan, results: Results): Promise<ResultTable[]> {
  const tables: ResultTable[] = []
  for (const point of pointsOf(plan)) {
    if (!results.has(point)) continue
    const arms = results.armsAt(point)
    const seeds = Math.max(...arms.map((arm) => results.values(point, arm, proof.columns[0]?.statistic ?? '').length))
    const seedsOf = (arm: string) => results.values(point, arm, proof.columns[0]?.statistic ?? '').length
    const isPaired = (arm: string) => seedsOf(arm) === seedsOf(proof.reference)
    const means: Cell[][] = []
    const differences: string[][] = []
    for (const arm of arms) {
      const cells: Cell[] = []
      const compared: string[] = []
      for (const { statistic, of, digits = 4 } of proof.columns) {
        cells.push(await results.mean(point, arm, statistic, of))
        if (arm === proof.reference || !arms.includes(proof.reference) || !isPaired(arm)) continue
        const difference = await results.difference(point, arm, proof.reference, statistic, of)
        const { mean, low, high } = difference
        const half = ((high - low) / 2).toFixed(digits)
        compared.push(`${mean < 0 ? '' : '+'}${mean.toFixed(digits)} ± ${half}${excludesZero(difference) ? ' *' : ''}`)
      }
      means.push([arm, ...cells])
      if (compared.length > 0) differences.push([arm, ...compared])
    }
    const titles = proof.columns.map(({ title }) => title)
    tables.push({
      title: point,
      header: ['arm', ...titles],
      rows: means,
      note: `Means over ${seeds} seeds; 95 % intervals of a bootstrap over seeds and users.`,
    })
    if (differences.length > 0) {
      tables.push({
        title: `${point}, less ${proof.reference}`,
        header: ['arm', ...titles],
        rows: differences,
        note: 'Paired by seed and user; * where the 95 % interval leaves out 0.',
      })
    }
  }
  return tables
}

export const verdictTable = (verdicts: readonly LineVerdict[]): ResultTable => ({
  title: 'Acceptance',
  header: ['verdict', 'line', 'figures'],
  rows: verdicts.map(({ verdict, name, figure }) => [verdict, name, figure]),
})

/** What was trained at which size; `reduced` where the specification asks for more. */
export function sizeTable(proof: Proof, { quick, runs }: Plan): ResultTable {
  const named: (keyof ProofSizes)[] = ['seeds', 'train', 'test', 'epochs', 'batchSize', 'learningRate']
  const rows = proof.experiments.map((experiment) => {
    const seeds = new Set(runs.filter((run) => run.experiment === experiment).map(({ seed }) => seed)).size
    const sizes = { ...sizesOf(proof, experiment, quick), seeds }
    return [experiment.name, ...named.map((name) => sizeCell(name, sizes, proof))]
  })
  return { title: 'Sizes', header: ['experiment', 'seeds', 'train', 'test', 'epochs', 'batch', 'learning rate'], rows }
}

function sizeCell(name: keyof ProofSizes, sizes: ProofSizes, { sizes: { specified } }: Proof): string {
  const [used, wanted] = [Number(sizes[name]), specified[name]]
  const text = used.toLocaleString('en-US', { maximumFractionDigits: 6 })
  if (typeof wanted !== 'number' || used >= wanted) return text
  return `${text} (reduced from ${wanted.toLocaleString('en-US')})`
}

export const armTable = (proof: Proof): ResultTable => ({
  title: 'Arms',
  header: ['arm', 'role', 'what it is'],
  rows: Object.entries(proof.arms).map(([arm, { role, summary }]) => [arm, role, summary]),
})

/** '3 passed, 1 FAILED, 2 not run' */
export function tally(verdicts: readonly LineVerdict[]): string {
  const counted = (wanted: LineVerdict['verdict']) => verdicts.filter(({ verdict }) => verdict === wanted).length
  const reported = counted('reported')
  return [
    `${counted('pass')} passed`,
    `${counted('FAIL')} FAILED`,
    `${counted('not run')} not run`,
    ...(reported > 0 ? [`${reported} reported without a bar`] : []),
  ].join(', ')
}
