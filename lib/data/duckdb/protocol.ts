/** What the reading thread and its owner say to each other: plain data, typed arrays moved. */
import type { ErrorCode, ErrorDetails } from '../../core/errors.js'
import type { Columns, Encoding } from '../columns.js'
import type { ResolvedFile } from '../dataFile.js'
import type { Features } from '../features.js'

export interface FitLimits {
  readonly minCount: number
  readonly maxSize: number
}

interface Common {
  /** The call to name in errors. */
  readonly op: string
  readonly file: ResolvedFile
  readonly features: Features
  readonly threads: number | null
}

export type Job =
  /** All rows as one block, with the vocabularies that its ids refer to: those given, or all values of the file. */
  | (Common & { readonly task: 'collect'; readonly encoding: Encoding | null })
  /** Blocks of so many rows, the last one shorter, from a row on. */
  | (Common & {
      readonly task: 'stream'
      readonly encoding: Encoding
      readonly blockRows: number
      readonly firstRow: number
    })
  /** Vocabularies and scales of rows [begin, end). */
  | (Common & {
      readonly task: 'fit'
      readonly rows: readonly [number, number] | null
      readonly limits: Readonly<Record<string, FitLimits>>
    })
  /** Number of rows. */
  | (Common & { readonly task: 'count' })

export interface Block {
  readonly rowCount: number
  readonly columns: Columns
}

export type Answer =
  | { readonly type: 'block'; readonly block: Block }
  | { readonly type: 'encoding'; readonly encoding: Encoding }
  | { readonly type: 'count'; readonly rowCount: number }
  | { readonly type: 'end' }
  | { readonly type: 'error'; readonly code: ErrorCode; readonly details: ErrorDetails }

export type Request =
  | { readonly type: 'job'; readonly job: Job }
  | { readonly type: 'next' }
  | { readonly type: 'stop' }
