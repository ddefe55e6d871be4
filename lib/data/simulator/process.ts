/** How a preset's events come about, in pieces that any thread may make. */
import type { Table } from './tables.js'

/** All that is written: see `Simulation`. Plain data in shared memory; it crosses to threads without a copy. */
export interface Tables {
  readonly rows: Table
  readonly truth: Table
  readonly events: Table
  readonly eventTruth: Table
  readonly users: Table
  readonly items: Table
  readonly authors: Table
}

/** What is fixed before the first event. */
export interface Prepared {
  readonly tables: Tables
  /** Whatever else filling needs. */
  readonly state: Readonly<Record<string, Float64Array | Float32Array | Int32Array>>
  /** Units of work, and events in all. */
  readonly units: number
  readonly events: number
}

/** Which draw of events. */
export interface Draw<K> {
  readonly knobs: K
  /** Knobs with the overrides of this draw. */
  readonly exposure: K
  readonly part: string
}

export interface Process<K = never> {
  /** Makes the platform and empty tables; on one thread. */
  prepare(draw: Draw<K>): Prepared
  /** A function that makes the units [begin, end), each independent of the others. */
  filler(draw: Draw<K>, prepared: Prepared): (begin: number, end: number) => void
  /** Knobs that `exposure` may override. */
  readonly overridable: readonly string[]
}

/** The first moment of every log, in seconds since 1970: 2025-01-01. */
export const START = 1_735_689_600
