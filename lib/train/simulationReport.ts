/** The page of `kairos simulate --report`: what was simulated, next to what was asked for. */
import type { Statistics, Written } from '../data/simulator/index.js'
import { writeWhole } from '../data/wholeFile.js'
import { charts, facts, figure, htmlPage, resultTable, section, tiles } from './reportPage.js'

/** Writes the page, whole or not at all. */
export const writeSimulationReport = (path: string, written: Written, statistics: Statistics): Promise<void> =>
  writeWhole(path, renderSimulation(written, statistics))

export function renderSimulation({ preset, knobs, description }: Written, statistics: Statistics): string {
  return htmlPage({
    title: `Simulation: ${preset}`,
    subtitle: `${description} · seed ${knobs.seed}`,
    content: [
      tiles(statistics.facts),
      section('Figures', statistics.tables.map(resultTable).join('')),
      section(
        'Distributions',
        charts(statistics.charts.map(({ title, series, xLabel, note }) => figure(title, series, xLabel, note))),
      ),
      section('Knobs', facts(knobs)),
    ].join('\n'),
    footer: 'Written by Kairos. Everything here is computed from the events and the truth beside them.',
  })
}
