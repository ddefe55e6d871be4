/** The log: one object a line, whole lines only. */
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LogEvent, RunLog, readLog } from '../../lib/train/runLog.js'

let folder = ''
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-log-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))
const freshPath = () => join(folder, `${count++}.jsonl`)

async function eventsOf(path: string): Promise<LogEvent[]> {
  const events: LogEvent[] = []
  for await (const event of readLog(path)) events.push(event)
  return events
}

const step = { epoch: 1, batch: 0, examples: 4, scalars: { lr: 0.5 } }

it('writes what the loop tells, in order, with the facts of the start', async () => {
  let time = Date.parse('2026-01-02T03:04:05.000Z')
  const log = await RunLog.open(freshPath(), { stepInterval: 1000, now: () => time })
  const observer = log.observer({ config: { layers: 2 } })
  observer.started?.({ step: 0, epoch: 1, exampleCount: 12, examples: 0 })
  for (const [index, loss] of [4, 2, Number.NaN, 1].entries()) {
    time += 500
    observer.stepped?.({ ...step, step: index + 1, loss })
  }
  observer.evaluated?.({ step: 4, epoch: 1, metrics: { auc: 0.75, none: Number.NaN }, best: true })
  observer.epochEnded?.({ step: 4, epoch: 1, loss: 2, metrics: { auc: 0.75 }, best: true, examplesPerSecond: 12.345 })
  observer.saved?.({ step: 4, path: 'step-4', seconds: 0.01234 })
  observer.skipped?.([{ path: 'x', reason: 'damaged' }])
  await observer.ended?.({ step: 4, epoch: 1, ending: 'epochs' })
  await log.close()
  const events = await eventsOf(log.path)
  const rss = expect.any(Number)
  expect(events.map(({ time, ...rest }) => rest)).toEqual([
    { event: 'start', step: 0, epoch: 1, exampleCount: 12, config: { layers: 2 }, rss },
    { event: 'step', step: 2, epoch: 1, loss: 3, lr: 0.5, samplesPerSecond: 8, rss },
    { event: 'step', step: 4, epoch: 1, loss: null, lr: 0.5, samplesPerSecond: 8, rss },
    { event: 'evaluation', step: 4, epoch: 1, metrics: { auc: 0.75, none: null }, best: true },
    { event: 'epoch', step: 4, epoch: 1, loss: 2, metrics: { auc: 0.75 }, best: true, samplesPerSecond: 12.3, rss },
    { event: 'checkpoint', step: 4, path: 'step-4', seconds: 0.012 },
    { event: 'skipped', checkpoints: [{ path: 'x', reason: 'damaged' }] },
    { event: 'end', step: 4, epoch: 1, ending: 'epochs', rss },
  ])
  expect(events[1]?.time).toBe('2026-01-02T03:04:06.000Z')
})

const whole = '{"time":"t","event":"end","step":1}\n'

describe('opening again', () => {
  it.each([
    ['nothing', '', ''],
    ['whole lines', whole + whole, whole + whole],
    ['a torn line', `${whole}{"time":"t","eve`, whole],
    ['a torn line alone', '{"time":"t","eve', ''],
    ['a line that lacks but its end', whole + whole.trimEnd(), whole + whole],
    ['bytes of nothing after a loss of power', `${whole}\0\0\0\0`, whole],
    ['a torn line longer than a chunk', `${whole}{"x":"${'y'.repeat(1_200_000)}`, whole],
    ['a torn character', Buffer.concat([Buffer.from(whole), Buffer.of(0x7b, 0xc3)]), whole],
  ])('after %s', async (_, before, after) => {
    const path = freshPath()
    await writeFile(path, before)
    const log = await RunLog.open(path)
    expect(await readFile(path, 'utf8')).toBe(after)
    await log.write({ event: 'skipped' })
    await log.close()
    const text = await readFile(path, 'utf8')
    expect(text.startsWith(after)).toBe(true)
    expect(text.slice(after.length)).toMatch(/^\{"time":".*","event":"skipped"\}\n$/)
  })

  it('reads past lines that are no events', async () => {
    const path = freshPath()
    await appendFile(path, `${whole}nonsense\n[1]\nnull\n{"no":"event"}\n\n${whole}`)
    expect(await eventsOf(path)).toHaveLength(2)
  })
})

it('says in close what failed', async () => {
  const log = await RunLog.open(freshPath())
  await log.close()
  await expect(log.write({ event: 'end' })).rejects.toThrow(/closed|EBADF/)
})
