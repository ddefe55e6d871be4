/** Training as data: which loss moves which parameters, by which rule. */
import type { Shape } from '../core/dim.js'
import type { Tensor, Variable } from './node.js'

/** A float32 tensor of any shape: what optimisers move. */
export type FloatTensor = Tensor<Shape, 'float32'>

/** Parameters that one rule moves. */
export interface ParameterGroup<T> {
  /** Prefixes the optimiser's state. */
  readonly name: string
  readonly parameters: readonly T[]
  readonly optimizer: Optimizer
}

/** One training request of a program. `T` is a tensor while tracing and a value inside passes. */
export interface Update<T> {
  /** Name of the loss output. */
  readonly name: string
  readonly loss: T
  readonly groups: readonly ParameterGroup<T>[]
  /** Greatest norm of all gradients together; longer ones are scaled down to it. */
  readonly clipNorm?: number
  /** Give that norm as an output. */
  readonly gradientNorm?: boolean
  /** One of the two programs of gradient accumulation: the one that adds up, or the one that moves the parameters. */
  readonly accumulation?: { readonly phase: 'add' | 'apply'; readonly steps: number }
}

/** A rule from gradient to new value, written with ops: the compiler fuses it into one pass over memory. */
export interface Optimizer {
  readonly name: string
  /** State per parameter: name -> variable (`exp_avg`, `exp_avg_sq`). */
  slots(parameter: Variable): Readonly<Record<string, Variable>>
  /** State of the whole update: `step`. */
  shared(): Readonly<Record<string, Variable>>
  /** Called once per update: new values of the shared state, and what `update` needs of them. */
  advance(shared: Readonly<Record<string, Tensor>>): {
    readonly next: Readonly<Record<string, Tensor>>
    readonly scalars: Readonly<Record<string, Tensor<readonly [], 'float32'>>>
  }
  /** Called once per parameter: new values of the parameter and of its slots. */
  update(
    parameter: FloatTensor,
    gradient: FloatTensor,
    slots: Readonly<Record<string, FloatTensor>>,
    scalars: Readonly<Record<string, Tensor<readonly [], 'float32'>>>,
  ): { readonly parameter: FloatTensor; readonly slots: Readonly<Record<string, FloatTensor>> }
}
