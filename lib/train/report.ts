/** `report.html`: one page for one run, in one file that asks the network for nothing. */
import { writeWhole } from '../data/wholeFile.js'
import { formatBytes } from '../graph/explain.js'
import type { Series } from './chart.js'
import { formatSeconds } from './progress.js'
import { type Curve, curvesOf, type RunCurves } from './reportData.js'
import {
  charts,
  facts,
  figure,
  htmlPage,
  type ResultTable,
  resultTable,
  section,
  type Tile,
  tiles,
} from './reportPage.js'
import { readLog } from './runLog.js'
import { formatCell } from './table.js'

export type { ResultTable } from './reportPage.js'

export interface ReportOptions {
  readonly title: string
  /** The run's `log.jsonl`: curves, configuration and environment come from it. */
  readonly log: string
  /** What was measured at the end. */
  readonly results?: readonly ResultTable[]
}

/** Writes the page, whole or not at all. */
export async function writeReport(path: string, options: ReportOptions): Promise<void> {
  await writeWhole(path, renderReport(options, await curvesOf(readLog(options.log))))
}

export function renderReport({ title, results = [] }: ReportOptions, run: RunCurves): string {
  const { start, end } = run
  return htmlPage({
    title,
    subtitle: subtitle(run),
    content: [
      tiles(tilesOf(run)),
      section('Results', results.map(resultTable).join('')),
      section('Curves', charts(chartsOf(run))),
      section('Configuration', facts(start?.config)),
      section('Environment', facts(start?.environment)),
    ].join('\n'),
    footer: `Written by Kairos, ${(end ?? start)?.time ?? 'before the first step'}`,
  })
}

function subtitle({ start, end, resumes, epochs }: RunCurves): string {
  const endings: Readonly<Record<string, string>> = {
    epochs: `Ended after ${epochs} epochs`,
    patience: `Ended in epoch ${epochs}: no better for a while`,
    interrupted: `Interrupted in epoch ${epochs}`,
  }
  const state = end ? (endings[String(end.ending)] ?? 'Ended') : `Running, epoch ${epochs}`
  const again = resumes > 0 ? `, resumed ${resumes === 1 ? 'once' : `${resumes} times`}` : ''
  return `${state}${again}${start ? ` · last started ${start.time.slice(0, 16).replace('T', ' ')} UTC` : ''}`
}

function tilesOf(run: RunCurves): Tile[] {
  const { best, samplesPerSecond, peakRss } = run
  const metrics = Object.entries(best?.metrics ?? {}).filter(([, value]) => value !== null)
  const count = (value: number) => value.toLocaleString('en-US')
  return [
    ...metrics.map(
      ([name, value]): Tile => [
        `Best ${name}`,
        formatCell(Number(value)),
        `epoch ${best?.epoch}, step ${count(best?.step ?? 0)}`,
      ],
    ),
    ['Steps', count(run.steps), `${run.epochs} epochs`],
    ...(samplesPerSecond === null ? [] : [['Samples/s', count(Math.round(samplesPerSecond))] as Tile]),
    ['Time', formatSeconds(run.seconds)],
    ['Peak memory', formatBytes(peakRss)],
  ]
}

function chartsOf({ loss, epochLoss, lr, metrics, best }: RunCurves): string[] {
  const filled = (name: string, curve: Curve): Series[] =>
    curve.points.length > 0 ? [{ name, points: curve.points }] : []
  const bestStep = best?.step ?? 0
  const charts = [figure('Loss', [...filled('while training', loss), ...filled('mean of the epoch', epochLoss)])]
  for (const [name, { points }] of metrics) {
    const value = best?.metrics?.[name]
    const mark = typeof value === 'number' ? { x: bestStep, y: value, label: `best ${formatCell(value)}` } : undefined
    charts.push(figure(name, [{ name, points, ...(mark ? { mark } : {}) }]))
  }
  // A rate that never moves needs no picture.
  const rates = new Set(lr.points.map(([, y]) => y))
  if (rates.size > 1) charts.push(figure('Learning rate', filled('learning rate', lr)))
  return charts
}
