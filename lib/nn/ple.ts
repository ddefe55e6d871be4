import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Tensor } from '../graph/node.js'
import { add, batchMatmul, concat, reshape, slice, split, transpose } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { MlpOptions } from './mlp.js'
import { Gates, mixExperts, StackedMlp } from './stacked.js'
import { taskLogits } from './tasks.js'

export interface CGCOptions extends Pick<MlpOptions, 'activation' | 'dropout' | 'initializer' | 'biasInitializer'> {
  /** Width of the input. */
  readonly inputs: number
  readonly tasks: number
  /** Experts of each task alone, and experts of all. */
  readonly taskExperts: number
  readonly sharedExperts: number
  /** Widths of an expert's layers; each is followed by the activation, the last too. */
  readonly hidden: readonly number[]
  /** Whether a gate over all experts makes an input for shared experts of a further level. */
  readonly sharedOutput?: boolean
}

/**
 * Customised gate control, one extraction level (Tang et al. 2020, "Progressive layered extraction (PLE): a novel
 * multi-task learning model for personalized recommendations", equations 1 to 4): task k's gate sees its own experts and
 * the shared ones only,
 *
 *     g_k(x) = softmax(W_k x + b_k) over [experts of task k, shared experts]
 *
 * in that order. `experts` holds task 0's experts, then task 1's, and so on.
 */
export class CGC {
  readonly experts: StackedMlp
  readonly shared: StackedMlp
  readonly gates: Gates
  readonly sharedGate?: Gates
  private readonly tasks: number

  constructor({ inputs, tasks, taskExperts, sharedExperts, hidden, sharedOutput = false, ...options }: CGCOptions) {
    for (const [name, count] of Object.entries({ tasks, taskExperts, sharedExperts })) {
      if (Number.isInteger(count) && count > 0) continue
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'CGC',
        argument: name,
        expected: 'a positive integer',
        got: `${count}`,
      })
    }
    const { activation = 'relu' } = options
    const sizes = [inputs, ...hidden]
    this.tasks = tasks
    this.experts = new StackedMlp(tasks * taskExperts, sizes, { ...options, lastActivation: activation })
    this.shared = new StackedMlp(sharedExperts, sizes, { ...options, lastActivation: activation })
    this.gates = new Gates(tasks, inputs, taskExperts + sharedExperts, options)
    if (sharedOutput) this.sharedGate = new Gates(1, inputs, tasks * taskExperts + sharedExperts, options)
  }

  /**
   * x[batch, in] for all, or [tasks + 1, batch, in], one for each task and the shared experts' last -> [tasks, batch,
   * width], with `sharedOutput` [tasks + 1, batch, width].
   */
  forward(x: Loose): Loose {
    const { tasks } = this
    const layered = x.shape.length === 3
    const own = layered ? (slice(x, 0, 0, tasks) as Loose) : x
    const common = layered ? (slice(x, 0, tasks, 1) as Loose) : x
    const experts = this.experts.forward(own)
    const shared = this.shared.forward(common)
    const outputs = this.mix(this.gates.weights(own), experts, shared)
    if (!this.sharedGate) return outputs
    const { count } = this.experts
    const weights = this.sharedGate.weights(common)
    const all = add(
      mixExperts(slice(weights, -1, 0, count) as Loose, experts),
      mixExperts(slice(weights, -1, count, this.shared.count) as Loose, shared),
    )
    return (concat as (pieces: readonly Loose[], axis: number) => Loose)([outputs, all as Loose], 0)
  }

  /** Each task's own experts are mixed by themselves, shared ones for all tasks at once. */
  private mix(weights: Loose, experts: Loose, shared: Loose): Loose {
    const each = this.experts.count / this.tasks
    const [, batch, width] = experts.shape
    const perTask = transpose(split(experts, 0, [this.tasks, each]) as Loose, [0, 2, 1, 3]) as Loose
    const ofOwn = split(slice(weights, -1, 0, each) as Loose, -1, [1, each]) as Loose
    const own = reshape(batchMatmul(ofOwn, perTask) as Loose, [this.tasks, batch, width]) as Loose
    const ofShared = slice(weights, -1, each, this.shared.count) as Loose
    return add(own, mixExperts(ofShared, shared)) as Loose
  }
}

export interface PLEOptions<In extends number, Tasks extends number>
  extends Omit<CGCOptions, 'inputs' | 'tasks' | 'hidden' | 'sharedOutput'> {
  readonly inputs: In
  readonly tasks: Tasks
  /** Widths of an expert's layers, per extraction level. One level is CGC. */
  readonly levels: readonly (readonly number[])[]
  /** Widths of a task's tower, the last without activation. Default: no towers. */
  readonly towers?: readonly number[]
}

/**
 * Progressive layered extraction: levels of `CGC`, in which each level's outputs, one per task and a shared one, are
 * the next level's inputs (Tang et al. 2020, equations 5 and 6); then a tower per task.
 */
export class PLE<const In extends number, const Tasks extends number> {
  readonly levels: readonly CGC[]
  readonly towers?: StackedMlp

  constructor({ inputs, tasks, levels, towers, ...options }: PLEOptions<In, Tasks>) {
    const widthBefore = (level: number) => (level === 0 ? inputs : (levels[level - 1]?.at(-1) as number))
    if (levels.length === 0 || levels.some((hidden) => hidden.length === 0)) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'PLE',
        argument: 'levels',
        expected: 'one or more levels of one or more widths',
        got: JSON.stringify(levels),
      })
    }
    this.levels = levels.map(
      (hidden, level) =>
        new CGC({
          ...options,
          inputs: widthBefore(level),
          tasks,
          hidden,
          sharedOutput: level < levels.length - 1,
        }),
    )
    if (towers) this.towers = new StackedMlp(tasks, [widthBefore(levels.length), ...towers], options)
  }

  /** x[batch, in] -> [tasks, batch, width of the towers, or without them of the last level]. */
  forward<B extends Dim>(x: Tensor<readonly [B, In], 'float32'>): Tensor<readonly [Tasks, B, number], 'float32'> {
    const mixed = this.levels.reduce((inputs: Loose, level) => level.forward(inputs), x)
    return (this.towers ? this.towers.forward(mixed) : mixed) as never
  }

  /** x[batch, in] -> [batch, tasks], for towers that end in width 1. Throws KAIROS_SHAPE for others. */
  logits<B extends Dim>(x: Tensor<readonly [B, In], 'float32'>): Tensor<readonly [B, Tasks], 'float32'> {
    return taskLogits('PLE', this.forward(x))
  }
}
