// The stages of `npm test`, each of which also runs alone.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ensureAddon } from './build.mjs'
import { exists, filesUnder, read } from './files.mjs'
import { capture, root, Stop, show, step } from './process.mjs'

/** @param {string} path */
const tool = (path) => [process.execPath, join(root, 'node_modules', path)]

/** Checks the types of lib, test and bench. */
export async function types() {
  try {
    const check = [...tool('typescript/bin/tsc'), '-p', 'tsconfig.check.json', '--pretty', 'false']
    await step('types: tsc', () => capture(check, { lines: 100 }))
    return true
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    console.log(error.message)
    return false
  }
}

/**
 * Counts of vitest's JSON report. A file that did not load has no tests to count, but it did fail.
 * @param {{ testResults: readonly { status: string, assertionResults: readonly { status: string }[] }[] }} report
 */
export function countTests({ testResults }) {
  const statuses = testResults.flatMap(({ status, assertionResults }) => {
    const own = assertionResults.map((result) => result.status)
    return status === 'failed' && !own.includes('failed') ? [...own, 'failed'] : own
  })
  const passed = statuses.filter((status) => status === 'passed').length
  const failed = statuses.filter((status) => status === 'failed').length
  return { passed, failed, skipped: statuses.length - passed - failed }
}

/**
 * Names of tests that were not run; each says in its name what it needs.
 * @param {{ testResults: readonly { assertionResults: readonly { status: string, fullName?: string }[] }[] }} report
 */
export function skippedTests({ testResults }) {
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
  return tests.filter(({ status }) => status !== 'passed' && status !== 'failed').map(({ fullName = '' }) => fullName)
}

/**
 * Runs vitest, then repeats its counts on a line that scripts can read. Answers whether all went well.
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
export async function unit(args, env = {}) {
  const report = 'build/test-report.json'
  rmSync(join(root, report), { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const code = await show([...tool('vitest/vitest.mjs'), 'run', ...reporters, ...args], env)
  const results = exists(report) ? JSON.parse(read(report)) : { testResults: [] }
  for (const name of skippedTests(results)) console.log(`Skipped: ${name}`)
  const { passed, failed, skipped } = countTests(results)
  // A worker that crashed leaves its tests uncounted.
  const atLeast = code === 0 ? 0 : 1
  return { passed: code === 0, summary: `${passed} passed, ${Math.max(failed, atLeast)} failed, ${skipped} skipped` }
}

/**
 * The registry walk on an addon with AddressSanitizer and UndefinedBehaviorSanitizer inside. Their run-time library
 * has to be there before anything allocates, hence LD_PRELOAD; V8 keeps memory at exit, hence no leak detection.
 * @param {readonly string[]} args
 */
export async function asan(args) {
  await ensureAddon({
    folder: 'build-asan',
    options: { KAIROS_SANITIZE: 'ON', KAIROS_ONEDNN: 'OFF', KAIROS_CUDA: 'OFF' },
  })
  const library = (await capture(['g++', '-print-file-name=libasan.so'])).trim()
  const tests = args.length > 0 ? args : filesUnder('test/ops', /\.test\.ts$/)
  return unit(['--maxWorkers=1', '--testTimeout=600000', ...tests], {
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    KAIROS_ADDON: join(root, 'build-asan/Release/kairos.node'),
  })
}

/**
 * Fuzzes the program-file decoder, the border and random graphs, each for a while.
 * @param {readonly string[]} args names of fuzzers, `--seconds N`, 30 unless told, `--seed N`; see test/fuzz/main.ts
 */
export async function fuzz(args) {
  return (await show([process.execPath, '--import', 'tsx', 'test/fuzz/main.ts', ...args])) === 0
}
