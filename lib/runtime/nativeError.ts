/** Turns the addon's refusals into KairosErrors that carry the caller's stack. */
import { type ErrorCode, type ErrorDetails, errorTable, KairosError } from '../core/errors.js'

type NativeRefusal = Error & { code: ErrorCode } & ErrorDetails

const isRefusal = (error: unknown): error is NativeRefusal =>
  error instanceof Error && 'op' in error && (error as { code?: string }).code! in errorTable

function toKairosError(error: unknown, callSite: Error): unknown {
  if (!isRefusal(error)) return error
  const { code, op, argument, expected, got, hint, source } = error
  const details = Object.fromEntries(
    Object.entries({ argument, expected, got, hint, source }).filter(([, text]) => text !== undefined),
  )
  // The native stack ends where a thread settled the promise; the call is what a reader needs.
  return thrownAt(new KairosError(code, { op, ...details }), callSite)
}

/** The place of the call, to be taken before anything is awaited. `skip` and what it called are left out. */
export function callSiteOf(skip: (...args: never[]) => unknown): Error {
  // An Error would capture the stack twice.
  const site = { name: 'Error', message: '' }
  Error.captureStackTrace(site, skip)
  return site
}

/** An error that was found later, as if it had been thrown at `callSite`. */
export function thrownAt(error: unknown, callSite: Error): unknown {
  if (error instanceof KairosError) {
    error.stack = [`${error.name}: ${error.message}`, ...(callSite.stack?.split('\n').slice(1) ?? [])].join('\n')
  }
  return error
}

/** Awaits a native promise made by `call`, which runs at once. */
export async function awaitNative<T>(call: () => Promise<T>, callSite = callSiteOf(awaitNative)): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toKairosError(error, callSite)
  }
}

/** A native call that answers directly. */
export function callNative<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw toKairosError(error, callSiteOf(callNative))
  }
}

export function disposed(op: string, what: string): KairosError {
  return new KairosError('KAIROS_DISPOSED', { op, argument: what, expected: 'in use', got: 'one that was disposed' })
}
