/** A thread of the simulator: makes platforms, events, files and statistics, one request at a time. */
import { parentPort } from 'node:worker_threads'
import { isKairosError } from '../../core/errors.js'
import { writeParquet } from './parquet.js'
import { processes } from './processes.js'
import type { Answer, Request } from './protocol.js'
import { statisticsOf } from './statistics.js'

const port = parentPort
if (!port) throw new Error('worker.ts runs in a worker thread')

const send = (answer: Answer) => port.postMessage(answer)

async function run(request: Request): Promise<Answer> {
  switch (request.task) {
    case 'prepare':
      return { type: 'prepared', prepared: processes[request.work.preset].prepare(request.work) }
    case 'fill':
      fill(request)
      return { type: 'filled' }
    case 'write':
      await writeParquet(request.file)
      return { type: 'written' }
    case 'statistics':
      return { type: 'statistics', statistics: statisticsOf(request.work, request.prepared) }
    default:
      return request satisfies never
  }
}

/** Takes pieces of the work until none is left; which thread makes a piece changes nothing. */
function fill({ work, prepared, next, piece }: Extract<Request, { task: 'fill' }>): void {
  const make = processes[work.preset].filler(work, prepared)
  for (;;) {
    const begin = Atomics.add(next, 0, piece)
    if (begin >= prepared.units) return
    const end = Math.min(prepared.units, begin + piece)
    make(begin, end)
    send({ type: 'progress', units: end - begin })
  }
}

port.on('message', (request: Request) => {
  run(request).then(send, (error: unknown) => {
    if (isKairosError(error)) send({ type: 'error', code: error.code, details: error.details })
    else
      send({
        type: 'error',
        code: 'KAIROS_INTERNAL',
        details: { op: 'simulate', got: String((error as Error)?.stack) },
      })
  })
})
