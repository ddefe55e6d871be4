/** Native programs of the benchmarks, built where a compiler and their libraries are found. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe } from '../lib/runtime/index.js'

/** The width of vectors that kernels use in this process; KAIROS_CPU caps both. */
const flags = { baseline: ['-msse2'], avx2: ['-mavx2', '-mfma'], avx512: ['-mavx512f', '-mavx2', '-mfma'] } as const

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const age = (file: string) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0

/** The program of bench/<source>, built anew when the source is newer. Throws the compiler's refusal. */
export function buildNative(source: string, libraries: readonly string[] = []): string {
  const variant = describe().cpu.variants.at(-1) ?? 'baseline'
  const folder = path('../build/bench')
  const program = `${folder}/${source.replace(/.*\//, '').replace(/\.cc$/, '')}-${variant}`
  const sources = [path(source), path('native/timing.h')]
  if (age(program) > Math.max(...sources.map(age))) return program
  mkdirSync(folder, { recursive: true })
  const compiler = process.env.CXX ?? 'g++'
  // A loop that copies must stay one: the compiler would call memcpy, which streams as it sees fit.
  const options = ['-std=c++20', '-O3', '-fno-tree-loop-distribute-patterns', '-fopenmp']
  const from = [path(source), '-I', path('native'), '-o', program, ...libraries.map((name) => `-l${name}`)]
  execFileSync(compiler, [...options, ...flags[variant], ...from], { stdio: ['ignore', 'ignore', 'pipe'] })
  return program
}

/** `buildNative` where that is possible; otherwise says why not and gives null. */
export function tryBuildNative(source: string, libraries: readonly string[]): string | null {
  try {
    return buildNative(source, libraries)
  } catch (error) {
    const { stderr, message } = error as { stderr?: Buffer; message: string }
    console.log(`bench: ${source} is skipped, it cannot be built here: ${`${stderr ?? message}`.split('\n')[0]}`)
    return null
  }
}

/** Threads of a native program's teams. */
export const openMp = (threads: number): NodeJS.ProcessEnv => ({
  ...process.env,
  OMP_NUM_THREADS: `${threads}`,
  OPENBLAS_NUM_THREADS: '1',
})
