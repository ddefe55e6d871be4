/**
 * The folder of a run.
 *
 *     run/checkpoints/   what a resume goes on from
 *     run/log.jsonl      what happened
 *     run/report.html    the same for the eye
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Executor } from '../runtime/index.js'
import { CheckpointFolder, type CheckpointFolderOptions } from './checkpoint.js'
import { environmentOf } from './environment.js'
import type { LoopObserver } from './loop.js'
import type { Json } from './manifest.js'
import { type ResultTable, writeReport } from './report.js'
import { RunLog, type RunLogOptions } from './runLog.js'

export interface RunFolderOptions extends CheckpointFolderOptions, RunLogOptions {
  readonly title: string
  /** Shown in the report. */
  readonly config: Json
  readonly executor: Executor
}

export interface RunFolder {
  readonly checkpoints: CheckpointFolder
  readonly log: RunLog
  /** Keeps the log, and the report up to date at every epoch. */
  readonly observer: LoopObserver
  /** Writes the report with what was measured at the end. */
  report(results?: readonly ResultTable[]): Promise<void>
  close(): Promise<void>
}

/** Opens the folder of a run for writing, or makes it. Throws KAIROS_ARGUMENT while another process writes it. */
export async function openRunFolder(path: string, options: RunFolderOptions): Promise<RunFolder> {
  const { title, config, executor } = options
  await mkdir(path, { recursive: true })
  // First, for its lock guards the log too.
  const checkpoints = await CheckpointFolder.open(join(path, 'checkpoints'), options)
  try {
    const log = await RunLog.open(join(path, 'log.jsonl'), options)
    const written = log.observer({ config, environment: await environmentOf(executor) })
    const report = (results: readonly ResultTable[] = []) =>
      writeReport(join(path, 'report.html'), { title, log: log.path, results })
    const observer: LoopObserver = {
      ...written,
      async epochEnded(epoch) {
        await written.epochEnded?.(epoch)
        await report()
      },
      async ended(end) {
        await written.ended?.(end)
        await report()
      },
    }
    const close = async () => {
      try {
        await log.close()
      } finally {
        await checkpoints.close()
      }
    }
    return { checkpoints, log, observer, report, close }
  } catch (error) {
    await checkpoints.close()
    throw error
  }
}
