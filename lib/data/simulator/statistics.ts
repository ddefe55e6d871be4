/** What a simulation turned out to be, next to what its knobs asked for: the content of the report. */
import { exposureStatistics } from './exposureStatistics.js'
import { historyStatistics } from './historyStatistics.js'
import {
  concentration,
  countsOf,
  formatCount,
  histogram,
  largest,
  type Statistics,
  type StatisticsChart,
} from './measures.js'
import { type Prepared, START, type Tables } from './process.js'
import type { Work } from './protocol.js'
import { intsOf, valuesOf } from './tables.js'

type Knobs = Readonly<Record<string, number | boolean>>

const DAY = 86_400

export function statisticsOf(work: Work, { tables }: Prepared): Statistics {
  const knobs = work.knobs as Knobs
  const parts = [
    common(knobs, tables),
    work.preset === 'farm' ? historyStatistics(knobs, tables) : exposureStatistics(work, tables),
  ]
  return {
    facts: parts.flatMap(({ facts }) => facts),
    tables: parts.flatMap((part) => part.tables),
    charts: parts.flatMap(({ charts }) => charts),
  }
}

/** What every log has: time, users, groups, shards, authors. */
function common(knobs: Knobs, { events, users, rows }: Tables): Statistics {
  const time = valuesOf(events, 'time')
  const [first, last] = [time[0] as number, time[time.length - 1] as number]
  const perUser = countsOf(valuesOf(events, 'user'), users.rowCount)
  const most = largest(perUser)
  const perHour = histogram(time, first, last + 1)
  const shown = events.columns.author ?? events.columns.item
  const group = intsOf(users, 'group')
  const perGroup = countsOf(group, knobs.groups as number)
  const perClient = countsOf(valuesOf(events, 'client'), knobs.clients as number)
  const charts: StatisticsChart[] = [
    {
      title: 'Events over time',
      xLabel: 'days',
      series: [{ name: 'share of events', points: perHour.map(([t, n]) => [(t - START) / DAY, n]) }],
    },
    {
      title: 'Events of a user',
      xLabel: 'events',
      series: [{ name: 'share of users', points: histogram(perUser, 0, most + 1) }],
    },
    {
      title: 'Concentration',
      xLabel: 'share of the most frequent',
      series: [
        ...(shown
          ? [
              {
                name: `events by ${events.columns.author ? 'author' : 'item'}`,
                points: concentration(countsOf(shown.values, largest(shown.values))),
              },
            ]
          : []),
        { name: 'events by client', points: concentration(perClient) },
        { name: 'users by group', points: concentration(perGroup) },
      ],
    },
  ]
  const facts: Statistics['facts'] = [
    ['Events', formatCount(events.rowCount)],
    ['Rows', formatCount(rows.rowCount)],
    ['Users', formatCount(users.rowCount)],
    ['Days', ((last - first) / DAY).toFixed(1)],
  ]
  return { facts, tables: [], charts }
}
