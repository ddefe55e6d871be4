/** A command whose reader leaves ends quietly. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const main = fileURLToPath(new URL('../../lib/cli/main.ts', import.meta.url))

it('a closed pipe is no error', async () => {
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'systems'], { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  let complaints = ''
  child.stderr.on('data', (text) => {
    complaints += text
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  expect([code, complaints]).toEqual([0, ''])
})
