/** What the report says of histories and requests: 'farm'. */
import {
  calibrated,
  formatCount,
  HISTOGRAM_BINS,
  histogram,
  mean,
  SAMPLE,
  type Statistics,
  type StatisticsChart,
  type StatisticsTable,
} from './measures.js'
import { behaviours, domains } from './presets/farm.js'
import type { Tables } from './process.js'
import { floatsOf, intsOf, valuesOf } from './tables.js'

type Knobs = Readonly<Record<string, number | boolean>>

export function historyStatistics(knobs: Knobs, tables: Tables): Statistics {
  const { rows, truth, events, eventTruth, users } = tables
  const longest = (knobs.videoActs as number) + (knobs.liveActs as number)
  const [step, valuable, domain, behaviour] = [
    valuesOf(eventTruth, 'step'),
    valuesOf(eventTruth, 'valuable'),
    valuesOf(events, 'domain'),
    valuesOf(events, 'behaviour'),
  ]
  const byDomain = Object.entries(domains).map(([name, id]) => ({ name, id, acts: 0, valuable: 0 }))
  const byBehaviour = Object.entries(behaviours).map(([name, id]) => ({ name, id, video: 0, live: 0 }))
  for (let event = 0; event < step.length; event++) {
    if (step[event] === longest) continue
    const of = byDomain[(domain[event] as number) - 1] as (typeof byDomain)[number]
    of.acts++
    of.valuable += valuable[event] as number
    const kind = byBehaviour[(behaviour[event] as number) - 1] as (typeof byBehaviour)[number]
    if (of.id === domains.video) kind.video++
    else kind.live++
  }
  const acts = byDomain.reduce((sum, { acts }) => sum + acts, 0)
  const shown = byDomain.reduce((sum, { valuable }) => sum + valuable, 0)
  const perUser = (name: string) => mean(intsOf(users, name))
  const statistics: StatisticsTable[] = [
    {
      title: 'Base rates',
      header: ['', 'knob', 'true', 'observed'],
      rows: [
        [
          'click on a candidate',
          knobs.clickRate as number,
          mean(valuesOf(truth, 'pClick')),
          mean(valuesOf(rows, 'click')),
        ],
        ['valuable acts', knobs.valuableRate as number, '', acts === 0 ? 0 : shown / acts],
        ['users with valuable acts in video only', knobs.videoOnly as number, '', perUser('videoOnly')],
      ],
    },
    {
      title: 'Acts by domain',
      header: ['domain', 'acts', 'of a user', 'valuable'],
      rows: byDomain.map(({ name, acts, valuable }) => [
        name,
        formatCount(acts),
        acts / users.rowCount,
        acts === 0 ? 0 : valuable / acts,
      ]),
      note: `${(acts / Math.max(1, byDomain[1]?.acts ?? 1) - 1).toFixed(2)} short-video acts for one live act.`,
    },
    {
      title: 'Behaviours',
      header: ['behaviour', 'video', 'live'],
      rows: byBehaviour.map(({ name, video, live }) => [name, formatCount(video), formatCount(live)]),
    },
  ]
  const lengths = (name: string, most: unknown) => histogram(intsOf(users, name), 0, (most as number) + 1)
  return {
    facts: [],
    tables: statistics,
    charts: [
      {
        title: 'True probability of click',
        xLabel: 'mean true probability of a bin',
        series: calibrated(valuesOf(truth, 'pClick'), valuesOf(rows, 'click')),
      },
      interestChart(knobs, tables, longest),
      {
        title: 'Length of histories',
        xLabel: 'acts',
        series: [
          { name: 'video', points: lengths('videoActs', knobs.videoActs) },
          { name: 'live', points: lengths('liveActs', knobs.liveActs) },
        ],
      },
      {
        title: 'Parts of the logit',
        xLabel: 'product with the interest',
        series: ['stable', 'valuable'].map((name) => ({ name, points: histogram(valuesOf(truth, name), -3, 3) })),
      },
    ],
  }
}

/** How much chosen items resemble the stable interest at the request and the valuable one, by step. */
function interestChart(knobs: Knobs, { events, eventTruth, users, items }: Tables, longest: number): StatisticsChart {
  const width = knobs.dimensions as number
  const bins = Math.min(longest, HISTOGRAM_BINS)
  const sums = Array.from({ length: bins }, () => [0, 0, 0, 0])
  const [user, item] = [valuesOf(events, 'user'), valuesOf(events, 'item')]
  const [step, valuable] = [valuesOf(eventTruth, 'step'), valuesOf(eventTruth, 'valuable')]
  const [vector, cos, sin] = [floatsOf(items, 'vector'), floatsOf(users, 'stableCos'), floatsOf(users, 'stableSin')]
  const [interest, phase] = [floatsOf(users, 'valuableInterest'), floatsOf(users, 'phase')]
  const stride = Math.max(1, Math.floor(step.length / (4 * SAMPLE)))
  for (let event = 0; event < step.length; event += stride) {
    const s = step[event] as number
    if (s === longest) continue
    const [u, q] = [((user[event] as number) - 1) * width, ((item[event] as number) - 1) * width]
    const angle = 2 * Math.PI * (knobs.drift as number) + (phase[u / width] as number)
    let [stable, other] = [0, 0]
    for (let i = 0; i < width; i++) {
      const x = vector[q + i] as number
      stable += x * (Math.cos(angle) * (cos[u + i] as number) + Math.sin(angle) * (sin[u + i] as number))
      other += x * (interest[u + i] as number)
    }
    const sum = sums[Math.floor((s * bins) / longest)] as number[]
    const at = valuable[event] === 1 ? 2 : 0
    sum[at] = (sum[at] as number) + 1
    sum[at + 1] = (sum[at + 1] as number) + (at === 2 ? other : stable)
  }
  const line = (at: number): [number, number | null][] =>
    sums.map((sum, bin) => [
      ((bin + 0.5) * longest) / bins,
      sum[at] ? (sum[at + 1] as number) / (sum[at] as number) : null,
    ])
  return {
    title: 'Interests in histories',
    xLabel: 'step; the request is the last',
    series: [
      { name: 'ordinary acts with the stable interest at the request', points: line(0) },
      { name: 'valuable acts with the valuable interest', points: line(2) },
    ],
    note: 'Mean cosine. The stable interest turns away and comes back; the valuable one stands still.',
  }
}
