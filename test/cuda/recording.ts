/** Writes recordings: programs with feeds and answers for `kairos_run_program`; native/tools/recording.h has the format. */
import type { DType } from '../../lib/core/dtype.js'
import { ByteWriter } from '../../lib/graph/byteWriter.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { storeSlots } from '../../lib/graph/encode.js'
import type { GraphRunner } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import type { Executor, NativeArray } from '../../lib/runtime/index.js'

/** What an array holds: its bytes, or a rule that makes them, so that large ones need not be carried. */
export type Contents =
  | NativeArray
  | { readonly uniform: readonly [low: number, high: number] }
  /** low + (high - low) * u^power: ids that are as often looked up as `power` says. */
  | { readonly skewed: readonly [low: number, high: number, power: number] }
  | { readonly ramp: number }

export interface RecordedRun {
  readonly counts: Readonly<Record<string, number>>
  readonly feeds: Readonly<Record<string, Contents>>
  /** By name of the output; absent where the run is only timed. */
  readonly answers?: Readonly<Record<string, ReferenceArray>>
}

export interface RecordedEntry {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly contents: Contents
}

export interface RecordedCase {
  readonly name: string
  readonly runner: GraphRunner
  readonly capacities: Readonly<Record<string, number>>
  readonly stores?: Partial<Readonly<Record<(typeof storeSlots)[number], readonly RecordedEntry[]>>>
  readonly runs: readonly RecordedRun[]
  readonly tolerance?: number
  /** The least that the timed kernels move and compute. */
  readonly bytes?: number
  readonly flops?: number
  /** Kernels that count; all unless told. */
  readonly timed?: readonly string[]
}

const VERSION = 1
const dtypeCodes = { float32: 0, int32: 1, bool: 2 } as const

/** A file of cases. The executor decodes programs, to know in which order they name things. */
export async function encodeRecording(cases: readonly RecordedCase[], executor: Executor): Promise<Uint8Array> {
  const writer = new ByteWriter().ascii('KAIROSRC').u32(VERSION).u32(cases.length)
  for (const each of cases) await writeCase(writer, each, executor)
  return writer.finished()
}

async function writeCase(writer: ByteWriter, recorded: RecordedCase, executor: Executor): Promise<void> {
  const { name, runner, capacities, stores = {}, runs, tolerance = 0, bytes = 0, flops = 0, timed = [] } = recorded
  const file = runner.programFile
  using program = await executor.loadProgram(file)
  const { symbols, inputs, outputs } = program.description
  const counts = (given: Readonly<Record<string, number>>) =>
    writer.list(symbols, (symbol) => writer.i64(given[symbol] as number))
  writer.string(name).f64(tolerance).f64(bytes).f64(flops)
  writer.list(timed, (kernel) => writer.string(kernel))
  writer.u64(file.length).bytes(file)
  counts(capacities)
  writer.list(storeSlots, (slot) => {
    writer.list(stores[slot] ?? [], (entry) => {
      writer.string(entry.name).u8(dtypeCodes[entry.dtype])
      writer.list(entry.shape, (size) => writer.i64(size))
      writeContents(writer, entry.contents)
    })
  })
  writer.list(runs, (run) => {
    counts(run.counts)
    writer.list(inputs, (input) => writeContents(writer, run.feeds[input.name] as Contents))
    writer.list(run.answers ? outputs : [], (output) => {
      const answer = run.answers?.[output.name] as ReferenceArray
      writeAnswer(writer, answer)
    })
  })
}

/** Of more elements than that only so many are kept, spread evenly. */
const KEPT = 8192

function writeAnswer(writer: ByteWriter, { dtype, shape, data }: ReferenceArray): void {
  const stride = Math.ceil(data.length / KEPT) || 1
  const greatest = data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0)
  writer
    .list(shape, (size) => writer.i64(size))
    .u32(stride)
    .f64(greatest)
  writeBytes(writer, toTyped({ dtype, shape, data: data.filter((_, index) => index % stride === 0) }))
}

function writeContents(writer: ByteWriter, contents: Contents): void {
  if (ArrayBuffer.isView(contents)) {
    writer.u8(0)
    writeBytes(writer, contents)
  } else if ('uniform' in contents) {
    const [low, high] = contents.uniform
    writer.u8(1).f64(low).f64(high)
  } else if ('skewed' in contents) {
    const [low, high, power] = contents.skewed
    writer.u8(2).i64(low).i64(high).f64(power)
  } else writer.u8(3).i64(contents.ramp)
}

function writeBytes(writer: ByteWriter, { buffer, byteOffset, byteLength }: NativeArray): void {
  writer.u64(byteLength).bytes(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength))
}
