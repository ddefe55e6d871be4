/** Fuzzers that go wrong on purpose at their eighth iteration, to show that somebody notices. */
import { Finding } from './judge.js'
import type { Fuzzer, Note } from './watch.js'

const AT = 7

const faults = {
  abort: () => process.abort(),
  hang: () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  silence: () => new Promise<void>(() => undefined),
  finding: () => {
    throw new Finding('found on purpose')
  },
} as const

export const isFailing = (name: string): name is keyof typeof faults => name in faults

export function failingFuzzer(fault: keyof typeof faults): Fuzzer {
  return {
    async iterate(iteration: number, note: Note) {
      note(`input ${iteration}`)
      if (iteration === AT) await faults[fault]()
    },
    counts: () => ({}),
  }
}
