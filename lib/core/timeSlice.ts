/** Long loops over data give way to the event loop: timers, sockets and native completions must not wait for them. */

/** Milliseconds of work between two pauses. */
const SLICE = 0.5

/** Answers undefined while the slice lasts, then a promise to await. */
export type Pause = () => Promise<void> | undefined

/** Returns a function to call every few microseconds of work: `const pause = slice(); if (pause) await pause`. */
export function createTimeSlice(): Pause {
  let started = performance.now()
  return () => {
    if (performance.now() - started < SLICE) return undefined
    return new Promise((resolve) => {
      setImmediate(() => {
        started = performance.now()
        resolve()
      })
    })
  }
}

/** Runs `body(begin, end)` over [0, count) in pieces of some tens of microseconds, with pauses between them. */
export async function inSlices(
  count: number,
  pauseWhenDue: Pause,
  body: (begin: number, end: number) => void,
  piece = 4096,
): Promise<void> {
  for (let begin = 0; begin < count; begin += piece) {
    body(begin, Math.min(begin + piece, count))
    const pause = pauseWhenDue()
    if (pause) await pause
  }
}
