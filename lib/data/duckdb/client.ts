/** The owner's side of a reading thread. Everything here is messages: what takes time happens there. */
import type { Worker } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import { startWorker } from '../startWorker.js'
import type { Answer, Job, Request } from './protocol.js'

/** Milliseconds that a thread without a job waits for one: starting another takes about 100. */
const PATIENCE = 2000

interface Thread {
  readonly worker: Worker
  /** One while a job runs, whose end the thread notifies. */
  readonly busy: Int32Array
}

/** The last thread that finished, and when it gives up. */
let idle: { readonly thread: Thread; readonly timer: NodeJS.Timeout } | undefined

const active = new Set<Thread>()
/** Milliseconds that an exiting process gives its threads to leave DuckDB. */
const FAREWELL = 10_000

/**
 * Node cuts off the threads of a process that exits, and DuckDB's binding aborts the process when that happens amid a
 * call. So each one is told to stop, and has left before the exit goes on.
 */
function leaveDuckDb(): void {
  for (const { worker } of active) worker.postMessage({ type: 'stop' } satisfies Request)
  for (const { busy } of active) Atomics.wait(busy, 0, 1, FAREWELL)
}

function startThread(): Thread {
  const busy = new Int32Array(new SharedArrayBuffer(4))
  return { busy, worker: startWorker(import.meta.url, 'worker', { name: 'kairos data', workerData: busy }) }
}

function takeThread(): Thread {
  const thread = idle?.thread ?? startThread()
  clearTimeout(idle?.timer)
  idle = undefined
  forgetListeners(thread.worker)
  Atomics.store(thread.busy, 0, 1)
  if (active.size === 0) process.on('exit', leaveDuckDb)
  active.add(thread)
  return thread
}

function releaseThread(thread: Thread): void {
  active.delete(thread)
  if (active.size === 0) process.off('exit', leaveDuckDb)
}

/** Ours alone: Node listens to a worker as well. */
function forgetListeners(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
}

function keepThread(thread: Thread): void {
  const { worker } = thread
  forgetListeners(worker)
  if (idle) {
    worker.terminate()
    return
  }
  const forget = () => {
    idle = undefined
    worker.terminate()
  }
  worker.once('error', forget)
  idle = { thread, timer: setTimeout(forget, PATIENCE).unref() }
}

/**
 * Answers of a job, in order. When the caller leaves the loop early the thread is told so and stops after its present
 * chunk. A process that exits takes its threads along, and only somebody who waits for an answer keeps it alive.
 */
export async function* answersOf(job: Job): AsyncGenerator<Exclude<Answer, { type: 'error' | 'end' }>> {
  const thread = takeThread()
  const { worker } = thread
  const post = (request: Request) => worker.postMessage(request)
  const arrived: Answer[] = []
  let failure: unknown
  let wake: (() => void) | undefined
  worker.on('message', (answer: Answer) => {
    arrived.push(answer)
    wake?.()
  })
  worker.once('error', (error: Error) => {
    failure = new KairosError(
      'KAIROS_INTERNAL',
      { op: job.op, argument: 'reading thread', got: error.message },
      { cause: error },
    )
    wake?.()
  })
  worker.once('exit', () => {
    failure ??= new KairosError('KAIROS_INTERNAL', { op: job.op, argument: 'reading thread', got: 'an early end' })
    wake?.()
  })
  const next = async (): Promise<Answer> => {
    worker.ref()
    while (arrived.length === 0 && failure === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    worker.unref()
    const answer = arrived.shift()
    if (answer === undefined) throw failure
    return answer
  }
  let over = false
  worker.unref()
  try {
    post({ type: 'job', job })
    for (;;) {
      const answer = await next()
      over = answer.type === 'end' || answer.type === 'error'
      if (answer.type === 'end') return
      if (answer.type === 'error') throw new KairosError(answer.code, answer.details)
      yield answer
      if (answer.type === 'block') post({ type: 'next' })
    }
  } finally {
    if (!over && failure === undefined) post({ type: 'stop' })
    while (!over && failure === undefined) {
      const { type } = await next().catch((): Answer => ({ type: 'end' }))
      over = type === 'end' || type === 'error'
    }
    releaseThread(thread)
    if (failure === undefined) keepThread(thread)
  }
}
