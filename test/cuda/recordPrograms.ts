/**
 * `npm run record:programs -- DIR [--only NAME] [--small]`: writes the registry walk, a file per op, for
 * `kairos_run_program` to check and time a device on a machine without Node. `--small` leaves large arrays out.
 */
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { toTyped } from '../../lib/ops/support.js'
import { Executor } from '../../lib/runtime/index.js'
import { describeCase, ops, SYMBOL } from '../ops/harness.js'
import { fixedOf, type LiveRun, liveOf, type Prepared, smallOf, toleranceOf } from '../ops/walk.js'
import { encodeRecording, type RecordedCase, type RecordedRun } from './recording.js'

function runOf({ outputs, feeds, expected }: Prepared, counts: Readonly<Record<string, number>> = {}): RecordedRun {
  return {
    counts,
    feeds: Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, toTyped(array)])),
    answers: Object.fromEntries(Object.keys(outputs).map((name, index) => [name, expected[index] as ReferenceArray])),
  }
}

function fixedCase(op: OpDefinition, prepared: Prepared): RecordedCase {
  return {
    name: `${op.name} ${describeCase(prepared.example)}`,
    runner: new GraphRunner(prepared.outputs),
    capacities: {},
    runs: [runOf(prepared)],
    tolerance: toleranceOf(prepared),
  }
}

/** Runs at counts below a capacity, with what lies behind the count poisoned. */
function liveCase(op: OpDefinition, runs: readonly LiveRun[], capacity: number): RecordedCase {
  const own = runs.filter((run) => run.capacity === capacity)
  const { prepared } = own.at(-1) as LiveRun
  return {
    name: `${op.name} live of ${capacity}: ${describeCase(prepared.example)}`,
    runner: new GraphRunner(prepared.outputs),
    capacities: { [SYMBOL]: capacity },
    runs: own.map(({ count, prepared }) => runOf(prepared, { [SYMBOL]: count })),
    tolerance: Math.max(...own.map(({ prepared }) => toleranceOf(prepared))),
  }
}

/** Elementwise ops are one kernel: one op for each number of operands carries the large arrays for all. */
const LARGE = 50_000
const carriers = ['gelu', 'add', 'select']
const carried = (op: OpDefinition) => (prepared: Prepared) =>
  !op.elementwise || carriers.includes(op.name) || prepared.expected.every(({ data }) => data.length < LARGE)

/** The cases of an op, as the registry walk has them. */
export const recordedCases = (op: OpDefinition, small = false): RecordedCase[] => [
  ...(small ? smallOf(op) : fixedOf(op).filter(carried(op))).map((prepared) => fixedCase(op, prepared)),
  ...liveOf(op).flatMap((runs) => {
    const capacities = new Set(runs.map(({ capacity }) => capacity))
    return [...capacities].map((capacity) => liveCase(op, runs, capacity))
  }),
]

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: 'string' }, small: { type: 'boolean', default: false } },
  })
  const [folder] = positionals
  if (folder === undefined) throw new Error('Name a folder: npm run record:programs -- DIR')
  mkdirSync(folder, { recursive: true })
  await using executor = new Executor({ threads: 1, device: 'cpu' })
  const chosen = ops.filter(({ name }) => values.only === undefined || name === values.only)
  const paths: string[] = []
  for (const op of chosen) {
    const path = join(folder, `${op.name}.recording`)
    writeFileSync(path, await encodeRecording(recordedCases(op, values.small), executor))
    paths.push(path)
  }
  const bytes = paths.reduce((sum, path) => sum + statSync(path).size, 0)
  console.log(`${paths.length} recordings, ${(bytes / 2 ** 20).toFixed(1)} MiB, in ${folder}`)
}
