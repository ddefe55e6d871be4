/** What a simulator's thread is asked and answers. Arrays lie in shared memory, so messages are small. */
import type { ErrorCode, ErrorDetails } from '../../core/errors.js'
import type { Statistics } from './measures.js'
import type { ParquetFile } from './parquet.js'
import type { Draw, Prepared } from './process.js'
import type { PresetName } from './processes.js'

/** The draw that a thread works on. */
export interface Work extends Draw<Readonly<Record<string, unknown>>> {
  readonly preset: PresetName
}

export type Request =
  | { readonly task: 'prepare'; readonly work: Work }
  | {
      readonly task: 'fill'
      readonly work: Work
      readonly prepared: Prepared
      readonly next: Int32Array
      readonly piece: number
    }
  | { readonly task: 'write'; readonly file: ParquetFile }
  | { readonly task: 'statistics'; readonly work: Work; readonly prepared: Prepared }

export type Answer =
  | { readonly type: 'prepared'; readonly prepared: Prepared }
  /** Units that are done. */
  | { readonly type: 'progress'; readonly units: number }
  | { readonly type: 'filled' }
  | { readonly type: 'written' }
  | { readonly type: 'statistics'; readonly statistics: Statistics }
  | { readonly type: 'error'; readonly code: ErrorCode; readonly details: ErrorDetails }
