/** The owner's side of the simulator's threads. Nothing is computed here. */
import type { Worker } from 'node:worker_threads'
import { KairosError } from '../../core/errors.js'
import { startWorker } from '../startWorker.js'
import type { Answer, Request } from './protocol.js'

type Final = Exclude<Answer, { type: 'progress' | 'error' }>

export class Pool {
  readonly #workers: Worker[]

  constructor(threads: number) {
    this.#workers = Array.from({ length: threads }, () =>
      startWorker(import.meta.url, 'worker', { name: 'kairos simulator' }),
    )
  }

  get size(): number {
    return this.#workers.length
  }

  /** Asks one thread, which has no other request. */
  ask<T extends Final['type']>(
    index: number,
    request: Request,
    type: T,
    onProgress: (units: number) => void = () => {},
  ): Promise<Extract<Final, { type: T }>> {
    const worker = this.#workers[index] as Worker
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
        act()
      }
      const fault = (got: string) =>
        settle(() => reject(new KairosError('KAIROS_INTERNAL', { op: 'simulate', argument: 'thread', got })))
      worker.on('message', (answer: Answer) => {
        if (answer.type === 'progress') onProgress(answer.units)
        else if (answer.type === 'error') settle(() => reject(new KairosError(answer.code, answer.details)))
        else if (answer.type === type) settle(() => resolve(answer as Extract<Final, { type: T }>))
        else fault(`an answer '${answer.type}'`)
      })
      worker.once('error', (error: Error) => fault(error.message))
      worker.once('exit', () => fault('an early end'))
      worker.postMessage(request)
    })
  }

  /** The same for all threads. */
  async askAll<T extends Final['type']>(request: Request, type: T, onProgress?: (units: number) => void) {
    await Promise.all(this.#workers.map((_, index) => this.ask(index, request, type, onProgress)))
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }
}
