/** Ctrl-C and SIGTERM: the running step ends, a checkpoint is written, the process leaves with the usual code. */

export const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const

/** Thrown, once all is saved, by a command that a signal ended. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/**
 * Runs something that heeds an AbortSignal. The first SIGINT or SIGTERM aborts it and sets the exit code; a second one
 * ends the process at once.
 */
export async function interruptible<T>(
  run: (signal: AbortSignal) => Promise<T>,
  say: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): Promise<T> {
  const controller = new AbortController()
  const onSignal = (name: NodeJS.Signals) => {
    const code = exitCodes[name as keyof typeof exitCodes]
    if (controller.signal.aborted) process.exit(code)
    process.exitCode = code
    say(`${name}: ending after the running step; once more ends at once.`)
    controller.abort(name)
  }
  const names = Object.keys(exitCodes) as (keyof typeof exitCodes)[]
  for (const name of names) process.on(name, onSignal)
  try {
    return await run(controller.signal)
  } finally {
    for (const name of names) process.off(name, onSignal)
  }
}
