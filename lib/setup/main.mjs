// What the scripts of package.json do. Plain JavaScript without dependencies: on a fresh clone it runs before anything
// is installed. `npm start` and `npm test` each do all the set-up they need; a second run finds it done.
import { buildWithGyp, ensureAddon, ensureDependencies, ensureDist, SETUP_VARIABLE } from './build.mjs'
import { exists } from './files.mjs'
import { elapsed, Stop, show } from './process.mjs'
import { checkNode, cudaSentence, ensureSystemPackages } from './system.mjs'

/** Everything that `npm start` and `npm test` need, done once. */
async function setUp() {
  const start = performance.now()
  checkNode()
  console.log(`Kairos on Node ${process.versions.node}. ${cudaSentence()}.`)
  await ensureSystemPackages({ install: true })
  const parts = [ensureDependencies, ensureAddon, ensureDist]
  let built = false
  for (const part of parts) built = (await part()) || built
  if (built) console.log(`Set up in ${elapsed(start)}.\n`)
}

/** Only what lints and type checks need. */
async function setUpTools() {
  checkNode()
  await ensureDependencies()
}

/** npm runs this after `npm ci` in a checkout and before packing; set-up builds by itself and says so. */
async function prepare() {
  if (process.env[SETUP_VARIABLE] || !exists('node_modules/cmake-js') || !exists('node_modules/typescript')) return
  if (!exists('build/Release/kairos.node')) await ensureAddon({ install: false })
  await ensureDist()
}

/**
 * Lint, types and tests: all three run, whatever the first ones say, and the counts stand last.
 * @param {readonly string[]} args
 */
async function test(args) {
  await setUp()
  const { lint } = await import('./lint.mjs')
  const { types, unit } = await import('./test.mjs')
  console.log('Lint')
  const clean = await lint()
  console.log('Types')
  const typed = await types()
  console.log('Tests')
  const tests = await unit(args)
  if (!clean) console.log('Lint failed: see above, and `npm run test:lint`.')
  if (!typed) console.log('Types failed: see above, and `npm run test:types`.')
  console.log(tests.summary)
  return clean && typed && tests.passed
}

/** @type {Record<string, (args: readonly string[]) => Promise<boolean | void>>} */
const commands = {
  start: async (args) => {
    await setUp()
    return (await show([process.execPath, 'dist/cli/main.js', 'demo', ...args])) === 0
  },
  test,
  prepare,
  build: setUp,
  'build:native': async () => {
    await setUpTools()
    await ensureAddon()
  },
  'build:gyp': async () => {
    await setUpTools()
    await ensureSystemPackages({ install: true, gyp: true })
    await buildWithGyp()
  },
  'test:lint': async () => {
    await setUpTools()
    return (await import('./lint.mjs')).lint()
  },
  'test:types': async () => {
    await setUpTools()
    return (await import('./test.mjs')).types()
  },
  'test:unit': async (args) => {
    await setUp()
    const tests = await (await import('./test.mjs')).unit(args)
    console.log(tests.summary)
    return tests.passed
  },
  'test:asan': async (args) => {
    await setUpTools()
    const tests = await (await import('./test.mjs')).asan(args)
    console.log(tests.summary)
    return tests.passed
  },
  'test:gpu': async (args) => {
    await setUp()
    return (await import('./gpu.mjs')).testGpu(args)
  },
  'test:package': async () => {
    await setUp()
    return (await import('./package.mjs')).packageWorks()
  },
  spills: async () => {
    await setUpTools()
    await ensureAddon()
    return (await import('./spills.mjs')).spills()
  },
  fuzz: async (args) => {
    await setUp()
    return (await import('./test.mjs')).fuzz(args)
  },
  format: async () => {
    await setUpTools()
    await (await import('./lint.mjs')).format()
  },
}

const [name = '', ...args] = process.argv.slice(2)
const command = commands[name]
if (!command) {
  console.error(`Unknown command "${name}". Known: ${Object.keys(commands).join(', ')}.`)
  process.exit(1)
}
try {
  const passed = await command(args)
  if (passed === false) process.exitCode = 1
} catch (error) {
  if (!(error instanceof Stop)) throw error
  console.error(error.message)
  process.exitCode = 1
}
