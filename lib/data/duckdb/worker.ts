/** The reading thread: one job at a time. DuckDB, decoding and all copying of columns live here. */
import { parentPort } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import type { Columns } from '../columns.js'
import type { Answer, Request } from './protocol.js'
import { runJob } from './reader.js'

/** Blocks that may wait for their owner. */
const AHEAD = 2

const port = parentPort
if (!port) throw new Error('worker.ts runs in a worker thread')

let room = AHEAD
let stopped = false
let wake: (() => void) | undefined

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
  else stopped = true
  wake?.()
})

async function run({ job }: Extract<Request, { type: 'job' }>): Promise<void> {
  room = AHEAD
  stopped = false
  try {
    await runJob(job, {
      send,
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
    send({ type: 'end' })
  } catch (error) {
    send(failureOf(error))
  }
}

function failureOf(error: unknown): Answer {
  if (error instanceof KairosError) return { type: 'error', code: error.code, details: error.details }
  const got = error instanceof Error ? error.message : String(error)
  return { type: 'error', code: 'KAIROS_INTERNAL', details: { op: 'reading thread', got } }
}
