// What checks and measures the GPU backend. Where there is no GPU each says so in one sentence, and that is no failure.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { filesUnder } from './files.mjs'
import { root, show } from './process.mjs'
import { unit } from './test.mjs'

/** Tests whose arithmetic happens on the device: the registry walk, gradients, layers, losses, whole training runs. */
const folders = ['test/ops', 'test/nn', 'test/losses', 'test/optim', 'test/design', 'test/systems', 'test/cuda']
const files = ['test/graph/combine', 'test/graph/data', 'test/graph/stores', 'test/train/checkpoint', 'test/train/loop']

/** Of the processor's own threads, variants and event loop: another device has none of them. */
const ofTheProcessor = ['test/ops/registry.test.ts', 'test/ops/threads.test.ts', 'test/design/eventLoop.test.ts']

export const deviceTests = () => [
  ...folders.flatMap((folder) => filesUnder(folder, /\.test\.ts$/)).filter((path) => !ofTheProcessor.includes(path)),
  ...files.map((path) => `${path}.test.ts`),
]

/** The addon, as compiled into dist/. @returns {Promise<typeof import('../runtime/index.js')>} */
const runtime = () => import(pathToFileURL(join(root, 'dist/runtime/index.js')).href)

/** Which device: KAIROS_DEVICE's, or `cuda`. */
const device = () => process.env.KAIROS_DEVICE || 'cuda'

/** Why the device cannot be had, or its kernels. */
async function open() {
  const { Executor } = await runtime()
  try {
    const executor = new Executor({ device: /** @type {'cuda'} */ (device()) })
    const { kernels } = executor
    await executor.close()
    return { kernels }
  } catch (error) {
    return { reason: /** @type {Error} */ (error).message }
  }
}

/**
 * The registry walk, gradients, training tests and the graph fuzzer on `cuda`, or on KAIROS_DEVICE.
 * @param {readonly string[]} args files or `-t name` in place of all; `--seconds N` of the fuzzer, 30 unless told
 */
export async function testGpu(args) {
  const { kernels, reason } = await open()
  if (!kernels) {
    console.log(`Skipped: the tests on ${device()} need one: ${reason}`)
    return true
  }
  const lacking = (await runtime()).describe().kernels.filter((name) => !kernels.includes(name))
  if (lacking.length > 0) console.log(`No kernel yet, tests that need one are skipped: ${lacking.join(', ')}.`)
  const at = args.indexOf('--seconds')
  const seconds = at < 0 ? '30' : (args[at + 1] ?? '30')
  const chosen = at < 0 ? args : args.toSpliced(at, 2)
  const env = { KAIROS_DEVICE: device() }
  const tests = await unit(chosen.length > 0 ? chosen : deviceTests(), env)
  const fuzz = [process.execPath, '--import', 'tsx', 'test/fuzz/main.ts', 'graphs', '--seconds', seconds]
  const fuzzed = chosen.length > 0 || (await show(fuzz, env)) === 0
  console.log(tests.summary)
  return tests.passed && fuzzed
}
