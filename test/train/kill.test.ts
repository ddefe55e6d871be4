/** A run that is killed again and again, in the middle of whatever it does, ends in the same bits as one left alone. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'

const KILLS = 50
const EPOCHS = 40
const repository = fileURLToPath(new URL('../../', import.meta.url))
const addon = join(repository, 'build/Release/kairos.node')

let folder = ''
let runs = 0

/** As JavaScript: a process starts in a third of the time that tsx takes. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-kill-'))
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true }
  const library = (await readdir(join(repository, 'lib'), { recursive: true })).filter((name) => name.endsWith('.ts'))
  const paths = [...library.map((name) => join('lib', name)), 'test/design/support.ts']
  for (const path of [...paths, 'test/train/support.ts', 'test/train/trainingChild.ts']) {
    const source = await readFile(join(repository, path), 'utf8')
    const target = join(folder, path.replace(/\.ts$/, '.js'))
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, ts.transpileModule(source, { compilerOptions, fileName: path }).outputText)
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await symlink(join(repository, 'node_modules'), join(folder, 'node_modules'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly output: string
}

/** Starts a run; `seen` is called with all that it has printed so far, at every mark. */
function train(
  path: string,
  epochs: number,
  seen?: (output: string, child: ChildProcess) => void,
  slow = '',
): Promise<Ended> {
  const child = spawn(process.execPath, [join(folder, 'test/train/trainingChild.js'), path, `${epochs}`, slow], {
    env: { ...process.env, KAIROS_CHECK: '', KAIROS_ADDON: process.env.KAIROS_ADDON ?? addon },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let complaints = ''
  child.stdout.on('data', (text) => {
    output += text
    seen?.(output, child)
  })
  child.stderr.on('data', (text) => {
    complaints += text
  })
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output: code === 0 ? output : output + complaints }))
  })
}

const freshPath = () => join(folder, `run${runs++}`)
const endOf = ({ output }: Ended) => /end ([0-9a-f]{64})/.exec(output)?.[1] ?? output

it(`survives ${KILLS} kills at random moments`, async () => {
  const undisturbed = train(freshPath(), EPOCHS)
  const path = freshPath()
  const random = createRandom(2024)
  let halfWritten = 0
  for (let kill = 0; kill < KILLS; kill++) {
    // After some marks and a little while: steps, evaluations, and above all checkpoints, which take most of the time.
    const marks = 1 + random.int(7)
    const delay = random.uniform() * 12
    let aimed = false
    const { signal, output } = await train(path, EPOCHS, (seen, child) => {
      if (aimed || seen.length < marks) return
      aimed = true
      setTimeout(() => child.kill('SIGKILL'), delay)
    })
    expect(signal, output).toBe('SIGKILL')
    halfWritten += Number((await readdir(path)).some((name) => name.startsWith('.writing')))
  }
  expect(halfWritten).toBeGreaterThan(0)
  const last = await train(path, EPOCHS)
  expect(endOf(last)).toBe(endOf(await undisturbed))
  expect((await readdir(path)).filter((name) => !name.startsWith('step-'))).toEqual([])
}, 120_000)

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends after the running step, with a checkpoint and code %i', async (name, expected) => {
  const path = freshPath()
  let sent = false
  const { code, output } = await train(path, 5, (seen, child) => {
    if (!sent && seen.length > 9) sent = child.kill(name)
  })
  expect(code, output).toBe(expected)
  expect(output).toMatch(/ending after the running step; once more ends at once/)
  const step = Number(/interrupted (\d+)/.exec(output)?.[1])
  expect(step).toBeGreaterThan(3)
  expect((await readdir(path)).sort().at(-1)).toMatch(new RegExp(`^step-0*${step}(-1)?$`))
  expect(endOf(await train(path, 5))).toBe(endOf(await train(freshPath(), 5)))
})

it('a second SIGINT ends it at once', async () => {
  let signals = 0
  const { code, output } = await train(
    freshPath(),
    5,
    (seen, child) => {
      // The seventh step is the epoch's last: after it comes an evaluation that takes a minute.
      if (signals > 0 || seen.replaceAll(/[^.]/g, '').length < 7) return
      signals++
      child.kill('SIGINT')
      child.stderr?.once('data', () => child.kill('SIGINT'))
    },
    'slow',
  )
  expect(code, output).toBe(130)
})
