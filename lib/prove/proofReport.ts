/** `report.html` of a proof: verdicts, plots over the points, tables. */
import type { Proof, ProofPlot } from '../systems/proof.js'
import { escapeHtml, type Series } from '../train/chart.js'
import { formatSeconds } from '../train/progress.js'
import {
  facts as factList,
  figure,
  htmlPage,
  type ResultTable,
  resultTable,
  section,
  tiles,
} from '../train/reportPage.js'
import { type Plan, pointNameOf } from './plan.js'
import type { ProofFacts } from './proofJson.js'
import type { Results } from './results.js'
import { tally } from './tables.js'
import type { LineVerdict } from './verdicts.js'

export interface ReportParts {
  readonly verdicts: readonly LineVerdict[]
  /** The first are the verdicts, which the report shows in its own way. */
  readonly sections: readonly ResultTable[]
  readonly facts: ProofFacts
}

export async function proofReport(
  proof: Proof,
  plan: Plan,
  results: Results,
  { verdicts, sections, facts }: ReportParts,
): Promise<string> {
  const charts: string[] = []
  for (const plot of proof.plots ?? []) charts.push(await chartOf(proof, plot, results))
  const counted = (wanted: LineVerdict['verdict']) =>
    String(verdicts.filter(({ verdict }) => verdict === wanted).length)
  return htmlPage({
    title: proof.title,
    subtitle: `${facts.command} · ${tally(verdicts)} · ${facts.date.slice(0, 16).replace('T', ' ')} UTC`,
    content: [
      tiles([
        ['Passed', counted('pass'), 'acceptance lines'],
        ['Failed', counted('FAIL')],
        ['Not run', counted('not run')],
        ['Runs', plan.runs.length.toLocaleString('en-US'), `${plan.seeds} seeds`],
        ['Time', formatSeconds(facts.seconds), 'of the last call'],
      ]),
      section('Acceptance', verdictCard(verdicts)),
      section('Plots', `<div class="charts">${charts.join('')}</div>`),
      section('Tables', sections.slice(1).map(resultTable).join('')),
      section('Environment', factList(facts.environment)),
    ].join('\n'),
    footer: `Written by Kairos, ${facts.date}`,
  })
}

function verdictCard(verdicts: readonly LineVerdict[]): string {
  const rows = verdicts.map(({ verdict, name, part, text, figure: figures }) => {
    const word = `<th scope="row" class="verdict-${verdict.replace(' ', '-')}">${escapeHtml(verdict)}</th>`
    const line = `<td class="words">${escapeHtml(name)}<small class="muted">${escapeHtml(`${part}: ${text}`)}</small></td>`
    return `<tr>${word}${line}<td class="words">${escapeHtml(figures)}</td></tr>`
  })
  const head = ['verdict', 'line', 'figures'].map((name) => `<th scope="col">${name}</th>`).join('')
  return `<div class="card"><div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div></div>`
}

/** One line per arm, with its intervals. */
async function chartOf(proof: Proof, plot: ProofPlot, results: Results): Promise<string> {
  const experiment = proof.experiments.find(({ name }) => name === plot.experiment)
  if (!experiment) return ''
  const points = (experiment.points ?? [{ name: experiment.name }])
    .map((point, index) => ({ name: pointNameOf(experiment, point), x: point.x ?? index }))
    .filter(({ name }) => results.has(name))
    .sort((a, b) => a.x - b.x)
  const series: Series[] = []
  const arms = plot.arms ?? experiment.arms ?? Object.keys(proof.arms)
  const drawn = arms.filter((arm) => points.some(({ name }) => results.has(name, arm)))
  for (const arm of drawn) {
    const there = points.filter(({ name }) => results.has(name, arm))
    const estimates = await Promise.all(there.map(({ name }) => results.mean(name, arm, plot.statistic, plot.of)))
    // Arms stand a little apart, so that their intervals do not cover each other.
    const shift =
      0.012 * (series.length - (drawn.length - 1) / 2) * ((points.at(-1)?.x ?? 1) - (points[0]?.x ?? 0) || 1)
    const at = (i: number) => (there[i]?.x ?? 0) + shift
    series.push({
      name: arm,
      points: estimates.map(({ mean }, i) => [at(i), mean]),
      intervals: estimates.map(({ low, high }, i) => [at(i), low, high]),
    })
  }
  return series.length === 0 ? '' : figure(plot.title, series, plot.xLabel)
}
