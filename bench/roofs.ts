/** What this machine can do at most, measured in the same run as the kernels, at the same size and with as many threads. */
import { execFileSync } from 'node:child_process'
import { buildNative, openMp } from './native.js'
import { quantile } from './support.js'

/** Milliseconds at the roof. */
export interface Roofs {
  /** An array of so many bytes into another of the same size: each byte is read once and written once. */
  copy(bytes: number): number
  /** The same with stores that pass the caches by: faster from some MiB on, slower for less. */
  streamingCopy(bytes: number): number
  /** One pass over an array. */
  read(bytes: number): number
  /** Multiplications and additions, in registers. */
  flops(count: number): number
}

interface Measurement {
  /** Bytes moved, or operations. */
  readonly work: number
  readonly milliseconds: readonly number[]
}

const measured = new Map<string, Measurement>()

function measure(threads: number, kind: string, bytes = 0): Measurement {
  const key = `${threads} ${kind} ${bytes}`
  const known = measured.get(key)
  if (known) return known
  const output = execFileSync(buildNative('native/roofs.cc'), [kind, `${bytes}`], {
    env: openMp(threads),
    encoding: 'utf8',
  })
  const { work, milliseconds } = JSON.parse(output) as Measurement
  const sorted = { work, milliseconds: milliseconds.toSorted((a, b) => a - b) }
  measured.set(key, sorted)
  return sorted
}

/** Roofs for so many threads, each measured when first asked for. */
export function roofs(threads: number): Roofs {
  // The better quarter: other work on the machine slows a roof, nothing makes it faster than it is.
  const time = (kind: string, bytes: number) => quantile(measure(threads, kind, bytes).milliseconds, 0.25)
  return {
    copy: (bytes) => time('copy', bytes),
    streamingCopy: (bytes) => time('stream', bytes),
    read: (bytes) => time('read', bytes),
    flops(count) {
      const { work, milliseconds } = measure(threads, 'fma')
      return (count / work) * quantile(milliseconds, 0.25)
    },
  }
}
