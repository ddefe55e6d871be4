/** Ctrl-C while training: saved, said, and the exit code that shells expect. */
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const main = fileURLToPath(new URL('../../lib/cli/main.ts', import.meta.url))

it('saves and exits with 130', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-signal-'))
  const data = join(folder, 'sequences.txt')
  await writeFile(data, Array.from({ length: 60 }, (_, user) => `${user} ${itemsOf(user)}\n`).join(''))
  const options = ['--max-length', '8', '--dimensions', '8', '--batch-size', '8', '--epochs', '1000', '--cutoff', '2']
  const args = ['train', '--system', 'frequency', '--data', data, ...options, '--patience', '1000', '--output', folder]
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (text) => {
    errors += text
    if (/epoch 1 /.test(text)) child.kill('SIGINT')
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  expect(code, errors).toBe(130)
  expect(errors).toMatch(/Interrupted in epoch \d+, after step \d+; add --resume to go on from there\.\n$/)
  const names = await readdir(join(folder, 'checkpoints'))
  expect(names.filter((name) => !name.startsWith('step-'))).toEqual([])
  await rm(folder, { recursive: true })
})

const itemsOf = (user: number) => Array.from({ length: 10 }, (_, i) => 1 + ((user * 7 + i * 3) % 20)).join(' ')
