/** The owner's side of a reading thread. Everything here is messages: what takes time happens there. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import type { Answer, Job, Request } from './protocol.js'

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

/**
 * Answers of a job, in order. The thread ends when the job does, when it fails, and when the caller leaves the loop
 * early; a process that exits takes it along.
 */
export async function* answersOf(job: Job): AsyncGenerator<Exclude<Answer, { type: 'error' | 'end' }>> {
  const worker = startThread()
  const post = (request: Request) => worker.postMessage(request)
  const arrived: Answer[] = []
  let failure: unknown
  let wake: (() => void) | undefined
  const notice = () => wake?.()
  let over = false
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', () => {
      over = true
      resolve()
      notice()
    })
  })
  worker.on('message', (answer: Answer) => {
    arrived.push(answer)
    notice()
  })
  worker.once('error', (error) => {
    failure = error
    notice()
  })
  // Only somebody who waits keeps the process alive: a loop that was left without `return` does not.
  worker.unref()
  try {
    post({ type: 'job', job })
    for (;;) {
      const answer = arrived.shift()
      if (answer === undefined) {
        if (failure !== undefined) throw failure
        if (over)
          throw new KairosError('KAIROS_INTERNAL', { op: job.op, argument: 'reading thread', got: 'an early end' })
        worker.ref()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        worker.unref()
        continue
      }
      if (answer.type === 'end') return
      if (answer.type === 'error') throw new KairosError(answer.code, answer.details)
      yield answer
      if (answer.type === 'block') post({ type: 'next' })
    }
  } finally {
    // It leaves by itself after its present chunk, and closes its DuckDB; cutting a thread off amid native code is worse.
    worker.ref()
    post({ type: 'stop' })
    await ended
  }
}
