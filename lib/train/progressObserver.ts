/** The progress bar of a training run: it runs over all epochs, with a line for each that ended. */
import type { LoopObserver } from './loop.js'
import { createProgress, type Progress } from './progress.js'

export interface TrainingProgressOptions {
  readonly title: string
  readonly epochs: number
}

/** Calls `run` with an observer that shows how far it has come; the bar stops however it ends. */
export async function withProgress<T>(
  { title, epochs }: TrainingProgressOptions,
  run: (observer: LoopObserver) => Promise<T>,
): Promise<T> {
  let progress: Progress | null = null
  let done = 0
  const print = (line: string) => progress?.print(line)
  try {
    return await run({
      started: ({ exampleCount, epoch, examples }) => {
        done = (epoch - 1) * exampleCount + examples
        progress = createProgress({ title, total: exampleCount * epochs, start: done })
      },
      stepped: ({ examples, loss }) => {
        done += examples
        progress?.update(done, { loss })
      },
      skipped: (checkpoints) => {
        for (const { reason } of checkpoints) print(`passed over: ${reason}`)
      },
      epochEnded: ({ epoch, loss, metrics, best, examplesPerSecond }) => {
        const values = Object.entries(metrics).map(([name, value]) => `  validation ${name} ${value.toFixed(4)}`)
        const rate = Math.round(examplesPerSecond).toLocaleString('en-US')
        print(`epoch ${epoch}  loss ${loss.toFixed(4)}${values.join('')}${best ? ' (best)' : ''}  ${rate} samples/s`)
      },
    })
  } finally {
    ;(progress as Progress | null)?.stop()
  }
}
