/** `log.jsonl`: what happened in a run, one JSON object a line, for people, scripts and the report. */
import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { CHUNK_BYTES, readAll } from './files.js'
import type { LoopObserver } from './loop.js'

/** A line of the log. Numbers that JSON cannot hold are null. */
export interface LogEvent {
  /** ISO 8601. */
  readonly time: string
  readonly event: 'start' | 'step' | 'evaluation' | 'epoch' | 'checkpoint' | 'skipped' | 'end'
  readonly step?: number
  readonly epoch?: number
  /** Of steps: the mean over examples since the last such line. */
  readonly loss?: number | null
  readonly lr?: number | null
  /** Of the last step: parts of the loss, statistics of weights. */
  readonly parts?: Readonly<Record<string, number | null>>
  readonly metrics?: Readonly<Record<string, number | null>>
  readonly best?: boolean
  readonly samplesPerSecond?: number | null
  /** Resident memory of the process, in bytes. */
  readonly rss?: number
  readonly [more: string]: unknown
}

export interface RunLogOptions {
  /** Least milliseconds between two lines of steps. */
  readonly stepInterval?: number
  readonly now?: () => number
}

const NEWLINE = 0x0a

/**
 * Appends. A last line that a crash left torn is cut off when the log is opened, one that lacks but its end gets it.
 * After a resume the steps since the checkpoint come again; a `start` line with its step tells from where.
 */
export class RunLog {
  private queue: Promise<void> = Promise.resolve()
  private readonly interval: number
  private readonly now: () => number

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    { stepInterval = 1000, now = Date.now }: RunLogOptions,
  ) {
    this.interval = stepInterval
    this.now = now
  }

  static async open(path: string, options: RunLogOptions = {}): Promise<RunLog> {
    const handle = await open(path, 'a+')
    try {
      await repairEnd(handle)
      return new RunLog(path, handle, options)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** One line, in the order of the calls. Resolves when it is written; a failure shows in `close` as well. */
  write(event: Omit<LogEvent, 'time'>): Promise<void> {
    const line = `${JSON.stringify({ time: new Date(this.now()).toISOString(), ...event })}\n`
    this.queue = this.queue.then(async () => {
      await this.handle.appendFile(line)
    })
    // Steps do not wait for their lines.
    this.queue.catch(() => undefined)
    return this.queue
  }

  async close(): Promise<void> {
    try {
      await this.queue
    } finally {
      await this.handle.close()
    }
  }

  /** Writes what the loop tells. `facts` go into the line of the start: configuration, environment. */
  observer(facts: Readonly<Record<string, unknown>> = {}): LoopObserver {
    const steps = { loss: 0, examples: 0, since: this.now() }
    const begin = () => Object.assign(steps, { loss: 0, examples: 0, since: this.now() })
    const rss = () => process.memoryUsage.rss()
    return {
      started: ({ step, epoch, exampleCount }) => {
        begin()
        return this.write({ event: 'start', step, epoch, exampleCount, ...facts, rss: rss() })
      },
      stepped: ({ step, epoch, examples, loss, scalars, parts = {} }) => {
        steps.loss += loss * examples
        steps.examples += examples
        const elapsed = this.now() - steps.since
        if (elapsed < this.interval) return
        const samplesPerSecond = elapsed > 0 ? round((1000 * steps.examples) / elapsed) : null
        const lr = scalars.lr ?? null
        void this.write({
          event: 'step',
          step,
          epoch,
          loss: steps.loss / steps.examples,
          lr,
          ...(Object.keys(parts).length > 0 ? { parts } : {}),
          samplesPerSecond,
          rss: rss(),
        })
        begin()
      },
      evaluated: ({ step, epoch, metrics, best }) => this.write({ event: 'evaluation', step, epoch, metrics, best }),
      epochEnded: ({ step, epoch, loss, metrics, best, examplesPerSecond }) =>
        this.write({
          event: 'epoch',
          step,
          epoch,
          loss,
          metrics,
          best,
          samplesPerSecond: round(examplesPerSecond),
          rss: rss(),
        }),
      saved: ({ step, path, seconds }) => this.write({ event: 'checkpoint', step, path, seconds: round(seconds, 3) }),
      skipped: (checkpoints) => this.write({ event: 'skipped', checkpoints }),
      ended: ({ step, epoch, ending }) => this.write({ event: 'end', step, epoch, ending, rss: rss() }),
    }
  }
}

const round = (value: number, digits = 1): number => Number(value.toFixed(digits))

async function repairEnd(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat()
  let tail = new Uint8Array(0)
  // A line may be longer than a chunk.
  for (let start = size; start > 0; ) {
    const length = Math.min(CHUNK_BYTES, start)
    start -= length
    const grown = new Uint8Array(length + tail.length)
    await readAll(handle, grown.subarray(0, length), start)
    grown.set(tail, length)
    tail = grown
    const end = tail.lastIndexOf(NEWLINE)
    if (end >= 0 || start === 0) {
      const line = tail.subarray(end + 1)
      if (line.length === 0) return
      if (parseLine(new TextDecoder().decode(line))) await handle.appendFile('\n')
      else await handle.truncate(start + end + 1)
      return
    }
  }
}

/** null for a line that is no event. */
function parseLine(line: string): LogEvent | null {
  try {
    const event = JSON.parse(line)
    return typeof event === 'object' && event !== null && typeof event.event === 'string' ? event : null
  } catch {
    return null
  }
}

/** The events of a log, one at a time; lines that are none are passed over. */
export async function* readLog(path: string): AsyncGenerator<LogEvent> {
  const stream = createReadStream(path)
  try {
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      const event = parseLine(line)
      if (event) yield event
    }
  } finally {
    stream.destroy()
  }
}
