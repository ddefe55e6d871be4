import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { encodeFile, slowFile } from './programFile.js'
import { addonPath } from './setup.js'

const host = fileURLToPath(new URL('./fixtures/host.mjs', import.meta.url))
const slow = [...encodeFile(slowFile(256, 12))]

async function runProcess(task: string, env: Record<string, string> = {}, node: string[] = ['--expose-gc']) {
  const child = spawn(process.execPath, [...node, host, JSON.stringify({ addonPath, slow, task })], {
    env: { ...process.env, ...env },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text))
  const [code, signal] = await once(child, 'close')
  return { code, signal, output: output.trim() }
}

describe('a process', () => {
  test('ends by itself when its executor is idle', async () => {
    expect(await runProcess('run')).toEqual({ code: 0, signal: null, output: 'ran 65536' })
  })
  test('stays for a promise that waits', async () => {
    expect(await runProcess('pending')).toEqual({ code: 0, signal: null, output: 'settled' })
  })
  test('closes its executor when the queue has drained', async () => {
    expect(await runProcess('close')).toEqual({ code: 0, signal: null, output: 'closed KAIROS_CLOSED' })
  })
  test('lets executors be collected', async () => {
    expect(await runProcess('garbage')).toEqual({ code: 0, signal: null, output: 'collected' })
  })
  test('may exit with work in flight, at any moment', async () => {
    for (let i = 0; i < 5; i++) {
      expect(await runProcess('exit')).toEqual({ code: 7, signal: null, output: 'in flight' })
      expect(await runProcess('exitLater')).toEqual({ code: 7, signal: null, output: '' })
    }
  })
  test('may die of an exception with work in flight', async () => {
    const { code, signal, output } = await runProcess('throw')
    expect({ code, signal }).toEqual({ code: 1, signal: null })
    expect(output).toContain('Error: mine')
  })
})

describe('worker threads', () => {
  const makeWorker = (task: string) => new Worker(host, { workerData: { addonPath, slow, task }, stdout: true })

  test('four load, run and end', async () => {
    for (let round = 0; round < 3; round++) {
      const codes = await Promise.all(Array.from({ length: 4 }, async () => (await once(makeWorker('run'), 'exit'))[0]))
      expect(codes).toEqual([0, 0, 0, 0])
    }
  })
  test('four end by process.exit with work in flight', async () => {
    const codes = await Promise.all(Array.from({ length: 4 }, async () => (await once(makeWorker('exit'), 'exit'))[0]))
    expect(codes).toEqual([7, 7, 7, 7])
  })
  test('are terminated with work in flight', async () => {
    for (const wait of [0, 1, 5, 20]) {
      const workers = Array.from({ length: 2 }, () => makeWorker('forever'))
      await Promise.all(workers.map((worker) => once(worker.stdout, 'data')))
      await sleep(wait)
      expect(await Promise.all(workers.map((worker) => worker.terminate()))).toEqual([1, 1])
    }
  })
})
