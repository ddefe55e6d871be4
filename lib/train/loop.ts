/**
 * The training loop, for every system: batches in, steps in flight, evaluation, early stop, the best kept, checkpoints.
 *
 * What it holds does not grow with the number of steps. All that decides how training goes on stands in a checkpoint,
 * so a run that was ended anywhere goes on to the same bits.
 */
import type { BatchSource, PreparedBatch } from '../core/batchSource.js'
import { isKairosError, KairosError } from '../core/errors.js'
import type { StepOptions } from '../graph/compile.js'
import type { TraceRequest } from '../graph/trace.js'
import { normName } from '../graph/training.js'
import type { Executor, NativeArray, OptimizerState, ParameterSet, State } from '../runtime/index.js'
import { AnomalyDetector, anomalyError } from './anomaly.js'
import type { CheckpointFolder, Skipped } from './checkpoint.js'
import { isLoopSchedule, type LoopSchedule, type Metrics, type Scalars, scheduleOf } from './loopSchedule.js'
import { type Json, requireJson } from './manifest.js'
import { type Best, Watch, type WatchOptions } from './watch.js'

interface FilledBatch {
  readonly views: Readonly<Record<string, NativeArray>>
  release(): void
}

/** A compiled program with updates, as `compile` gives it. */
export interface LoopProgram {
  readonly request: TraceRequest
  readonly executor: Executor
  readonly seed: number
  readonly runner: { readonly programFile: Uint8Array }
  /** Steps that move the parameters together. */
  readonly accumulate: number
  stepCount: number
  lease(capacities: Readonly<Record<string, number>>): Promise<FilledBatch>
  // biome-ignore lint/suspicious/noExplicitAny: the schema is the source's, which types do not know.
  step(batch: any, scalars: Readonly<Record<string, number>>, options: StepOptions): Promise<object>
  optimizerState(): OptimizerState
}

export interface StepReport {
  readonly step: number
  readonly epoch: number
  readonly batch: number
  readonly examples: number
  readonly loss: number
  readonly scalars: Readonly<Record<string, number>>
  /** What else the program gave as numbers: parts of the loss, norms, statistics of weights. */
  readonly parts?: Readonly<Record<string, number>>
}

export interface EvaluationReport {
  readonly step: number
  readonly epoch: number
  readonly metrics: Metrics
  readonly best: boolean
}

export interface EpochReport {
  readonly step: number
  readonly epoch: number
  /** Mean over the epoch's examples. */
  readonly loss: number
  /** Of the last evaluation. */
  readonly metrics: Metrics
  readonly best: boolean
  /** While stepping; evaluation does not count. */
  readonly examplesPerSecond: number
}

export type Ending = 'epochs' | 'patience' | 'interrupted'

/** Sees the run; the progress bar, the log and the report are observers. Promises are awaited, but for those of steps. */
export interface LoopObserver {
  started?(run: {
    readonly step: number
    readonly epoch: number
    /** Examples of an epoch, and those of this one that an earlier run has done. */
    readonly exampleCount: number
    readonly examples: number
  }): unknown
  stepped?(step: StepReport): void
  evaluated?(evaluation: EvaluationReport): unknown
  epochEnded?(epoch: EpochReport): unknown
  saved?(checkpoint: { readonly step: number; readonly path: string; readonly seconds: number }): unknown
  skipped?(checkpoints: readonly Skipped[]): unknown
  ended?(end: { readonly step: number; readonly epoch: number; readonly ending: Ending }): unknown
}

export interface CheckpointOptions {
  readonly folder: CheckpointFolder
  /** What the model was built from: a resume with another is refused. */
  readonly config: Json
  /** Go on from the newest sound checkpoint, if there is one. */
  readonly resume?: boolean
  /** When to save, besides each new best and the end. Default: every epoch. */
  readonly every?: { readonly steps?: number; readonly epochs?: number; readonly minutes?: number }
}

export interface LoopOptions {
  readonly program: LoopProgram
  readonly source: BatchSource
  readonly parameters: ParameterSet
  readonly optimizer?: OptimizerState
  readonly state: State
  readonly epochs: number
  /** Name of the output that must stay finite. Default: 'loss'. */
  readonly loss?: string
  /** Scalars of each step by name: numbers, functions of the step, or something that learns from evaluations. */
  readonly schedule?: Scalars | LoopSchedule
  /** Metrics by name, on what is not trained on. */
  readonly evaluate?: (at: {
    readonly step: number
    readonly epoch: number
    /** What is to be measured: the parameters, or what `averaged` makes of them. */
    readonly parameters: ParameterSet
  }) => Promise<Metrics>
  /** What is measured, kept as the best and given back in the parameters' place: their averages, see `ema`. */
  readonly averaged?: (parameters: ParameterSet, optimizer: OptimizerState) => Promise<ParameterSet>
  /** Steps between evaluations. Default: after each epoch. */
  readonly evaluateEvery?: number
  /** Keeps the best, and stops when it gets no better. */
  readonly watch?: WatchOptions
  readonly checkpoints?: CheckpointOptions
  /** Ends after the running step, with a checkpoint. */
  readonly signal?: AbortSignal
  /**
   * On a non-finite loss, names the op that made the first non-finite value. 'steps': looks before every step, at the
   * price of running all of it twice, and so finds a gradient that is not finite while the loss still is.
   */
  readonly detectAnomaly?: boolean | 'steps'
  readonly observers?: readonly LoopObserver[]
}

export interface LoopResult {
  /** The best by `watch`; the last without it. */
  readonly parameters: ParameterSet
  readonly best: Best | null
  readonly step: number
  /** The last epoch that was begun. */
  readonly epoch: number
  readonly ending: Ending
}

/** Steps in flight: one runs while the next batch is filled. */
const IN_FLIGHT = 2

/**
 * Trains. With gradient accumulation evaluations and checkpoints wait until the parameters have moved, and batches at the
 * end of an epoch that are too few for that are left out.
 *
 * Throws what a step throws: KAIROS_NON_FINITE for a loss that is not finite, KAIROS_DATA and KAIROS_ARGUMENT
 * for a checkpoint that does not fit.
 */
export async function fitLoop(options: LoopOptions): Promise<LoopResult> {
  return new Loop(options).run()
}

/** What a checkpoint says of the loop itself. */
interface Progress {
  readonly lossSum: number
  readonly examples: number
  readonly watch: ReturnType<Watch['save']> | null
  readonly schedule: Json
}

class Loop {
  private step = 0
  private epoch = 1
  /** Batches of the epoch that were submitted. */
  private batch = 0
  private lossSum = 0
  private examples = 0
  private metrics: Metrics = {}
  private bestParameters: ParameterSet | null = null
  /** Something happened since the last checkpoint. */
  private unsaved = true
  private savedAt = performance.now()
  /** Milliseconds of evaluations and checkpoints: no part of the rate. */
  private paused = 0
  private readonly watch: Watch | null
  private readonly schedule: LoopSchedule
  private readonly detector: AnomalyDetector | null
  private readonly inFlight: Promise<void>[] = []
  private readonly loss: string
  /** The loss, and norms of gradients where the program computes them. */
  private readonly finite: readonly string[]
  private readonly optimizer: OptimizerState

  constructor(private readonly options: LoopOptions) {
    checkOptions(options)
    const { program, watch, schedule = {}, detectAnomaly, loss = 'loss', optimizer } = options
    this.watch = watch ? new Watch(watch) : null
    this.schedule = isLoopSchedule(schedule) ? schedule : scheduleOf(schedule)
    this.detector = detectAnomaly ? new AnomalyDetector(program) : null
    this.loss = loss
    const norms = (program.request.updates ?? []).filter(({ gradientNorm }) => gradientNorm)
    this.finite = [loss, ...norms.map(({ name }) => normName(name))]
    this.optimizer = optimizer ?? program.optimizerState()
  }

  async run(): Promise<LoopResult> {
    const skipped = await this.resume()
    const { step, epoch: first, examples } = this
    const { exampleCount } = this.options.source
    await this.tell('started', { step, epoch: first, exampleCount, examples })
    if (skipped.length > 0) await this.tell('skipped', skipped)
    let ending = this.ending()
    while (!ending) {
      await this.runEpoch()
      ending = this.ending()
    }
    if (this.unsaved) await this.save(false)
    // Between epochs the next one has not begun.
    const epoch = this.batch === 0 && this.epoch > 1 ? this.epoch - 1 : this.epoch
    await this.tell('ended', { step: this.step, epoch, ending })
    const parameters = ending === 'interrupted' ? this.options.parameters : await this.bestOrLast()
    return { parameters, best: this.watch?.best ?? null, step: this.step, epoch, ending }
  }

  /** Batches of an epoch that fill whole windows of accumulation. */
  private get batchCount(): number {
    const { source, program } = this.options
    return source.batchCount - (source.batchCount % program.accumulate)
  }

  /** No gradients are held back: only then do the stores say all. */
  private get settled(): boolean {
    return this.step % this.options.program.accumulate === 0
  }

  /** Whether `every` steps are full since the parameters moved the last time. */
  private isDue(every: number): boolean {
    const before = this.step - this.options.program.accumulate
    return Math.floor(this.step / every) > Math.floor(before / every)
  }

  private ending(): Ending | null {
    if (this.watch?.exhausted) return 'patience'
    if (this.epoch > this.options.epochs) return 'epochs'
    return this.options.signal?.aborted ? 'interrupted' : null
  }

  /** The rest of an epoch, unless something ends it early. */
  private async runEpoch(): Promise<void> {
    const { source, evaluateEvery } = this.options
    const [started, before] = [performance.now(), this.examples]
    this.paused = 0
    try {
      for await (const prepared of source.batches(this.epoch, { from: this.batch })) {
        if (this.batch >= this.batchCount || (this.settled && this.ending())) break
        if (this.inFlight.length >= (this.detector ? 1 : IN_FLIGHT)) await this.inFlight.shift()
        await this.submit(prepared)
        if (!this.settled) continue
        if (evaluateEvery && this.isDue(evaluateEvery) && (await this.evaluate())) await this.save(true)
        else if (this.saveIsDue()) await this.save(false)
      }
      await this.drain()
    } finally {
      // After a failure too, nothing of the run is under way when the caller hears of it.
      await Promise.allSettled(this.inFlight.splice(0))
    }
    const seconds = (performance.now() - started - this.paused) / 1000
    if (this.ending()) return
    if (this.batch < this.batchCount) throw tooFewBatches(this.batch, this.batchCount, this.epoch)
    await this.endEpoch((this.examples - before) / seconds)
  }

  private async endEpoch(examplesPerSecond: number): Promise<void> {
    const { evaluateEvery, checkpoints } = this.options
    const best = evaluateEvery ? false : await this.evaluate()
    const { epoch, step, metrics } = this
    const report = { epoch, step, loss: this.lossSum / this.examples, metrics, best, examplesPerSecond }
    this.epoch++
    this.batch = 0
    this.lossSum = 0
    this.examples = 0
    this.unsaved = true
    await this.tell('epochEnded', report)
    const every = checkpoints?.every ?? { epochs: 1 }
    if (best || (every.epochs && epoch % every.epochs === 0)) await this.save(best)
  }

  private async submit(prepared: PreparedBatch): Promise<void> {
    const { program, source, parameters, state, detectAnomaly } = this.options
    const [epoch, batch, examples] = [this.epoch, this.batch, prepared.examples ?? prepared.counts.batch ?? 1]
    const scalars = this.schedule.scalars({ step: this.step, epoch })
    const stores = { parameters, optimizer: this.optimizer, state }
    const inputs = { schema: source.schema, batch: prepared, scalars, stores, draws: program.stepCount }
    const at = `in step ${this.step + 1} (epoch ${epoch}, batch ${batch})`
    if (detectAnomaly === 'steps') {
      const anomaly = await this.detector?.find(inputs)
      if (anomaly) throw anomalyError(anomaly, at)
    }
    const leased = await program.lease(source.capacities)
    try {
      prepared.fill(leased.views)
    } catch (error) {
      leased.release()
      throw error
    }
    this.unsaved = true
    this.batch++
    const step = ++this.step
    const run = program.step(leased, scalars, { ...stores, counts: prepared.counts, requireFinite: this.finite })
    const done = run.then(
      (results) => {
        const loss = (results as Record<string, number>)[this.loss] as number
        const parts = numbersBut(this.loss, results)
        this.lossSum += loss * examples
        this.examples += examples
        for (const observer of this.options.observers ?? []) {
          observer.stepped?.({ step, epoch, batch, examples, loss, scalars, parts })
        }
      },
      async (error: unknown) => {
        if (!isKairosError(error, 'KAIROS_NON_FINITE')) throw error
        const anomaly = await this.detector?.find(inputs)
        if (anomaly) throw anomalyError(anomaly, at, error)
        const hint = 'Train with detectAnomaly to learn which op made it'
        throw new KairosError(error.code, { ...error.details, ...(this.detector ? {} : { hint }) }, { cause: error })
      },
    )
    // Heard when it is awaited in its turn; until then a failure must not count as unheard.
    done.catch(() => undefined)
    this.inFlight.push(done)
  }

  private async drain(): Promise<void> {
    while (this.inFlight.length > 0) await this.inFlight.shift()
  }

  /** True when it is the best so far. */
  private async evaluate(): Promise<boolean> {
    await this.drain()
    if (!this.options.evaluate) return false
    const started = performance.now()
    const { step, epoch } = this
    const shown = await this.shown()
    try {
      this.metrics = await this.options.evaluate({ step, epoch, parameters: shown })
    } finally {
      if (shown !== this.options.parameters) shown[Symbol.dispose]()
    }
    this.schedule.observe?.(this.metrics)
    const best = this.watch?.observe(this.metrics, epoch, step) ?? false
    this.unsaved = true
    await this.tell('evaluated', { step, epoch, metrics: this.metrics, best })
    this.paused += performance.now() - started
    return best
  }

  // Checkpoints ------------------------------------------------------------------------------------------------------

  private saveIsDue(): boolean {
    const { steps, minutes } = this.options.checkpoints?.every ?? {}
    const elapsed = (performance.now() - this.savedAt) / 60_000
    return Boolean((steps && this.isDue(steps)) || (minutes && elapsed >= minutes))
  }

  private async save(best: boolean): Promise<void> {
    const { checkpoints, program, parameters, state, source } = this.options
    if (!checkpoints) {
      if (best) await this.keepInMemory()
      return
    }
    await this.drain()
    const started = performance.now()
    const progress: Progress = {
      lossSum: this.lossSum,
      examples: this.examples,
      watch: this.watch?.save() ?? null,
      schedule: requireJson(this.schedule.save?.() ?? null, 'schedule.save()'),
    }
    const path = await checkpoints.folder.save({
      step: this.step,
      cursor: { epoch: this.epoch, batch: this.batch },
      random: { seed: program.seed, draws: program.stepCount },
      metrics: this.metrics,
      best,
      config: requireJson(checkpoints.config, 'checkpoints.config') as never,
      schema: source.schema as never,
      progress: progress as never,
      stores: { parameters, optimizer: this.optimizer, state },
      program: program.runner.programFile,
      executor: program.executor,
    })
    this.unsaved = false
    this.savedAt = performance.now()
    this.paused += this.savedAt - started
    await this.tell('saved', { step: this.step, path, seconds: (this.savedAt - started) / 1000 })
  }

  private async keepInMemory(): Promise<void> {
    const previous = this.bestParameters
    const { averaged, parameters, program } = this.options
    this.bestParameters = averaged ? await this.shown() : await parameters.clone(program.executor)
    previous?.[Symbol.dispose]()
  }

  /** The parameters as they are measured and given back. */
  private async shown(): Promise<ParameterSet> {
    const { averaged, parameters } = this.options
    return averaged ? averaged(parameters, this.optimizer) : parameters
  }

  /** Takes up the newest sound checkpoint; gives those that it passed over. */
  private async resume(): Promise<readonly Skipped[]> {
    const { checkpoints, program, source, parameters, state } = this.options
    if (!checkpoints) return []
    const { checkpoint, skipped } = await checkpoints.folder.latest()
    if (!checkpoints.resume && (checkpoint || skipped.length > 0)) {
      throw refused(
        checkpoints.folder,
        'empty, or a run to resume',
        'one with checkpoints',
        'Resume, or use another folder',
      )
    }
    if (!checkpoint && skipped.length > 0) {
      const reasons = skipped.map(({ reason }) => reason).join('; ')
      throw refused(checkpoints.folder, 'at least one sound checkpoint', `none (${reasons})`)
    }
    if (!checkpoint) return []
    const { step, cursor, random, metrics, progress } = checkpoint.manifest
    checkpoint.requireFit({ config: checkpoints.config, schema: source.schema as never })
    if (random.seed !== program.seed) {
      throw refused(checkpoints.folder, `of seed ${program.seed}`, `one of seed ${random.seed}`)
    }
    await checkpoint.restore({ parameters, optimizer: this.optimizer, state }, program.executor)
    program.stepCount = random.draws
    this.step = step
    this.epoch = cursor.epoch
    this.batch = cursor.batch
    // JSON has no NaN: it was saved as null.
    this.metrics = Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, value ?? Number.NaN]))
    const saved = progress as unknown as Progress
    this.lossSum = saved.lossSum
    this.examples = saved.examples
    if (saved.watch) this.watch?.restore(saved.watch)
    if (saved.schedule !== null) this.schedule.restore?.(saved.schedule)
    this.unsaved = false
    return skipped
  }

  private async bestOrLast(): Promise<ParameterSet> {
    const { checkpoints, parameters } = this.options
    const best = this.watch?.best
    if (!best) return this.shown()
    if (!checkpoints) return this.bestParameters ?? parameters
    const checkpoint = await checkpoints.folder.best()
    if (checkpoint?.manifest.step !== best.step) {
      throw refused(checkpoints.folder, `the best checkpoint, of step ${best.step},`, 'none that is sound')
    }
    const optimizer = this.options.averaged ? { optimizer: this.optimizer } : {}
    await checkpoint.restore({ parameters, ...optimizer }, this.options.program.executor)
    return this.shown()
  }

  private async tell<E extends Exclude<keyof LoopObserver, 'stepped'>>(
    event: E,
    report: Parameters<NonNullable<LoopObserver[E]>>[0],
  ): Promise<void> {
    for (const observer of this.options.observers ?? []) await observer[event]?.(report as never)
  }
}

const numbersBut = (loss: string, results: object): Record<string, number> =>
  Object.fromEntries(Object.entries(results).filter(([name, value]) => name !== loss && typeof value === 'number'))

const tooFewBatches = (got: number, expected: number, epoch: number) =>
  new KairosError('KAIROS_DATA', {
    op: 'fitLoop',
    argument: `source.batches(${epoch})`,
    expected: `${expected} batches, its batchCount,`,
    got: String(got),
  })

const refused = (folder: CheckpointFolder, expected: string, got: string, hint?: string) =>
  new KairosError('KAIROS_ARGUMENT', {
    op: 'fitLoop',
    argument: folder.path,
    expected,
    got,
    ...(hint ? { hint } : {}),
  })

function checkOptions({ epochs, evaluateEvery, evaluate, watch, checkpoints, source, program }: LoopOptions): void {
  if (source.batchCount < program.accumulate) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'fitLoop',
      argument: 'source',
      expected: `at least ${program.accumulate} batches, as many as are accumulated`,
      got: String(source.batchCount),
    })
  }
  const counts = { epochs, evaluateEvery, 'checkpoints.every.steps': checkpoints?.every?.steps }
  for (const [argument, count] of Object.entries(counts)) {
    if (count === undefined || (Number.isInteger(count) && count > 0)) continue
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'fitLoop',
      argument,
      expected: 'a positive integer',
      got: String(count),
    })
  }
  if (watch && !evaluate) {
    throw new KairosError('KAIROS_MISSING', {
      op: 'fitLoop',
      argument: 'evaluate',
      expected: 'a function that gives the watched metric',
      got: 'nothing',
    })
  }
}
