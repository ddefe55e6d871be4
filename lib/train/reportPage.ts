/** Parts of the pages that reports are made of: one file each, which asks the network for nothing. */
import { COLOURS, escapeHtml, lineChart, type Series } from './chart.js'
import { reportStyle } from './reportStyle.js'
import { type Cell, formatCell } from './table.js'

export interface ResultTable {
  readonly title: string
  readonly header: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
  /** How to read it: which users, which intervals. */
  readonly note?: string
}

export interface Page {
  readonly title: string
  readonly subtitle: string
  /** HTML. */
  readonly content: string
  readonly footer: string
}

export const htmlPage = ({ title, subtitle, content, footer }: Page): string => `<!doctype html>
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
${content}
<footer class="muted">${escapeHtml(footer)}</footer>
</main>
</body>
</html>
`

/** Nothing where there is no content. */
export const section = (title: string, content: string): string =>
  content ? `<section><h2>${title}</h2>${content}</section>` : ''

export type Tile = readonly [label: string, value: string, detail?: string]

export const tiles = (all: readonly Tile[]): string => `<section class="tiles">${all.map(tile).join('')}</section>`

const tile = ([label, value, detail = '']: Tile): string =>
  `<div class="card tile"><span class="muted">${escapeHtml(label)}</span><b>${escapeHtml(value)}</b><span class="muted">${escapeHtml(detail)}</span></div>`

export const charts = (figures: readonly string[]): string => `<div class="charts">${figures.join('')}</div>`

const below = (note: string | undefined): string => (note ? `<p class="muted">${escapeHtml(note)}</p>` : '')

/** A chart with its legend. */
export function figure(title: string, series: readonly Series[], xLabel = 'step', note?: string): string {
  const legend = series.map(
    ({ name }, i) => `<span class="key"><i class="series-${(i % COLOURS) + 1}"></i>${escapeHtml(name)}</span>`,
  )
  const shown = series.length > 1 ? legend.join('') : ''
  return `<figure class="card"><figcaption><b>${escapeHtml(title)}</b>${shown}</figcaption>${lineChart({ title, xLabel, series })}${below(note)}</figure>`
}

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
