/** `report.html`: one page for one run, in one file that asks the network for nothing. */
import { rename, rm, writeFile } from 'node:fs/promises'
import { formatBytes } from '../graph/explain.js'
import { escapeHtml, lineChart, type Series } from './chart.js'
import { formatSeconds } from './progress.js'
import { type Curve, curvesOf, type RunCurves } from './reportData.js'
import { reportStyle } from './reportStyle.js'
import { readLog } from './runLog.js'
import { type Cell, formatCell } from './table.js'

export interface ResultTable {
  readonly title: string
  readonly header: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
  /** How to read it: which users, which intervals. */
  readonly note?: string
}

export interface ReportOptions {
  readonly title: string
  /** The run's `log.jsonl`: curves, configuration and environment come from it. */
  readonly log: string
  /** What was measured at the end. */
  readonly results?: readonly ResultTable[]
}

/** Writes the page, whole or not at all. */
export async function writeReport(path: string, options: ReportOptions): Promise<void> {
  await writePage(path, renderReport(options, await curvesOf(readLog(options.log))))
}

/** Writes a file, whole or not at all. */
export async function writePage(path: string, html: string): Promise<void> {
  const half = `${path}.${process.pid}.half`
  try {
    await writeFile(half, html)
    await rename(half, path)
  } finally {
    await rm(half, { force: true })
  }
}

export function renderReport({ title, results = [] }: ReportOptions, run: RunCurves): string {
  const { start, end } = run
  return renderPage({
    title,
    subtitle: subtitle(run),
    content: [
      tiles(tilesOf(run)),
      section('Results', results.map(resultTable).join('')),
      section('Curves', charts(chartsOf(run))),
      section('Configuration', facts(start?.config)),
      section('Environment', facts(start?.environment)),
    ],
    footer: `Written by Kairos, ${(end ?? start)?.time ?? 'before the first step'}`,
  })
}

export interface Page {
  readonly title: string
  readonly subtitle: string
  /** HTML of the parts. */
  readonly content: readonly string[]
  readonly footer: string
}

/** A page of ours: one file, which asks the network for nothing. */
export function renderPage({ title, subtitle, content, footer }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)} · Kairos</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">${escapeHtml(subtitle)}</p>
</header>
${content.join('\n')}
<footer class="muted">${escapeHtml(footer)}</footer>
</main>
</body>
</html>
`
}

export const section = (title: string, content: string): string =>
  content ? `<section><h2>${title}</h2>${content}</section>` : ''

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

function tilesOf(run: RunCurves): [label: string, value: string, detail?: string][] {
  const { best, samplesPerSecond, peakRss } = run
  const metrics = Object.entries(best?.metrics ?? {}).filter(([, value]) => value !== null)
  const count = (value: number) => value.toLocaleString('en-US')
  return [
    ...metrics.map(([name, value]): [string, string, string] => [
      `Best ${name}`,
      formatCell(Number(value)),
      `epoch ${best?.epoch}, step ${count(best?.step ?? 0)}`,
    ]),
    ['Steps', count(run.steps), `${run.epochs} epochs`],
    ...(samplesPerSecond === null ? [] : [['Samples/s', count(Math.round(samplesPerSecond))] as [string, string]]),
    ['Time', formatSeconds(run.seconds)],
    ['Peak memory', formatBytes(peakRss)],
  ]
}

type Tile = readonly [label: string, value: string, detail?: string]

export const tiles = (all: readonly Tile[]): string => `<section class="tiles">${all.map(tile).join('')}</section>`

export const charts = (figures: readonly string[]): string => `<div class="charts">${figures.join('')}</div>`

const tile = ([label, value, detail = '']: Tile): string =>
  `<div class="card tile"><span class="muted">${escapeHtml(label)}</span><b>${escapeHtml(value)}</b><span class="muted">${escapeHtml(detail)}</span></div>`

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

export function figure(title: string, series: readonly Series[], xLabel = 'step', note?: string): string {
  const legend = series.map(
    ({ name }, i) => `<span class="key"><i class="series-${i + 1}"></i>${escapeHtml(name)}</span>`,
  )
  const shown = series.length > 1 ? legend.join('') : ''
  return `<figure class="card"><figcaption><b>${escapeHtml(title)}</b>${shown}</figcaption>${lineChart({ title, xLabel, series })}${below(note)}</figure>`
}

const below = (note: string | undefined): string => (note ? `<p class="muted">${escapeHtml(note)}</p>` : '')

export function resultTable({ title, header, rows, note }: ResultTable): string {
  const head = header.map((name) => `<th scope="col">${escapeHtml(name)}</th>`).join('')
  const body = rows.map((row) => `<tr>${row.map(resultCell).join('')}</tr>`).join('')
  return `<div class="card"><h3>${escapeHtml(title)}</h3><div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>${below(note)}</div>`
}

function resultCell(cell: Cell, column: number): string {
  if (typeof cell === 'string') {
    return column === 0 ? `<th scope="row">${escapeHtml(cell)}</th>` : `<td>${escapeHtml(cell)}</td>`
  }
  if (typeof cell === 'number') return `<td>${formatCell(cell)}</td>`
  const interval = `${formatCell(cell.low)} to ${formatCell(cell.high)}`
  return `<td>${formatCell(cell.mean)}<small class="muted">${interval}</small></td>`
}

/** Names and values; what is nested is flattened to `outer.inner`. */
export function facts(value: unknown): string {
  const rows: string[] = []
  const visit = (inside: unknown, path: string) => {
    if (typeof inside === 'object' && inside !== null && !Array.isArray(inside)) {
      for (const [key, item] of Object.entries(inside)) visit(item, path === '' ? key : `${path}.${key}`)
    } else {
      const text = typeof inside === 'string' ? inside : JSON.stringify(inside)
      rows.push(`<div><dt>${escapeHtml(path)}</dt><dd>${escapeHtml(text ?? '')}</dd></div>`)
    }
  }
  if (value !== undefined) visit(value, '')
  return rows.length > 0 ? `<dl class="card facts">${rows.join('')}</dl>` : ''
}
