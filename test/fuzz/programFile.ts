/**
 * Fuzzes the program file: mutants of real files are loaded, and those that are accepted are bound and run.
 *
 * A mutant may be refused or may run; it must not crash, hang, or fail in any other way. Of every accepted one two
 * bindings run side by side, one of them with all unused memory poisoned: results that differ come from memory that
 * nobody wrote. A run that fails must leave its stores as they were.
 */
import { createRandom, type Random } from '../../lib/core/random.js'
import type {
  Addon,
  ExecutableHandle,
  ExecutorHandle,
  NativeArray,
  ProgramHandle,
  RunResult,
  StoreEntry,
  StoreHandle,
} from '../../lib/runtime/addon.js'
import { loadAddon } from '../../lib/runtime/loader.js'
import { corpus } from './corpus.js'
import { countsOf, decode, namedCounts, type ProgramFile } from './fileFormat.js'
import { answerOf, Finding } from './judge.js'
import { mutantOf } from './mutate.js'
import { bytesOf, feedsOf, recordOf, storeEntriesOf } from './requests.js'
import type { Fuzzer, Note } from './watch.js'

/** Greater mutants are loaded and bound, but not run: they would be slow and teach nothing new. */
const MOST_BYTES_TO_RUN = 1n << 21n
const GREATEST_CAPACITY = 9
const RUNS = 3

interface Binding {
  readonly executable: ExecutableHandle
  readonly stores: readonly (StoreHandle | null)[]
}

export class ProgramFileFuzzer implements Fuzzer {
  private readonly tally = {
    mutants: 0,
    accepted: 0,
    bound: 0,
    'too large to run': 0,
    ran: 0,
    runs: 0,
    'refused runs': 0,
  }
  private readonly addon: Addon = loadAddon()
  private readonly corpus = corpus()
  private readonly executors: readonly ExecutorHandle[]

  constructor(private readonly seed: number) {
    const { variants } = this.addon.describe().cpu
    this.executors = variants.flatMap((variant) => [
      this.addon.createExecutor({ threads: 1, variant, matmul: 'own' }),
      this.addon.createExecutor({ threads: 2, variant, matmul: 'auto' }),
    ])
  }

  counts(): Record<string, number> {
    return this.tally
  }

  /** A fuzzer whose mutants are all refused tests nothing but the first check. */
  complaint(): string | undefined {
    const { mutants, ran } = this.tally
    return mutants >= 200 && ran < 0.1 * mutants ? `only ${ran} of ${mutants} mutants ran` : undefined
  }

  async iterate(iteration: number, note: Note): Promise<void> {
    const random = createRandom(this.seed).fork(iteration)
    const bytes = mutantOf(this.corpus, random)
    note(bytes)
    const executor = this.executors[random.int(this.executors.length)] as ExecutorHandle
    this.tally.mutants++
    const loaded = await answerOf('loadProgram', () => this.addon.loadProgram(executor, bytes))
    if ('refused' in loaded) return
    this.tally.accepted++
    try {
      await this.useProgram(executor, loaded.value, decode(bytes).file, random)
    } finally {
      this.addon.dispose(loaded.value)
    }
  }

  private async useProgram(
    executor: ExecutorHandle,
    program: ProgramHandle,
    file: ProgramFile,
    random: Random,
  ): Promise<void> {
    this.addon.describeProgram(program)
    const capacities = countsOf(file, () => random.int(GREATEST_CAPACITY + 1))
    const bind = (poison: boolean) => {
      const named = recordOf(namedCounts(file, capacities))
      return answerOf('bind', () => this.addon.bind(executor, program, named, { poison }))
    }
    const plain = await bind(false)
    if ('refused' in plain) return
    this.tally.bound++
    this.addon.describeExecutable(plain.value)
    if (bytesOf(file, capacities) > MOST_BYTES_TO_RUN) {
      this.tally['too large to run']++
      return this.addon.dispose(plain.value)
    }
    const poisoned = await bind(true)
    if ('refused' in poisoned) throw new Finding(`the second binding was refused with ${poisoned.refused}`)
    const entries = storeEntriesOf(file, random)
    const bindings: Binding[] = []
    for (const { value: executable } of [plain, poisoned]) {
      const made = await answerOf('createStore', () =>
        entries.map((list) => (list ? this.addon.createStore(list) : null)),
      )
      if ('refused' in made) return // two names that are one when they are no UTF-8
      bindings.push({ executable, stores: made.value })
    }
    let ran = false
    for (let run = 0; run < RUNS; run++) {
      const counts = countsOf(file, (symbol) => {
        const capacity = capacities[symbol] as number
        return run === 0 ? capacity : random.int(capacity + (random.int(8) === 0 ? 2 : 1))
      })
      // A dim may shrink with a capacity and grow with a count.
      if (bytesOf(file, counts) > MOST_BYTES_TO_RUN) continue
      const request = {
        counts: recordOf(namedCounts(file, counts)),
        feeds: feedsOf(file, counts, random),
      }
      ran = (await this.runBoth(executor, bindings, request, entries)) || ran
    }
    if (ran) this.tally.ran++
    for (const { executable, stores } of bindings) {
      this.addon.dispose(executable)
      for (const store of stores) if (store) this.addon.dispose(store)
    }
  }

  private async runBoth(
    executor: ExecutorHandle,
    bindings: readonly Binding[],
    request: { counts: Record<string, number>; feeds: readonly NativeArray[] },
    entries: readonly (readonly StoreEntry[] | null)[],
  ): Promise<boolean> {
    const answers = []
    for (const { executable, stores } of bindings) {
      const before = await this.contents(executor, stores, entries)
      const full = { ...request, stores } as Parameters<Addon['run']>[2]
      const answer = await answerOf('run', () => this.addon.run(executor, executable, full))
      const after = await this.contents(executor, stores, entries)
      if ('refused' in answer && !sameArrays(before, after))
        throw new Finding(`a run that failed with ${answer.refused} changed a store`)
      if ('value' in answer) checkResult(answer.value)
      answers.push({ ...answer, after })
    }
    const [plain, poisoned] = answers as [(typeof answers)[number], (typeof answers)[number]]
    this.tally[plain && 'value' in plain ? 'runs' : 'refused runs']++
    if ([plain, poisoned].some((answer) => 'refused' in answer && answer.refused === 'KAIROS_OUT_OF_MEMORY'))
      return false
    const outcome = (answer: typeof plain) => ('refused' in answer ? answer.refused : 'a result')
    if (outcome(plain) !== outcome(poisoned))
      throw new Finding(`${outcome(plain)}, but ${outcome(poisoned)} with poison`)
    if ('refused' in plain || 'refused' in poisoned) return false
    const results = [plain, poisoned].map(({ value, after }) => [
      ...Object.values(value.outputs).map(({ data }) => data),
      ...after,
    ])
    if (!sameArrays(results[0] as Values, results[1] as Values))
      throw new Finding('poisoned memory changes results: something is read that nobody wrote')
    return true
  }

  /** What all stores hold. */
  private async contents(
    executor: ExecutorHandle,
    stores: Binding['stores'],
    entries: readonly (readonly StoreEntry[] | null)[],
  ): Promise<Values> {
    const reads = stores.map((store, slot) =>
      store
        ? this.addon.readStore(
            executor,
            store,
            (entries[slot] ?? []).map(({ name }) => name),
          )
        : [],
    )
    return (await Promise.all(reads)).flat()
  }
}

type Values = readonly (Float32Array | Int32Array | Uint8Array)[]

/** Equal values; a NaN equals a NaN. */
const sameArrays = (a: Values, b: Values): boolean =>
  a.length === b.length &&
  a.every(
    (array, index) => array.length === b[index]?.length && array.every((value, at) => Object.is(value, b[index]?.[at])),
  )

function checkResult({ outputs }: RunResult): void {
  for (const [name, { data, shape }] of Object.entries(outputs)) {
    const elements = shape.reduce((product, size) => product * size, 1)
    if (data.length !== elements) throw new Finding(`output '${name}' has ${data.length} elements for shape [${shape}]`)
  }
}
