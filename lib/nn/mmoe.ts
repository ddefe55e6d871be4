import type { Dim } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import type { MlpOptions } from './mlp.js'
import { Gates, mixExperts, StackedMlp } from './stacked.js'
import { taskLogits } from './tasks.js'

export interface MMoEOptions<In extends number, Tasks extends number>
  extends Pick<MlpOptions, 'activation' | 'dropout' | 'initializer' | 'biasInitializer'> {
  /** Width of the input. */
  readonly inputs: In
  readonly experts: number
  /** Widths of an expert's layers; each is followed by the activation, the last too. */
  readonly hidden: readonly number[]
  readonly tasks: Tasks
  /** Widths of a task's tower on the mixed experts, the last without activation: `[128, 64, 1]`. Default: no towers. */
  readonly towers?: readonly number[]
}

/**
 * Multi-gate mixture of experts (Ma et al. 2018, "Modeling task relationships in multi-task learning with multi-gate
 * mixture-of-experts", equations 6 and 7): for task k
 *
 *     f_k(x) = sum_i softmax(W_k x + b_k)_i expert_i(x),   y_k = tower_k(f_k(x))
 *
 * All experts' first layers are one matrix product, the rest batches of them. `stackedNames` tells which modules of an
 * expert-by-expert model the parameters stack: `experts.<i>.<layer>`, `gates.<k>`, `towers.<k>.<layer>`.
 */
export class MMoE<const In extends number, const Tasks extends number> {
  readonly experts: StackedMlp
  readonly gates: Gates
  readonly towers?: StackedMlp

  constructor({ inputs, experts, hidden, tasks, towers, ...options }: MMoEOptions<In, Tasks>) {
    const { activation = 'relu' } = options
    this.experts = new StackedMlp(experts, [inputs, ...hidden], { ...options, lastActivation: activation })
    this.gates = new Gates(tasks, inputs, experts, options)
    if (towers) this.towers = new StackedMlp(tasks, [hidden.at(-1) as number, ...towers], options)
  }

  /** x[batch, in] -> [tasks, batch, width of the towers, or without them of the experts]. */
  forward<B extends Dim>(x: Tensor<readonly [B, In], 'float32'>): Tensor<readonly [Tasks, B, number], 'float32'> {
    const mixed = mixExperts(this.gates.weights(x), this.experts.forward(x))
    return (this.towers ? this.towers.forward(mixed) : mixed) as never
  }

  /** x[batch, in] -> [batch, tasks], for towers that end in width 1. Throws KAIROS_SHAPE for others. */
  logits<B extends Dim>(x: Tensor<readonly [B, In], 'float32'>): Tensor<readonly [B, Tasks], 'float32'> {
    return taskLogits('MMoE', this.forward(x))
  }
}
