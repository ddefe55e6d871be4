/** The owner's side of a reading thread. Everything here is messages: what takes time happens there. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import type { Answer, Job, Request } from './protocol.js'

/** Milliseconds that a thread without a job waits for one: starting another takes about 100. */
const PATIENCE = 2000

/** The last thread that finished, and when it gives up. */
let idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout } | undefined

/** Beside compiled JavaScript stands the compiled thread; from source both are TypeScript, which a thread loads by tsx. */
function startThread(): Worker {
  const name = 'kairos data'
  // Not the flags of this process: a loader or a test runner among them has no business there.
  const execArgv: string[] = []
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./worker.js', import.meta.url), { name, execArgv })
  // `import.meta.resolve` is absent under vitest; `require` finds the CommonJS twin of the file we need.
  const tsx = pathToFileURL(
    createRequire(import.meta.url)
      .resolve('tsx/esm/api')
      .replace(/\.cjs$/, '.mjs'),
  ).href
  const entry = new URL('./worker.ts', import.meta.url).href
  const script = `import('${tsx}').then(({ register }) => (register(), import('${entry}')))`
  return new Worker(script, { name, execArgv, eval: true })
}

function takeThread(): Worker {
  if (!idle) return startThread()
  const { worker, timer } = idle
  clearTimeout(timer)
  forgetListeners(worker)
  idle = undefined
  return worker
}

/** Ours alone: Node listens to a worker as well. */
function forgetListeners(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
}

function keepThread(worker: Worker): void {
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
  idle = { worker, timer: setTimeout(forget, PATIENCE).unref() }
}

/**
 * Answers of a job, in order. When the caller leaves the loop early the thread is told so and stops after its present
 * chunk. A process that exits takes its threads along, and only somebody who waits for an answer keeps it alive.
 */
export async function* answersOf(job: Job): AsyncGenerator<Exclude<Answer, { type: 'error' | 'end' }>> {
  const worker = takeThread()
  const post = (request: Request) => worker.postMessage(request)
  const arrived: Answer[] = []
  let failure: unknown
  let wake: (() => void) | undefined
  worker.on('message', (answer: Answer) => {
    arrived.push(answer)
    wake?.()
  })
  worker.once('error', (error) => {
    failure = error
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
    if (failure === undefined) keepThread(worker)
  }
}
