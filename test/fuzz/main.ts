/**
 * Fuzzes the native addon and the compiler: `npm run fuzz -- [programFile|border|graphs ...] [--seconds 30] [--seed N]`.
 *
 * `--iteration N` repeats one iteration of a seed. What was found lies in `--folder`, build/fuzz unless told.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { failingFuzzer, isFailing } from './failing.js'
import { type Fuzzer, failOnStrayErrors, iterateFor, watch } from './watch.js'

const fuzzers: Record<string, (seed: number) => Promise<Fuzzer>> = {
  programFile: async (seed) => new (await import('./programFile.js')).ProgramFileFuzzer(seed),
  border: async (seed) => new (await import('./border.js')).BorderFuzzer(seed),
  graphs: async (seed) => new (await import('./graphs.js')).GraphFuzzer(seed),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string' },
    iteration: { type: 'string' },
    folder: { type: 'string', default: fileURLToPath(new URL('../../build/fuzz', import.meta.url)) },
    child: { type: 'string' },
  },
})
const numberOf = (text: string | undefined, otherwise: number): number => {
  const number = text === undefined ? otherwise : Number(text)
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`Expected a whole number, got '${text}'`)
  return number
}
const seed = numberOf(values.seed, Date.now() % 1_000_000)
const seconds = numberOf(values.seconds, 30)
const iteration = values.iteration === undefined ? undefined : numberOf(values.iteration, 0)

if (values.child !== undefined) {
  const name = positionals[0] as string
  failOnStrayErrors()
  const fuzzer = isFailing(name) ? failingFuzzer(name) : await (fuzzers[name] as (typeof fuzzers)[string])(seed)
  await iterateFor(fuzzer, { seconds, iteration }, values.child)
  process.exit(0)
} else {
  const names = positionals.length > 0 ? positionals : Object.keys(fuzzers)
  const unknown = names.find((name) => !(name in fuzzers))
  if (unknown !== undefined) throw new Error(`Unknown fuzzer '${unknown}'. Known: ${Object.keys(fuzzers).join(', ')}`)
  console.log(`seed ${seed}, ${seconds} s each`)
  for (const fuzzer of names) {
    const { passed, summary, report } = await watch({ fuzzer, seed, seconds, iteration, folder: values.folder })
    if (!passed) {
      process.exitCode = 1
      console.log(report)
    }
    console.log(`${passed ? 'passed' : 'FAILED'} ${summary}`)
  }
}
