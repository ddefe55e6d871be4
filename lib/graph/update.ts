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
  /** Several losses whose gradients are combined; `loss` is then their sum. */
  readonly combination?: CombinationRequest<T>
  /** One of the two programs of gradient accumulation: the one that adds up, or the one that moves the parameters. */
  readonly accumulation?: { readonly phase: 'add' | 'apply'; readonly steps: number }
}

/** How the gradients of several losses become one. */
export interface GradientCombination {
  readonly name: string
  /** Weights [K] from the Gram matrix [K, K] of task gradients, and scalars worth a report, by name. */
  weights(
    gram: Tensor,
    tasks: readonly string[],
  ): { readonly weights: Tensor; readonly reports?: Readonly<Record<string, Tensor>> }
}

/** Losses added with weights that do not depend on their gradients: one backward pass. */
export interface LossCombination {
  readonly name: string
  readonly lossWeights: (tasks: readonly string[]) => readonly Tensor<readonly [], 'float32'>[]
}

export type Combination = GradientCombination | LossCombination

/** Losses of a gradient combination. `T` as in `Update`. */
export interface CombinationRequest<T> {
  readonly method: GradientCombination
  readonly tasks: readonly string[]
  readonly losses: readonly T[]
  /** Parameters whose task gradients are combined; null: those that more than one loss depends on. */
  readonly shared: readonly T[] | null
  /** Parameters of which each task moves elements of its own: they take the sum of their gradients, and are never combined. */
  readonly apart: readonly T[] | null
  /** Values between shared parameters and tasks at which gradients are combined instead. */
  readonly representation: readonly T[] | null
  /** Give the weights, and what the method reports, as outputs. */
  readonly report: boolean
}

/** The same request over other values. */
export const mapUpdate = <T, U>(update: Update<T>, now: (value: T) => U): Update<U> => {
  const { loss, groups, combination, ...rest } = update
  const list = (values: readonly T[] | null) => values?.map(now) ?? null
  return {
    ...rest,
    loss: now(loss),
    groups: groups.map((group) => ({ ...group, parameters: group.parameters.map(now) })),
    ...(combination && {
      combination: {
        ...combination,
        losses: combination.losses.map(now),
        shared: list(combination.shared),
        apart: list(combination.apart),
        representation: list(combination.representation),
      },
    }),
  }
}

/** Every value that a request needs. */
export const valuesOf = <T>({ loss, groups, combination }: Update<T>): readonly T[] => [
  loss,
  ...(combination?.losses ?? []),
  ...(combination?.representation ?? []),
  ...groups.flatMap(({ parameters }) => parameters),
]

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
