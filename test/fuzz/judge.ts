/** What counts as a refusal and what as a bug. */
import { errorTable } from '../../lib/core/errors.js'

/** A bug found. */
export class Finding extends Error {
  override readonly name = 'Finding'
}

export interface Refusal {
  readonly code: keyof typeof errorTable
}

/** True for an error with a code of the table; KAIROS_INTERNAL is a bug whoever caused it. */
export const isRefusal = (error: unknown): error is Error & Refusal =>
  error instanceof Error && 'code' in error && (error.code as string) in errorTable && error.code !== 'KAIROS_INTERNAL'

/** What the reference computes; null where it refuses an id, as one of a table whose rows all fell away. */
export function unlessIdRefused<T>(compute: () => T): T | null {
  try {
    return compute()
  } catch (error) {
    if (isRefusal(error) && error.code === 'KAIROS_ID_RANGE') return null
    throw error
  }
}

export function show(value: unknown): string {
  try {
    return value instanceof Error ? `${value.stack} ${JSON.stringify(value)}` : String(value)
  } catch {
    return typeof value
  }
}

/** The answer, or the refusal; any other error is a finding. */
export async function answerOf<T>(
  what: string,
  call: () => T | Promise<T>,
): Promise<{ value: T } | { refused: Refusal['code'] }> {
  try {
    return { value: await call() }
  } catch (error) {
    if (isRefusal(error)) return { refused: error.code }
    throw new Finding(`${what} failed with ${show(error)}`)
  }
}
