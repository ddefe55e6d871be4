/** What the report says of exposures and their objectives: 'chorus-cvr' and 'pantheon'. */
import { probabilityColumn } from './exposures.js'
import {
  calibrated,
  correlationOf,
  formatCount,
  HISTOGRAM_BINS,
  histogram,
  mean,
  type Statistics,
  type StatisticsChart,
  type StatisticsTable,
  type Values,
} from './measures.js'
import { LATENT } from './presets/chorusCvr.js'
import { correlations as asked, objectives as sixObjectives } from './presets/pantheon.js'
import type { Tables } from './process.js'
import type { Work } from './protocol.js'
import { floatsOf, type Table, valuesOf } from './tables.js'

type Knobs = Readonly<Record<string, number | boolean>>

/** Positions that a chart shows. */
const MOST_POSITIONS = 50

export function exposureStatistics({ preset, knobs: all, exposure }: Work, { rows, truth, users }: Tables): Statistics {
  const knobs = all as Knobs
  const names = preset === 'pantheon' ? [...sixObjectives] : ['click', 'conversion']
  const p = (name: string) => floatsOf(truth, probabilityColumn(name))
  const rates = names.map((name) => {
    const drawn = truth.columns[name]
    return [
      name,
      knobs[`${name}Rate`] as number,
      mean(p(name)),
      mean(drawn?.values ?? valuesOf(rows, name)),
      mean(valuesOf(rows, name)),
    ]
  })
  const tables: StatisticsTable[] = [
    {
      title: 'Base rates',
      header: ['objective', 'knob', 'mean true probability', 'drawn', 'in the log'],
      rows: rates,
      note: 'The log shows an objective behind another only where that one happened.',
    },
    correlationTable(knobs, names, truth),
    funnelTable(names, rows),
  ]
  const charts: StatisticsChart[] = [
    ...names.map((name): StatisticsChart => {
      const happened = truth.columns[name]?.values ?? valuesOf(rows, name)
      return {
        title: `True probability of ${name}`,
        xLabel: 'mean true probability of a bin',
        series: calibrated(p(name), happened),
      }
    }),
    positionChart(exposure as Knobs, names[0] as string, rows, truth),
  ]
  const delayed = names.find((name) => rows.columns[`${name}Delay`])
  if (delayed) charts.push(delayChart(delayed, valuesOf(rows, `${delayed}Delay`)))
  if (preset === 'pantheon') {
    charts.push(turnChart(users, knobs))
    charts.push({
      title: 'True utility',
      xLabel: 'utility',
      series: [{ name: 'share of exposures', points: histogram(valuesOf(truth, 'utility'), 0, 5) }],
      note: 'What lies above is in the last bin.',
    })
  } else charts.push(selectionChart(rows, truth))
  return { facts: [], tables, charts }
}

function correlationTable(knobs: Knobs, names: readonly string[], truth: Table): StatisticsTable {
  const six = names.length === sixObjectives.length
  const wanted = (i: number, j: number): number =>
    i === j ? 1 : (knobs.correlation as number) * (six ? (asked[i]?.[j] as number) : 1)
  const scores = names.map((name) => floatsOf(truth, `${name}Score`))
  return {
    title: 'Correlations of scores',
    header: ['', ...names],
    rows: names.map((name, i) => [
      name,
      ...names.map((_, j) =>
        j > i
          ? ''
          : `${correlationOf(scores[i] as Float32Array, scores[j] as Float32Array).toFixed(2)} (${wanted(i, j).toFixed(2)})`,
      ),
    ]),
    note: 'In brackets what was asked for, of a policy without preferences; selection changes it.',
  }
}

const funnelTable = (names: readonly string[], rows: Table): StatisticsTable => ({
  title: 'Funnel',
  header: ['stage', 'events', 'per 1,000 exposures'],
  rows: [
    ['exposure', formatCount(rows.rowCount), 1000],
    ...names.map((name) => {
      const rate = mean(valuesOf(rows, name))
      return [name, formatCount(Math.round(rate * rows.rowCount)), 1000 * rate]
    }),
  ],
})

function positionChart({ perRequest }: Knobs, name: string, rows: Table, truth: Table): StatisticsChart {
  const places = Math.min(perRequest as number, MOST_POSITIONS)
  const sums = Array.from({ length: places }, () => [0, 0, 0, 0])
  const [position, label] = [valuesOf(rows, 'position'), valuesOf(rows, name)]
  const [examined, score] = [valuesOf(truth, 'examined'), valuesOf(truth, `${name}Score`)]
  for (let row = 0; row < position.length; row++) {
    const sum = sums[position[row] as number]
    if (!sum) continue
    const values = [1, label[row] as number, examined[row] as number, score[row] as number]
    for (const [i, value] of values.entries()) sum[i] = (sum[i] as number) + value
  }
  const line = (i: number): [number, number | null][] =>
    sums.map((sum, place) => [place, sum[0] ? (sum[i] as number) / (sum[0] as number) : null])
  return {
    title: 'Position and selection',
    xLabel: 'position',
    series: [
      { name: `rate of ${name}`, points: line(1) },
      { name: 'probability of being looked at', points: line(2) },
      { name: `mean ${name} score`, points: line(3) },
    ],
    note: 'Position bias makes the second line fall, a selective policy the third.',
  }
}

function delayChart(name: string, delays: Values): StatisticsChart {
  const minutes: number[] = []
  for (let row = 0; row < delays.length; row++)
    if ((delays[row] as number) >= 0) minutes.push((delays[row] as number) / 60)
  const average = mean(Float64Array.from(minutes))
  const high = Math.max(5 * average, 1e-9)
  const points = histogram(minutes, 0, high)
  const width = high / HISTOGRAM_BINS
  const law = points.map(([x], i): [number, number] => {
    const begin = Math.exp(-(x - width / 2) / average)
    return [x, i === points.length - 1 ? begin : begin - Math.exp(-(x + width / 2) / average)]
  })
  return {
    title: `Delay of ${name}`,
    xLabel: 'minutes',
    series: [
      { name: 'share', points },
      ...(average > 0 ? [{ name: 'exponential law of the same mean', points: law }] : []),
    ],
    note: `Mean ${average.toFixed(1)} minutes; what lies above is in the last bin.`,
  }
}

/** Mean cosine of users' interests with those of the first day. */
function turnChart(users: Table, { drift, days }: Knobs): StatisticsChart {
  const [factor, turned] = [floatsOf(users, 'factor'), floatsOf(users, 'factorTurned')]
  const width = factor.length / users.rowCount
  const sampled = Math.min(users.rowCount, 2000)
  const points: [number, number][] = []
  for (let day = 0; day < Math.max(1, days as number); day++) {
    const [c, s] = [Math.cos((drift as number) * day), Math.sin((drift as number) * day)]
    let sum = 0
    for (let user = 0; user < sampled; user++) {
      let [ab, aa, bb] = [0, 0, 0]
      for (let i = user * width; i < (user + 1) * width; i++) {
        const a = factor[i] as number
        const b = c * a + s * (turned[i] as number)
        ab += a * b
        aa += a * a
        bb += b * b
      }
      sum += ab / Math.sqrt(aa * bb)
    }
    points.push([day, sum / sampled])
  }
  return { title: 'Drift of interests', xLabel: 'day', series: [{ name: 'cosine with the first day', points }] }
}

/** How clicks select: distribution of the conversion score among all exposures and among clicks. */
function selectionChart(rows: Table, truth: Table): StatisticsChart {
  const [score, click] = [floatsOf(truth, 'conversionScore'), valuesOf(rows, 'click')]
  const clicked: number[] = []
  for (let row = 0; row < click.length; row++) if (click[row] === 1) clicked.push(score[row] as number)
  return {
    title: 'Selection by click',
    xLabel: 'conversion score',
    series: [
      { name: 'all exposures', points: histogram(score, -4, 4) },
      { name: 'clicked', points: histogram(clicked, -4, 4) },
    ],
    note: `z has ${LATENT.user} coordinates of the user, ${LATENT.item} of the item and ${LATENT.context} of the context.`,
  }
}
