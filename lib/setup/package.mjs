// The package as its users get it: packed, installed into an empty project, used from both module systems with types.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { capture, root, Stop, step } from './process.mjs'

const training = `
const model = { weight: kairos.parameter([2, 1], kairos.normal(0.1)) }
const program = kairos.compile(
  model,
  (m, b) => ({ loss: kairos.mean(kairos.square(kairos.matmul(b.x, m.weight))) }),
  {
    schema: { x: kairos.field('float32', 'batch', 2) },
    updates: [{ loss: 'loss', parameters: kairos.all, optimizer: kairos.adam({ lr: 0.1 }) }],
  },
)
const step = () => program.step({ x: Float32Array.of(1, 2, 3, 4) })
`

/** @type {Record<string, string>} */
const files = {
  'package.json': '{ "private": true }',
  'esm.mjs': `import * as kairos from 'kairos-rec'
${training}
const losses = []
for (let i = 0; i < 30; i++) losses.push((await step()).loss)
console.log(losses[29] < losses[0] / 2 ? 'esm works' : losses)
`,
  'common.cjs': `const kairos = require('kairos-rec')
${training}
async function run() {
  const first = (await step()).loss
  for (let i = 0; i < 30; i++) await step()
  console.log((await step()).loss < first / 2 ? 'common works' : first)
}
run()
`,
  'typed.mts': `import * as kairos from 'kairos-rec'
${training}
const loss: number = (await step()).loss
// @ts-expect-error the batch has no field y
await program.step({ y: new Float32Array(2) })
console.log(loss)
`,
  'typed.cts': `import kairos = require('kairos-rec')
${training}
step().then(({ loss }) => loss.toFixed(3))
// @ts-expect-error 3 columns against 2 rows
kairos.matmul(kairos.input('x', ['batch', 3]), model.weight)
`,
  'tsconfig.json': JSON.stringify({
    compilerOptions: { module: 'nodenext', target: 'es2023', strict: true, noEmit: true, types: ['node'] },
    include: ['typed.mts', 'typed.cts'],
  }),
}

/** Packs, installs, runs and type-checks. Throws `Stop` with the output of what failed. */
export async function packageWorks() {
  const project = mkdtempSync(join(tmpdir(), 'kairos-package-'))
  /** @param {readonly string[]} command */
  const run = (command) => capture(command, { cwd: project, env: { NODE_OPTIONS: '' } })
  /** @param {string} file @param {string} expected */
  const says = async (file, expected) => {
    const output = await run([process.execPath, file])
    if (!output.includes(expected)) throw new Stop(`${file} should say '${expected}' but said:\n${output}`)
  }
  try {
    await step('pack', () => capture(['npm', 'pack', '--silent', '--pack-destination', project]))
    const tarball = readdirSync(project).find((name) => name.endsWith('.tgz')) ?? ''
    for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text)
    await step('install into an empty project', () =>
      run(['npm', 'install', '--no-audit', '--no-fund', `./${tarball}`]),
    )
    await step('run as an ES module', () => says('esm.mjs', 'esm works'))
    await step('run as CommonJS', () => says('common.cjs', 'common works'))
    await step('the command', async () => {
      await run(['npx', '--no-install', 'kairos', 'doctor'])
    })
    mkdirSync(join(project, 'node_modules/@types'), { recursive: true })
    symlinkSync(join(root, 'node_modules/@types/node'), join(project, 'node_modules/@types/node'))
    await step('types in both', () =>
      run([process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', project, '--pretty', 'false']),
    )
    return true
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}
