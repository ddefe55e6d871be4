/**
 * Every error that Kairos raises on purpose: one table of codes, one class.
 *
 * Native code refuses with the same codes (`npm run generate` writes `native/runtime/error_codes.inc`) and with the
 * same fields, so a failure reads alike wherever it was found.
 */

export const errorTable = {
  // What a caller passed
  KAIROS_ARGUMENT: 'An argument has the wrong type or value.',
  KAIROS_SHAPE: 'Shapes do not fit each other.',
  KAIROS_DTYPE: 'An element type does not fit.',
  KAIROS_ID_RANGE: 'An id lies outside its table.',
  KAIROS_MISSING: 'Something named was not given.',
  KAIROS_UNKNOWN_NAME: 'A name is not known.',
  KAIROS_DUPLICATE: 'A name or target is used twice.',
  KAIROS_DETACHED: 'A buffer was given away earlier, or detached.',
  KAIROS_DISPOSED: 'The object was disposed.',
  KAIROS_GRADIENT: 'A gradient does not exist.',
  // What came in from outside
  KAIROS_DATA: 'Input data is malformed.',
  KAIROS_PROGRAM_FILE: 'A program file is malformed.',
  // What went wrong while running
  KAIROS_NON_FINITE: 'A value is not finite.',
  KAIROS_OUT_OF_MEMORY: 'Memory is exhausted.',
  KAIROS_UNSUPPORTED: 'This build or machine cannot do that.',
  KAIROS_NATIVE_LOAD: 'The native addon did not load.',
  KAIROS_CLOSED: 'The executor is closing.',
  KAIROS_INTERNAL: 'A fault in Kairos itself.',
} as const

export type ErrorCode = keyof typeof errorTable

export interface ErrorDetails {
  /** The op, call or file part that refused. */
  readonly op: string
  /** The argument to blame. */
  readonly argument?: string
  readonly expected?: string
  readonly got?: string
  /** What to do about it. */
  readonly hint?: string
  /** Source line of the user's code that built the op, when that is not the line on the stack. */
  readonly source?: string
}

/** `matmul: b should have 64 rows but has 65. Transpose b or ...` */
function sentence({ op, argument, expected, got, hint, source }: ErrorDetails): string {
  let text = `${op}:`
  if (argument) text += ` ${argument}`
  if (expected) text += `${argument ? ' should be' : ' expected'} ${expected}`
  if (got) text += expected ? ` but got ${got}` : argument ? `: ${got}` : ` ${got}`
  if (source) text += ` (built at ${source})`
  return hint ? `${text}. ${hint}` : text
}

/**
 * An error raised by Kairos. `code` is stable; the message names the op, the argument, what was expected, what came
 * and what to do.
 */
export class KairosError extends Error {
  override readonly name = 'KairosError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, details: ErrorDetails, options?: ErrorOptions) {
    super(sentence(details), options)
    this.code = code
    this.details = details
  }
}

/** True for errors of Kairos, optionally of one code. */
export function isKairosError(error: unknown, code?: ErrorCode): error is KairosError {
  return error instanceof KairosError && (code === undefined || error.code === code)
}
