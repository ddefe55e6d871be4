/** The example of the README: taken from the page, type-checked, run. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

describe('the README example', () => {
  let folder = ''
  let path = ''
  let dataPath = ''
  let example = ''

  beforeAll(async () => {
    const page = await readFile(join(root, 'README.md'), 'utf8')
    example = /<!-- example:start -->\s*```ts\n([\s\S]*?)```\s*<!-- example:end -->/.exec(page)?.[1] ?? ''
    // Beside the library, so that its import resolves as a user's would.
    folder = await mkdtemp(join(root, 'test/readme/run-'))
    path = join(folder, 'example.ts')
    dataPath = join(folder, 'data.ts')
    const data = /<!-- data:start -->\s*```ts\n([\s\S]*?)```\s*<!-- data:end -->/.exec(page)?.[1] ?? ''
    await writeFile(path, example.replace("'kairos-rec'", "'../../../lib/index.js'"))
    await writeFile(
      dataPath,
      `${data.replace("'kairos-rec'", "'../../../lib/index.js'")}\nvoid [test, source, fitLoop]\n`,
    )
  })

  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('is about twenty lines of code', () => {
    const lines = example.split('\n').filter((line) => line.trim() !== '')
    expect(lines.length).toBeGreaterThan(10)
    expect(lines.length).toBeLessThanOrEqual(24)
  })

  it('has no type errors, nor has the one about data', () => {
    const { config } = ts.readConfigFile(join(root, 'tsconfig.check.json'), ts.sys.readFile)
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
    const program = ts.createProgram([path, dataPath], { ...options, noEmit: true })
    const texts = ts
      .getPreEmitDiagnostics(program)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
    expect(texts).toEqual([])
  })

  it('runs, and its loss falls', async () => {
    const { stdout } = await run(process.execPath, ['--import', 'tsx', path], { cwd: root })
    const losses = stdout
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[1]))
    expect(losses).toHaveLength(4)
    expect(losses[3]).toBeLessThan((losses[0] as number) - 2)
  })
})
