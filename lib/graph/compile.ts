/** `compile`: from a model and a function over it to a program that runs in one native call. */

import { evaluateDim, type Shape, sizeOf, symbolsOf } from '../core/dim.js'
import { type ArrayOf, arrayOf, type DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { Field, Schema } from '../core/schema.js'
import { Scoped } from '../core/scoped.js'
import {
  type Executor,
  type Lease,
  OptimizerState,
  type ParameterSet,
  type RunResult,
  Staging,
  type State,
} from '../runtime/index.js'
import { Accumulation, resultRanks } from './accumulate.js'
import { checkLoss, variableName, variableOf } from './autodiff.js'
import type { Counts } from './counts.js'
import { op } from './gradient.js'
import { input } from './leaf.js'
import { type Mode, namedVariables, parametersOf, withMode } from './module.js'
import { type Leaf, specOf, type Tensor } from './node.js'
import { type Feed, GraphRunner, type RunnerOptions } from './runner.js'
import { entryOf, parametersFor, stateFor } from './stores.js'
import type { TraceRequest } from './trace.js'
import { KEEP } from './training.js'
import type { Combination, Optimizer, ParameterGroup, Update } from './update.js'

/** The tensors of a batch, by name. */
export type Batch<S extends Schema> = {
  readonly [K in keyof S]: S[K] extends Field<infer T, infer D> ? Tensor<T, D> : never
}

/** The arrays that feed a batch. */
export type BatchArrays<S extends Schema> = { readonly [K in keyof S]: ArrayOf<S[K]['dtype']> }

/** Every trainable parameter of the model. */
export const all: unique symbol = Symbol('all parameters')

/** `all`, a list, or a test on names. What no group names stays as it is: frozen. */
export type ParameterChoice = typeof all | readonly Tensor[] | ((name: string) => boolean)

export interface GroupOptions {
  readonly parameters: ParameterChoice
  readonly optimizer: Optimizer
  /** Prefix of the optimiser state's names in checkpoints. Default: the loss, and the position of groups behind it. */
  readonly name?: string
}

interface OneLoss<Outputs> {
  /** Name of the output to minimise: a float32 of rank 0. */
  readonly loss: keyof Outputs & string
}

/** Several losses in one step, their gradients by shared parameters combined into one. */
interface SeveralLosses<Outputs> {
  /** Names of the outputs to minimise, up to 64: float32 of rank 0. */
  readonly losses: readonly (keyof Outputs & string)[]
  /** `minNorm()`, `pcGrad()`, `caGrad()`, `imtlG()`, `nashMtl()`, `upGrad()`, `alignedMtl()` or `fixedWeights()`. */
  readonly combine: Combination
  /** Names the update in errors and state. Default: the losses, joined by `+`. */
  readonly name?: string
  /**
   * Parameters whose task gradients are combined; all others take the sum of their tasks' gradients. Default: those
   * that more than one loss depends on.
   */
  readonly shared?: ParameterChoice
  /**
   * Parameters of which each task moves elements of its own, as the towers of `StackedMlp`: not shared, whatever depends
   * on them, they take the sum of their tasks' gradients.
   */
  readonly apart?: ParameterChoice
  /**
   * Outputs that separate shared parameters from those of tasks. Gradients are measured and combined there, so that the
   * shared part has one backward pass instead of one per task (MGDA-UB: Sener and Koltun 2018, section 3.3).
   */
  readonly representation?: (keyof Outputs & string) | readonly (keyof Outputs & string)[]
  /** Give the weights as the output `<name>/weights`, and what the method reports (`<name>/gap` of `minNorm`). */
  readonly report?: boolean
}

interface GradientOptions {
  /**
   * Greatest Euclidean norm of all gradients of this loss together, rows of sparse tables included: longer gradients
   * are scaled down to it (Pascanu, Mikolov, Bengio 2013; `torch.nn.utils.clip_grad_norm_`).
   */
  readonly clipNorm?: number
  /** Report that norm, before clipping, as `<loss>/gradientNorm`; `requireFinite` may name it. */
  readonly gradientNorm?: boolean
}

/** One rule for some parameters, or several groups with rules of their own; a parameter is in one group. */
export type UpdateOptions<Outputs> = (OneLoss<Outputs> | SeveralLosses<Outputs>) &
  GradientOptions &
  (GroupOptions | { readonly groups: readonly GroupOptions[] })

export interface CompileOptions<S extends Schema, Outputs> extends RunnerOptions {
  readonly schema: S
  /** Losses, what they move and how. All gradients are taken at the values before the step. */
  readonly updates?: readonly UpdateOptions<Outputs>[]
  /**
   * Batches that count as one: gradients are added up over so many steps, and the last of them moves the parameters by
   * their mean. Rates and norms are those of that last step.
   */
  readonly accumulate?: number
  /** Default: 'train' when there are updates. */
  readonly mode?: Mode
  /** Seeds dropout. */
  readonly seed?: number
}

/** Native handles for one run; the program's own defaults where left out. */
export interface Handles {
  readonly parameters?: ParameterSet
  readonly optimizer?: OptimizerState
  readonly state?: State
}

export interface StepOptions extends Handles {
  readonly counts?: Counts
  readonly capacities?: Counts
  /** Fail, changing nothing, unless these outputs are finite. */
  readonly requireFinite?: readonly string[]
}

/** Results by name: a number for rank 0, an array otherwise. */
export type Results<Outputs> = {
  readonly [K in keyof Outputs]: Outputs[K] extends Tensor<infer T, infer D>
    ? T extends readonly []
      ? number
      : ArrayOf<D>
    : never
}

/** A batch whose arrays are native memory: fill the views, then hand it to one step, which takes it. */
export interface LeasedBatch<S extends Schema> {
  readonly views: { readonly [K in keyof S]: ArrayOf<S[K]['dtype']> }
  readonly lease: Lease
  /** Gives it back unused. */
  release(): void
}

/**
 * Compiles a function over a model.
 *
 * `build` is called once, with the model and a tensor per field of the schema, and gives named outputs. Nothing runs
 * until `step`; each step is one native call: forward, backward, update, off the event loop.
 *
 * Throws KAIROS_SHAPE and its kin while tracing, with the line of `build` that is wrong.
 */
export function compile<M extends object, S extends Schema, Outputs extends Record<string, Tensor>>(
  model: M,
  build: (model: M, batch: Batch<S>) => Outputs,
  options: CompileOptions<S, Outputs>,
): Compiled<S, Outputs> {
  return new Compiled(model, build as (model: object, batch: Batch<S>) => Outputs, options)
}

export class Compiled<S extends Schema, Outputs extends Record<string, Tensor>> {
  readonly runner: GraphRunner
  /** What was traced: `explain` lowers it again, watching. */
  readonly request: TraceRequest
  private readonly schema: S
  private readonly model: object
  readonly seed: number
  private readonly ranks: ReadonlyMap<string, number>
  /** Steps that move the parameters together. */
  readonly accumulate: number
  private readonly accumulation: Accumulation | null
  private readonly runners: readonly GraphRunner[]
  private optimizerDefault: OptimizerState | null = null
  private staging: { readonly capacities: Counts; readonly ring: Staging } | null = null
  /** Steps submitted so far. Dropout draws by (seed, stepCount): set it to continue an earlier run. */
  stepCount = 0

  constructor(model: object, build: (model: object, batch: Batch<S>) => Outputs, options: CompileOptions<S, Outputs>) {
    const { schema, updates = [], mode = updates.length > 0 ? 'train' : 'evaluate', seed = 0, accumulate = 1 } = options
    if (!(Number.isInteger(accumulate) && accumulate >= 1)) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'compile',
        argument: 'accumulate',
        expected: 'a whole number of at least 1',
        got: `${accumulate}`,
      })
    }
    this.schema = schema
    this.model = model
    this.seed = seed
    this.accumulate = accumulate
    namedVariables(model) // gives every variable its name
    const batch = Object.fromEntries(
      Object.entries(schema).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
    )
    const { outputs, assignments } = collectAssignments(() => withMode(mode, () => build(model, batch as Batch<S>)))
    checkUpdates(updates)
    const requests = updates.map((update): Update<Tensor> => updateOf(update, outputs, model))
    if (accumulate > 1 && requests.some(({ combination }) => combination)) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'compile',
        argument: 'accumulate',
        expected: '1 where gradients are combined',
        got: `${accumulate}`,
        hint: 'Weights follow from the gradients of one batch; make the batch larger',
      })
    }
    const adding = requests.map((update) => ({ ...update, accumulation: { phase: 'add' as const, steps: accumulate } }))
    this.request = { outputs, updates: accumulate > 1 ? adding : requests, assignments }
    this.runner = new GraphRunner(this.request, options)
    this.accumulation = accumulate > 1 ? new Accumulation(requests, accumulate, options) : null
    this.runners = this.accumulation ? [this.runner, this.accumulation.runner] : [this.runner]
    this.ranks = resultRanks(...this.runners)
  }

  get executor(): Executor {
    return this.runner.executor
  }

  /** Scalars that a step may be given, by name, with their defaults. */
  get scalars(): Readonly<Record<string, number | undefined>> {
    const scalars = this.runners
      .flatMap(({ inputs }) => inputs)
      .filter(
        ({ name, node }) => name !== KEEP && !(name in this.schema) && specOf({ node, index: 0 }).shape.length === 0,
      )
    return Object.fromEntries(scalars.map(({ name, otherwise }) => [name, otherwise]))
  }

  /**
   * One run of the program: forward, and where it has updates backward and update.
   *
   * `batch` holds an array per field (copied before the call returns) or a leased batch (taken). `scalars` are numbers
   * by name: learning rate, loss weights. A step that fails changes no parameter, state or counter.
   */
  async step(
    batch: BatchArrays<S> | LeasedBatch<S>,
    scalars: Readonly<Record<string, number>> = {},
    options: StepOptions = {},
  ): Promise<Results<Outputs>> {
    return this.resultsOf(await this.run(batch, scalars, options))
  }

  /** `step` with the whole native answer: shapes, time, profile. */
  async run(
    batch: BatchArrays<S> | LeasedBatch<S>,
    scalars: Readonly<Record<string, number>> = {},
    options: StepOptions = {},
  ): Promise<RunResult> {
    const feeds: Record<string, Feed> = { ...scalars }
    const lease = isLeased(batch) ? batch.lease : undefined
    if (!isLeased(batch)) Object.assign(feeds, batch)
    // Taken when submitted, so that steps in flight together draw apart.
    const step = this.stepCount++
    if (this.runner.reads(RANDOM)) feeds[RANDOM] = Int32Array.of(this.seed, step)
    for (const name of Object.keys(this.schema)) {
      if (!this.runner.reads(name)) delete feeds[name]
    }
    const request = {
      feeds,
      stores: {
        parameters: options.parameters ?? parametersFor(this.model),
        optimizer: options.optimizer ?? this.optimizerState(),
        state: options.state ?? stateFor(this.model),
      },
      ...(lease ? { lease } : {}),
      ...(options.counts ? { counts: this.read(options.counts) } : {}),
      ...(options.capacities ? { capacities: this.read(options.capacities) } : {}),
      ...(options.requireFinite ? { requireFinite: options.requireFinite } : {}),
    }
    try {
      return await (this.accumulation ? this.accumulation.run(this.runner, request) : this.runner.run(request))
    } catch (error) {
      // A failed step leaves no trace, unless a later one is already under way.
      if (this.stepCount === step + 1) this.stepCount = step
      throw error
    }
  }

  /** A batch in native memory for up to `capacities` of each symbol; waits while all are in use. */
  async lease(capacities: Counts, counts: Counts = capacities): Promise<LeasedBatch<S>> {
    const fits = (present: Counts) =>
      Object.entries(capacities).every(([symbol, count]) => (present[symbol] ?? -1) >= count)
    if (!this.staging || !fits(this.staging.capacities)) {
      const used = this.runner.inputs.filter(({ name }) => name in this.schema)
      const entries = used.map(({ name, node }) => ({ name, ...specOf({ node, index: 0 }) }))
      this.staging = { capacities, ring: new Staging(entries, this.read(capacities)) }
    }
    const lease = await this.staging.ring.lease(this.read(counts))
    // Fields that the program does not read are taken all the same, so that one way of filling serves every program.
    const unread = Object.entries(this.schema).filter(([name]) => !(name in lease.views))
    const spare = unread.map(([name, { dtype, shape }]) => [
      name,
      arrayOf(dtype, evaluateDim(sizeOf(shape), capacities)),
    ])
    const views = { ...Object.fromEntries(spare), ...lease.views } as LeasedBatch<S>['views']
    return { views, lease, release: () => lease.release() }
  }

  /** Sizes without those of fields that the program does not read; names that the schema lacks are left to be refused. */
  private read(counts: Counts): Counts {
    const ofSchema = symbolsOf(Object.values(this.schema).flatMap(({ shape }) => shape))
    const isRead = (symbol: string) => !ofSchema.includes(symbol) || this.runner.symbols.includes(symbol)
    return Object.fromEntries(Object.entries(counts).filter(([symbol]) => isRead(symbol)))
  }

  /** The state that this program's optimisers start from: zeros. */
  createOptimizerState(): OptimizerState {
    return OptimizerState.create(this.entriesOf('optimizer'))
  }

  /** The optimiser state used when a step is given none. */
  optimizerState(): OptimizerState {
    this.optimizerDefault ??= this.createOptimizerState()
    return this.optimizerDefault
  }

  private entriesOf(store: Extract<Leaf, { kind: 'state' }>['store']) {
    const leaves = this.runners
      .flatMap(({ plan }) => plan.buffers.map(({ value }) => value.node.leaf))
      .filter((leaf) => leaf?.kind === 'state')
      .filter((leaf) => leaf.store === store)
    const entries = leaves.map(({ variable }) => entryOf(variableName(variable), variable, 0))
    return [...new Map(entries.map((entry) => [entry.name, entry])).values()]
  }

  private resultsOf({ outputs }: RunResult): Results<Outputs> {
    const results: Record<string, unknown> = {}
    for (const [name, { data }] of Object.entries(outputs)) results[name] = this.ranks.get(name) === 0 ? data[0] : data
    return results as Results<Outputs>
  }
}

/** The input that dropout draws from: (seed, step). */
export const RANDOM = 'random'

const isLeased = <S extends Schema>(batch: BatchArrays<S> | LeasedBatch<S>): batch is LeasedBatch<S> => 'lease' in batch

function updateOf<Outputs extends Record<string, Tensor>>(
  options: UpdateOptions<Outputs>,
  outputs: Outputs,
  model: object,
): Update<Tensor> {
  const { clipNorm, gradientNorm = clipNorm !== undefined } = options
  if (clipNorm !== undefined && !(clipNorm > 0)) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'compile',
      argument: 'updates.clipNorm',
      expected: 'greater than 0',
      got: `${clipNorm}`,
    })
  }
  const name = nameOfUpdate(options)
  const groups = ('groups' in options ? options.groups : [options]).map(
    (group, index): ParameterGroup<Tensor> => ({
      name: group.name ?? (index === 0 ? name : `${name}/${index}`),
      parameters: chosen(model, group.parameters),
      optimizer: group.optimizer,
    }),
  )
  checkGroups(groups)
  const minimised =
    'loss' in options ? { loss: outputOf(outputs, 'loss', options.loss) } : combined(options, outputs, model)
  return { name, ...minimised, groups, gradientNorm, ...(clipNorm === undefined ? {} : { clipNorm }) }
}

const nameOfUpdate = <Outputs>(options: UpdateOptions<Outputs>): string =>
  'loss' in options ? options.loss : (options.name ?? options.losses.join('+'))

function outputOf<Outputs extends Record<string, Tensor>>(
  outputs: Outputs,
  argument: string,
  name: keyof Outputs,
): Tensor {
  const tensor = outputs[name]
  if (tensor) return tensor
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'compile',
    argument: `updates.${argument}`,
    expected: `one of the outputs ${Object.keys(outputs).join(', ')}`,
    got: `'${String(name)}'`,
  })
}

/** Several losses: their sum, weighted where weights do not ask for gradients, and what combines the gradients. */
function combined<Outputs extends Record<string, Tensor>>(
  { losses: tasks, combine: method, shared, apart, representation, report = false }: SeveralLosses<Outputs>,
  outputs: Outputs,
  model: object,
): Pick<Update<Tensor>, 'loss' | 'combination'> {
  const refuseLosses = (expected: string, got: string): never => {
    throw new KairosError('KAIROS_ARGUMENT', { op: 'compile', argument: 'updates.losses', expected, got })
  }
  if (tasks.length < 1 || tasks.length > 64) refuseLosses('1 to 64 names of outputs', `${tasks.length}`)
  if (new Set(tasks).size < tasks.length) refuseLosses('each name once', tasks.join(', '))
  const losses = tasks.map((task) => outputOf(outputs, 'losses', task))
  losses.forEach(checkLoss)
  const add = (terms: readonly Tensor[]) => terms.reduce((sum, next) => op('add', [sum, next]))
  if ('lossWeights' in method) {
    const weights = method.lossWeights(tasks)
    return { loss: add(losses.map((loss, task) => op('multiply', [loss, weights[task] as Tensor]))) }
  }
  if (shared !== undefined && representation !== undefined) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'compile',
      argument: 'updates.shared',
      expected: 'left out beside `representation`, below which everything is shared',
      got: 'both',
    })
  }
  const between = typeof representation === 'object' ? representation : representation ? [representation] : null
  return {
    loss: add(losses),
    combination: {
      method,
      tasks,
      losses,
      shared: shared === undefined ? null : chosen(model, shared),
      apart: apart === undefined ? null : chosen(model, apart),
      representation: between?.map((name) => outputOf(outputs, 'representation', name as keyof Outputs)) ?? null,
      report,
    },
  }
}

function chosen(model: object, parameters: ParameterChoice): readonly Tensor[] {
  if (parameters === all) return parametersOf(model)
  return typeof parameters === 'function' ? parametersOf(model, parameters) : parameters
}

function checkGroups(groups: readonly ParameterGroup<Tensor>[]): void {
  const refuseTwice = (argument: string, expected: string, name: string) => {
    throw new KairosError('KAIROS_DUPLICATE', { op: 'compile', argument, expected, got: `'${name}' twice` })
  }
  const names = new Set<string>()
  const seen = new Set<unknown>()
  for (const { name, parameters } of groups) {
    if (names.has(name)) refuseTwice('updates.groups', 'a name for each', name)
    names.add(name)
    for (const parameter of parameters) {
      const variable = variableOf(parameter)
      if (seen.has(variable)) refuseTwice('updates.groups', 'each parameter in one group', nameOf(parameter))
      seen.add(variable)
    }
  }
}

const nameOf = (parameter: Tensor): string => {
  const variable = variableOf(parameter)
  return variable ? variableName(variable) : 'a computed tensor'
}

function checkUpdates<Outputs>(updates: readonly UpdateOptions<Outputs>[]): void {
  const names = updates.map(nameOfUpdate)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice === undefined) return
  throw new KairosError('KAIROS_DUPLICATE', {
    op: 'compile',
    argument: 'updates',
    expected: 'one entry per loss',
    got: `'${twice}' twice`,
  })
}

// Assignments ------------------------------------------------------------------------------------------------------

type TensorAssignment = { readonly target: Tensor; readonly value: Tensor }
const collecting = new Scoped<TensorAssignment[] | null>(null)

/**
 * Writes a value to a state tensor when the run has otherwise succeeded. Call it inside `compile`'s function.
 *
 * Throws KAIROS_ARGUMENT when the target is no state, or outside of `compile`.
 */
export function assign<S extends Shape, D extends DType>(
  target: Tensor<S, D>,
  value: Tensor<NoInfer<S>, NoInfer<D>>,
): void {
  if (!collecting.current) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'assign',
      got: 'a call outside of compile',
      hint: 'Call it in the function given to compile',
    })
  }
  if (!variableOf(target)) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'assign',
      argument: 'target',
      expected: 'a state or parameter',
      got: 'a computed tensor',
    })
  }
  collecting.current.push({ target, value })
}

function collectAssignments<T>(build: () => T): { outputs: T; assignments: readonly TensorAssignment[] } {
  const assignments: TensorAssignment[] = []
  return { outputs: collecting.run(assignments, build), assignments }
}
