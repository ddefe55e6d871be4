/** The report: every text escaped, nothing fetched, the same size for a long run as for a short one. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { formatTick, lineChart, ticks } from '../../lib/train/chart.js'
import { renderReport, writeReport } from '../../lib/train/report.js'
import { Curve, curvesOf } from '../../lib/train/reportData.js'
import type { LogEvent } from '../../lib/train/runLog.js'

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()
const nasty = `<script>alert("1" & '2')</script>`

function* eventsOf(steps: number, config: unknown = {}): Generator<LogEvent> {
  yield { time: at(0), event: 'start', step: 0, epoch: 1, config, environment: { CPU: nasty } }
  for (let step = 1; step <= steps; step++) {
    yield {
      time: at(step),
      event: 'step',
      step,
      epoch: 1,
      loss: 1 / step,
      lr: 0.1 / step,
      samplesPerSecond: 10,
      rss: 2 ** 20,
    }
  }
  yield {
    time: at(steps),
    event: 'evaluation',
    step: steps,
    epoch: 1,
    metrics: { [nasty]: 0.5, other: null },
    best: true,
  }
  yield { time: at(steps), event: 'epoch', step: steps, epoch: 1, loss: 0.5, samplesPerSecond: 1234.5 }
  yield { time: at(steps + 1), event: 'end', step: steps, epoch: 1, ending: 'patience' }
}

it('escapes everything, asks the network for nothing, and runs no script', async () => {
  const estimate = { mean: 0.25, low: 0.2, high: 0.3 }
  const results = [{ title: nasty, header: [nasty], rows: [[nasty, estimate, 3, nasty]], note: nasty }]
  const html = renderReport({ title: nasty, log: '', results }, await curvesOf(eventsOf(5, { [nasty]: [nasty] })))
  expect(html).not.toMatch(/<script|https?:|\bsrc=|\bhref=|@import|url\(|\bon\w+=/)
  expect(html.match(/&lt;script&gt;/g)?.length).toBeGreaterThan(10)
  expect(html).toContain('0.2500<small class="muted">0.2000 to 0.3000</small>')
  expect(html).toContain('Ended in epoch 1: no better for a while')
  expect(html).toContain('prefers-color-scheme: dark')
  expect(html).toContain('name="viewport"')
})

it('writes a file whole, of a size that does not follow the length of the log', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-report-'))
  const sizeOf = async (steps: number) => {
    const log = join(folder, 'log.jsonl')
    await writeFile(log, [...eventsOf(steps)].map((event) => `${JSON.stringify(event)}\n`).join(''))
    await writeReport(join(folder, 'report.html'), { title: 'run', log })
    return (await readFile(join(folder, 'report.html'))).length
  }
  await sizeOf(0)
  const [short, long] = [await sizeOf(1000), await sizeOf(20_000)]
  expect(long).toBeLessThan(1.3 * short)
  expect((await readdir(folder)).sort()).toEqual(['log.jsonl', 'report.html'])
  await rm(folder, { recursive: true })
})

it('shows a resumed run as one: what came after the checkpoint counts once', async () => {
  const events: LogEvent[] = [
    { time: at(0), event: 'start', step: 0, epoch: 1 },
    { time: at(1), event: 'step', step: 1, epoch: 1, loss: 3 },
    { time: at(2), event: 'step', step: 2, epoch: 1, loss: 2 },
    { time: at(3), event: 'evaluation', step: 2, epoch: 1, metrics: { auc: 0.9 }, best: true },
    { time: at(500), event: 'start', step: 1, epoch: 1 },
    { time: at(501), event: 'step', step: 2, epoch: 1, loss: 2 },
    { time: at(502), event: 'evaluation', step: 2, epoch: 1, metrics: { auc: 0.8 }, best: true },
  ]
  const run = await curvesOf(events)
  expect(run.loss.points).toEqual([
    [1, 3],
    [2, 2],
  ])
  expect(run.metrics.get('auc')?.points).toEqual([[2, 0.8]])
  expect(run).toMatchObject({ resumes: 1, seconds: 5, end: null, steps: 2, best: { metrics: { auc: 0.8 } } })
  expect(renderReport({ title: 'x', log: '' }, run)).toContain('Running, epoch 1, resumed once')
})

it('thins a curve and keeps its course', () => {
  const curve = new Curve()
  for (let i = 1; i <= 100_000; i++) curve.add(i, i)
  expect(curve.points.length).toBeLessThanOrEqual(800)
  for (const [x, y] of curve.points) expect(Math.abs(x - (y as number))).toBeLessThan(200)
  const broken = new Curve()
  for (const y of [1, Number.NaN, null, 2]) broken.add(broken.points.length, y)
  expect(broken.points.map(([, y]) => y)).toEqual([1, null, null, 2])
})

it.each([
  [0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]],
  [4.2, 5.8, [4.5, 5, 5.5]],
  [-3, 12, [-0, 5, 10]],
  [3, 3, [3]],
  [0, Number.POSITIVE_INFINITY, [0]],
])('ticks from %d to %d', (low, high, expected) => {
  expect(ticks(low, high).map((tick) => tick + 0)).toEqual(expected.map((tick) => tick + 0))
})

it.each([
  [0, '0'],
  [0.25, '0.25'],
  [1200, '1,200'],
  [12_000, '12k'],
  [2_500_000, '2.5M'],
  [1e-7, '1e-7'],
  [3e12, '3e12'],
])('%d reads %s', (value, text) => {
  expect(formatTick(value)).toBe(text)
})

it('draws one point, no point, and breaks the line where a value is missing', () => {
  const chart = (points: [number, number | null][]) =>
    lineChart({ title: 'loss', xLabel: 'step', series: [{ name: 'loss', points }] })
  expect(chart([])).toContain('nothing yet')
  for (const points of [
    [],
    [[1, 2]],
    [
      [0, 1],
      [1, null],
      [2, 3],
    ],
  ] as [number, number | null][][]) {
    expect(chart(points)).not.toMatch(/NaN|Infinity|undefined/)
  }
  expect(
    chart([
      [0, 1],
      [1, 2],
      [2, null],
      [3, 1],
      [4, 2],
    ])
      .match(/d="([^"]*)"/)?.[1]
      ?.match(/M/g),
  ).toHaveLength(2)
})
