/**
 * Runs a fuzzer in a child process and watches it from outside: a fuzzer that finds a crash does not live to tell.
 *
 * Before each call that may go wrong the child writes what it is about to do to a file, `current`:
 *
 *     u32 iteration  u32 bytes of the note  note
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { show } from './judge.js'

/** Says what the fuzzer is about to try: what is saved when it goes wrong. */
export type Note = (input: Uint8Array | string) => void

export interface Fuzzer {
  /** Does the same for equal seed and iteration. Throws what it finds. */
  iterate(iteration: number, note: Note): Promise<void>
  counts(): Record<string, number>
  /** What is wrong with the fuzzing itself, once enough was tried. */
  complaint?(): string | undefined
}

export interface Task {
  /** Known to main.ts. */
  readonly fuzzer: string
  readonly seed: number
  readonly seconds: number
  /** Where inputs that found something are kept. */
  readonly folder: string
  /** Only this one. */
  readonly iteration?: number | undefined
  /** Seconds that one iteration may take before it counts as hanging. */
  readonly patience?: number | undefined
}

export interface Outcome {
  readonly passed: boolean
  /** One line. */
  readonly summary: string
  /** What was found, with the child's last words. */
  readonly report: string
}

/** Beyond this allocations fail, so that a mutant that asks for terabytes is refused and no neighbour is killed. */
const MOST_KILOBYTES = 3 << 20
const HEADER = 8
const main = fileURLToPath(new URL('./main.ts', import.meta.url))

const sanitized = () => process.env.ASAN_OPTIONS !== undefined

/** A sanitizer's shadow memory breaks any limit of the system's; it has one of its own. */
function environment(): NodeJS.ProcessEnv {
  if (!sanitized()) return process.env
  const options = [
    process.env.ASAN_OPTIONS,
    'allocator_may_return_null=1',
    'max_allocation_size_mb=1024',
    'abort_on_error=0',
  ]
  return { ...process.env, ASAN_OPTIONS: options.join(':'), UBSAN_OPTIONS: 'print_stacktrace=1' }
}

export async function watch(task: Task): Promise<Outcome> {
  const { fuzzer, seed, seconds, folder, iteration, patience = sanitized() ? 120 : 30 } = task
  mkdirSync(folder, { recursive: true })
  const current = join(folder, `current-${fuzzer}-${process.pid}`)
  writeFileSync(current, new Uint8Array(HEADER))
  const limits = `ulimit -c 0${sanitized() ? '' : `; ulimit -d ${MOST_KILOBYTES} 2>/dev/null`}; exec "$@"`
  const only = iteration === undefined ? [] : ['--iteration', String(iteration)]
  const child = [
    process.execPath,
    '--expose-gc',
    '--import',
    'tsx',
    main,
    fuzzer,
    '--seed',
    String(seed),
    '--seconds',
    String(seconds),
    ...only,
  ]
  const started = spawn('/bin/sh', ['-c', limits, 'sh', ...child, '--child', current], {
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })

  let output = ''
  for (const stream of [started.stdout, started.stderr]) {
    stream.on('data', (text) => {
      output = (output + text).slice(-20_000)
    })
  }
  let hangs = false
  let last = ''
  let since = performance.now()
  const watchdog = setInterval(() => {
    const now = readFileSync(current).toString('latin1')
    if (now !== last) since = performance.now()
    last = now
    if (performance.now() - since < patience * 1000) return
    hangs = true
    started.kill('SIGKILL')
  }, 500)
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    started.on('close', (code, signal) => resolve({ code, signal })),
  )
  clearInterval(watchdog)
  const { at, input } = readNote(current)
  rmSync(current)

  const summary = /^summary: (.*)$/m.exec(output)?.[1]
  if (code === 0 && summary !== undefined) return { passed: true, summary: `${fuzzer}: ${summary}`, report: '' }
  const ending = hangs
    ? `hangs for ${patience} s`
    : signal
      ? `died of ${signal}`
      : code === 13
        ? 'waits for a promise that never settles'
        : `ended with ${code}`
  const saved = join(folder, `${fuzzer}-${seed}-${at}`)
  writeFileSync(saved, input)
  return {
    passed: false,
    summary: `${fuzzer}: ${ending} at seed ${seed}, iteration ${at}; its input is ${saved}`,
    report: output.trim(),
  }
}

function readNote(path: string): { at: number; input: Uint8Array } {
  const bytes = readFileSync(path)
  return { at: bytes.readUInt32LE(0), input: bytes.subarray(HEADER, HEADER + bytes.readUInt32LE(4)) }
}

/** The child's side: iterates until time is up, or throws what it finds. */
export async function iterateFor(
  fuzzer: Fuzzer,
  { seconds, iteration }: Pick<Task, 'seconds' | 'iteration'>,
  current: string,
): Promise<void> {
  const file = openSync(current, 'r+')
  let at = iteration ?? 0
  const note: Note = (input) => {
    const bytes = Buffer.from(input as Uint8Array)
    const header = Buffer.alloc(HEADER)
    header.writeUInt32LE(at)
    header.writeUInt32LE(bytes.length, 4)
    writeSync(file, Buffer.concat([header, bytes]), 0, HEADER + bytes.length, 0)
  }
  const start = performance.now()
  do {
    note('')
    await fuzzer.iterate(at, note)
    at++
  } while (iteration === undefined && performance.now() - start < seconds * 1000)
  closeSync(file)
  const complaint = fuzzer.complaint?.()
  if (complaint) throw new Error(complaint)
  const counts = Object.entries(fuzzer.counts()).map(([name, count]) => `${count} ${name}`)
  console.log(`summary: ${counts.join(', ')}`)
}

/** Errors that reach nobody are findings too. */
export function failOnStrayErrors(): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      console.error(`${event}: ${show(error)}`)
      process.exit(1)
    })
  }
}
