/** Times against sizes, drawn: no kernel should grow faster than its count of operations says. */
import { writeFileSync } from 'node:fs'
import * as vega from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { Report, ReportCase } from './report.js'

interface Point {
  readonly size: number
  readonly milliseconds: number
  readonly line: string
  readonly threads: string
}

/** Writes results/<case>.svg for each case that names a size. Peers and floors are lines of their own. */
export async function writePlots({ machine, cases }: Report, folder: URL): Promise<void> {
  const best = machine.variants.at(-1)
  const sized = cases.filter(({ size, variant }) => size !== null && variant === best)
  for (const name of new Set(sized.map(({ name }) => name))) {
    const svg = await drawPlot(
      name,
      sized.filter((each) => each.name === name),
    )
    writeFileSync(new URL(`${fileName(name)}.svg`, folder), `${svg}\n`)
  }
}

/** `frequencyFilter, backward` is kept as `frequency-filter-backward`. */
export const fileName = (name: string): string =>
  name
    .replace(/([a-z])([A-Z][a-z])/g, '$1-$2')
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .toLowerCase()

function pointsOf(cases: readonly ReportCase[]): Point[] {
  const named = (names: readonly (string | null)[]) => [...new Set(names.filter((name) => name !== null))].join(', ')
  const peers = named(cases.map(({ peerName }) => peerName))
  const floors = named(cases.map(({ floorName }) => floorName))
  const first = cases.toSorted((a, b) => (a.size?.value ?? 0) - (b.size?.value ?? 0))[0]
  return cases.flatMap(({ size, threads, ours, peer, floor }) => {
    const growth = first?.size?.work && size?.work ? (first.ours * size.work) / first.size.work : null
    const lines = { Kairos: ours, [peers]: peer, [`floor: ${floors}`]: floor, [GROWTH]: growth }
    return Object.entries(lines).flatMap(([line, milliseconds]) =>
      milliseconds === null || size === null
        ? []
        : [{ size: size.value, milliseconds, line, threads: threads === 1 ? '1 thread' : `${threads} threads` }],
    )
  })
}

const GROWTH = 'Kairos, if it grew as its operations do'

/** An SVG with logarithmic axes; one panel per count of threads. */
export async function drawPlot(name: string, cases: readonly ReportCase[]): Promise<string> {
  const counts = [...new Set(cases.map(({ threads }) => threads))]
  const points = counts.flatMap((count) => pointsOf(cases.filter(({ threads }) => threads === count)))
  const sizes = [...new Set(points.map(({ size }) => size))].sort((a, b) => a - b)
  const lines = [...new Set(points.map(({ line }) => line))]
  const spec: TopLevelSpec = {
    background: 'white',
    title: { text: name, anchor: 'start', fontSize: 15 },
    data: { values: points },
    facet: { column: { field: 'threads', type: 'nominal', title: null, header: { labelFontSize: 12 } } },
    spec: {
      width: 330,
      height: 280,
      mark: { type: 'line', point: { filled: true, size: 40 }, strokeWidth: 2 },
      encoding: {
        x: {
          field: 'size',
          type: 'quantitative',
          title: cases[0]?.size?.axis ?? 'size',
          scale: { type: 'log', nice: false, padding: 12 },
          axis: { values: sizes, format: '~s', labelOverlap: true, grid: false },
        },
        y: {
          field: 'milliseconds',
          type: 'quantitative',
          title: 'time, ms',
          scale: { type: 'log' },
          axis: { format: '~g', tickCount: 6 },
        },
        color: {
          field: 'line',
          type: 'nominal',
          title: null,
          sort: lines,
          legend: { orient: 'bottom', labelLimit: 600, columns: 2 },
        },
        strokeDash: {
          condition: { test: `indexof(datum.line, 'floor') == 0 || datum.line == '${GROWTH}'`, value: [5, 4] },
          value: [1, 0],
        },
      },
    },
    config: { font: 'DejaVu Sans, Arial, sans-serif', axis: { labelFontSize: 11, titleFontSize: 12 } },
  }
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}
