/** How far a long job has come: a bar on a terminal, a line every few seconds in a log. */
import { type Options, Presets, SingleBar } from 'cli-progress'

export interface Progress {
  /** `done` of `total`; the values replace those shown so far. */
  update(done: number, values?: { readonly loss?: number }): void
  /** Prints a line without tearing the bar. */
  print(line: string): void
  /** Leaves the last state on the screen. Safe to call twice. */
  stop(): void
}

export interface ProgressOptions {
  readonly title: string
  readonly total: number
  /** Done before, by a run that this one continues: it counts for the share, not for the rate. */
  readonly start?: number
  /** What is counted. */
  readonly unit?: string
  /** Whether a loss is shown; true unless told. */
  readonly loss?: boolean
  readonly stream?: NodeJS.WriteStream
  /** Milliseconds between two lines where there is no terminal. */
  readonly interval?: number
  readonly now?: () => number
}

export function createProgress(options: ProgressOptions): Progress {
  const { stream = process.stderr } = options
  return stream.isTTY ? barProgress({ ...options, stream }) : lineProgress({ ...options, stream })
}

/** Rate over everything since the start: steps are alike, so it is steadier than a window and needs no history. */
class Pace {
  readonly #now: () => number
  readonly #start: number
  readonly #total: number
  readonly #before: number

  constructor({ total, start = 0, now = () => performance.now() }: ProgressOptions) {
    this.#now = now
    this.#total = total
    this.#before = start
    this.#start = now()
  }

  get elapsed(): number {
    return (this.#now() - this.#start) / 1000
  }

  at(done: number) {
    const rate = this.elapsed > 0 ? (done - this.#before) / this.elapsed : 0
    return {
      rate: formatCount(rate),
      left: rate > 0 ? formatSeconds((this.#total - done) / rate) : '?',
      percent: `${Math.floor(this.#total > 0 ? (100 * done) / this.#total : 100)}`,
    }
  }
}

function barProgress(options: ProgressOptions & { stream: NodeJS.WriteStream }): Progress {
  const { title, total, start = 0, unit = 'samples', loss: hasLoss = true, stream } = options
  const pace = new Pace(options)
  const barOptions: Options = {
    format: `{title} {bar} {percentage}%  {rate} ${unit}/s${hasLoss ? '  loss {loss}' : ''}  {left} left`,
    stream,
    hideCursor: true,
    clearOnComplete: false,
    fps: 8,
  }
  const bar = new SingleBar(barOptions, Presets.shades_classic)
  const payload = { title, rate: '?', loss: '-', left: '?' }
  bar.start(total, start, payload)
  let stopped = false
  return {
    update(done, { loss } = {}) {
      if (loss !== undefined) payload.loss = formatLoss(loss)
      const { rate, left } = pace.at(done)
      bar.update(done, Object.assign(payload, { rate, left }))
    },
    print(line) {
      // Over the bar's line; the bar is drawn again below it at its next turn.
      stream.write(`\r\x1b[K${line}\n`)
    },
    stop() {
      if (!stopped) bar.stop()
      stopped = true
    },
  }
}

function lineProgress(options: ProgressOptions & { stream: NodeJS.WriteStream }): Progress {
  const { title, total, unit = 'samples', loss: hasLoss = true, stream, interval = 5000 } = options
  const pace = new Pace(options)
  let written = 0
  let last: { done: number; loss: string } | undefined
  const write = ({ done, loss }: { done: number; loss: string }) => {
    const { rate, left, percent } = pace.at(done)
    const rest = done < total ? `  ${left} left` : `  ${formatSeconds(pace.elapsed)}`
    stream.write(`${title}  ${percent.padStart(3)}%  ${rate} ${unit}/s${hasLoss ? `  loss ${loss}` : ''}${rest}\n`)
    written = pace.elapsed
    last = undefined
  }
  return {
    update(done, { loss } = {}) {
      last = { done, loss: loss === undefined ? (last?.loss ?? '-') : formatLoss(loss) }
      if (pace.elapsed - written >= interval / 1000) write(last)
    },
    print(line) {
      stream.write(`${line}\n`)
    },
    stop() {
      if (last) write(last)
    },
  }
}

const formatLoss = (loss: number): string => (Number.isFinite(loss) ? loss.toFixed(4) : String(loss))

/** `950`, `12,300` */
const formatCount = (count: number): string => Math.round(count).toLocaleString('en-US')

/** `42 s`, `3 min 05 s`, `2 h 10 min` */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}
