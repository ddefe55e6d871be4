/** Curves for the report, read from a run's log: thinned on the way, so that a long log takes no more room than a short one. */
import type { LogEvent } from './runLog.js'

export type Point = readonly [x: number, y: number | null]

/** Points of a curve, at most 2 * LIMIT: when there are more, neighbours are averaged. */
export class Curve {
  private static readonly LIMIT = 400
  private stride = 1
  private pending: number[] = []
  private kept: Point[] = []

  add(x: number, y: number | null): void {
    // A value that is missing shows as a gap, and must not vanish in a mean.
    if (y === null || !Number.isFinite(y)) {
      this.kept.push([x, null])
    } else {
      this.pending.push(y)
      if (this.pending.length < this.stride) return
      this.kept.push([x, this.pending.reduce((sum, value) => sum + value, 0) / this.pending.length])
    }
    this.pending = []
    if (this.kept.length >= 2 * Curve.LIMIT) this.halve()
  }

  /** Forgets what lies beyond x: a resumed run goes there again. */
  cut(x: number): void {
    this.kept = this.kept.filter(([at]) => at <= x)
    this.pending = []
  }

  get points(): readonly Point[] {
    return this.kept
  }

  private halve(): void {
    const half: Point[] = []
    for (let i = 0; i + 1 < this.kept.length; i += 2) {
      const [[, a], [x, b]] = [this.kept[i] as Point, this.kept[i + 1] as Point]
      half.push([x, a === null || b === null ? null : (a + b) / 2])
    }
    this.kept = half
    this.stride *= 2
  }
}

export interface RunCurves {
  readonly loss: Curve
  readonly epochLoss: Curve
  readonly lr: Curve
  readonly metrics: ReadonlyMap<string, Curve>
  /** The newest best evaluation. */
  readonly best: LogEvent | null
  readonly start: LogEvent | null
  readonly end: LogEvent | null
  /** Of the last epoch. */
  readonly samplesPerSecond: number | null
  readonly peakRss: number
  readonly resumes: number
  /** Seconds between the first line and the last of each session, summed. */
  readonly seconds: number
  readonly steps: number
  readonly epochs: number
}

export async function curvesOf(events: AsyncIterable<LogEvent> | Iterable<LogEvent>): Promise<RunCurves> {
  const curves = { loss: new Curve(), epochLoss: new Curve(), lr: new Curve(), metrics: new Map<string, Curve>() }
  const run = {
    best: null as LogEvent | null,
    start: null as LogEvent | null,
    end: null as LogEvent | null,
    samplesPerSecond: null as number | null,
    peakRss: 0,
    resumes: -1,
    seconds: 0,
    steps: 0,
    epochs: 0,
  }
  let before: number | null = null
  for await (const event of events) {
    const { step = 0, loss = null } = event
    const time = Date.parse(event.time)
    if (event.event === 'start') {
      for (const curve of [curves.loss, curves.epochLoss, curves.lr, ...curves.metrics.values()]) curve.cut(step)
      if ((run.best?.step ?? 0) > step) run.best = null
      run.start = event
      run.resumes++
      before = null
    }
    if (before !== null && time > before) run.seconds += (time - before) / 1000
    before = time
    run.peakRss = Math.max(run.peakRss, event.rss ?? 0)
    run.end = event.event === 'end' ? event : null
    run.steps = step
    run.epochs = event.epoch ?? run.epochs
    if (event.event === 'step') {
      curves.loss.add(step, loss)
      if (typeof event.lr === 'number') curves.lr.add(step, event.lr)
    } else if (event.event === 'epoch') {
      curves.epochLoss.add(step, loss)
      run.samplesPerSecond = event.samplesPerSecond ?? null
    } else if (event.event === 'evaluation') {
      for (const [name, value] of Object.entries(event.metrics ?? {})) {
        const curve = curves.metrics.get(name) ?? new Curve()
        curves.metrics.set(name, curve)
        curve.add(step, value)
      }
      if (event.best) run.best = event
    }
  }
  return { ...curves, ...run, resumes: Math.max(0, run.resumes) }
}
