/** Long loops over data give way to the event loop: timers, sockets and native completions must not wait for them. */
import { setImmediate } from 'node:timers/promises'

/** Milliseconds of work between two pauses. */
const SLICE = 0.5

/**
 * Returns a function to call every few microseconds of work. It answers undefined while the slice lasts, then a promise
 * to await: `const pause = slice(); if (pause) await pause`.
 */
export function createTimeSlice(): () => Promise<void> | undefined {
  let started = performance.now()
  return () => {
    if (performance.now() - started < SLICE) return undefined
    return setImmediate().then(() => {
      started = performance.now()
    })
  }
}
