/** The reading thread: one job at a time. DuckDB, decoding and all copying of columns live here. */
import { parentPort, workerData } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import type { Columns } from '../columns.js'
import type { Answer, Request } from './protocol.js'
import { runJob } from './reader.js'

/** Blocks that may wait for their owner. */
const AHEAD = 2

const port = parentPort
if (!port) throw new Error('worker.ts runs in a worker thread')

/** One while a job runs; an exiting process waits for the zero. */
const busy = workerData as Int32Array

let room = AHEAD
let stopped = false
let wake: (() => void) | undefined
let interrupt: (() => void) | undefined

const send = (answer: Answer) =>
  port.postMessage(answer, answer.type === 'block' ? buffersOf(answer.block.columns) : [])

const buffersOf = (columns: Columns): ArrayBuffer[] =>
  Object.values(columns).flatMap(({ values, offsets, missing }) =>
    [values, offsets, missing].flatMap((array) => (array ? [array.buffer as ArrayBuffer] : [])),
  )

port.on('message', (request: Request) => {
  if (request.type === 'job') {
    run(request)
    return
  }
  if (request.type === 'next') room++
  else {
    stopped = true
    interrupt?.()
  }
  wake?.()
})

async function run({ job }: Extract<Request, { type: 'job' }>): Promise<void> {
  room = AHEAD
  stopped = false
  try {
    await runJob(job, {
      send,
      stopped: () => stopped,
      onStop(callback) {
        interrupt = callback
      },
      async room() {
        while (room === 0 && !stopped) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        room--
        return !stopped
      },
    })
    finish({ type: 'end' })
  } catch (error) {
    finish(stopped ? { type: 'end' } : failureOf(error))
  }
}

function finish(answer: Answer): void {
  interrupt = undefined
  // Before the answer, after which the owner may give the next job.
  Atomics.store(busy, 0, 0)
  Atomics.notify(busy, 0)
  send(answer)
}

function failureOf(error: unknown): Answer {
  if (error instanceof KairosError) return { type: 'error', code: error.code, details: error.details }
  const got = error instanceof Error ? error.message : String(error)
  return { type: 'error', code: 'KAIROS_INTERNAL', details: { op: 'reading thread', got } }
}
