/**
 * Weights that combine the gradients of several tasks, from their Gram matrix G = J J^T. Each method is an op from G[K, K]
 * to alpha[K], K up to 64, float64 inside; the combined gradient is J^T alpha.
 *
 * References are plain descents and closed forms (paretoReference.ts); the kernels reach the same points in finitely
 * many steps. A run fails with KAIROS_NON_FINITE, naming the task, where a gradient is not finite or its squared norm
 * exceeds float32, and changes nothing.
 */
import type { Dim } from '../core/dim.js'
import type { Random } from '../core/random.js'
import {
  defineOp,
  type InvalidCase,
  type Op,
  type OpCase,
  type ReferenceArray,
  refuse,
  requireDtype,
  requireRank,
} from '../graph/defineOp.js'
import { input } from '../graph/leaf.js'
import type { Attributes, Tensor, TensorSpec } from '../graph/node.js'
import * as solve from './paretoReference.js'
import { array, at, float32, int32, LIVE, type Loose, read, refuseArgument, requireShape, typed } from './support.js'

/** A Gram matrix of task gradients. */
export type GramMatrix<K extends Dim = Dim> = Tensor<readonly [K, K], 'float32'>
export type TaskWeights<K extends Dim = Dim> = Tensor<readonly [K], 'float32'>

export interface WeightOptions {
  /** Names of the tasks, for errors. */
  readonly tasks?: readonly string[]
}

const MOST_TASKS = 64

type SolverAttributes = { tasks?: string }

interface Method<A extends Attributes> {
  /** Attributes of cases. */
  readonly attributes: A
  readonly refused?: readonly InvalidCase<A>[]
  /** Draws at random: takes (seed, step) as a second operand. */
  readonly random?: boolean
  /** Gives the duality gap as a second result. */
  readonly gap?: boolean
  check?(attributes: A): void
  solve(gram: solve.Matrix, attributes: A, random: ArrayLike<number>): readonly number[]
}

function defineMethod<A extends SolverAttributes & Attributes>(name: string, method: Method<A>): Op<A> {
  return defineOp<A>({
    name,
    infer([gram, random]: readonly TensorSpec[], attributes) {
      requireDtype(name, 'gram', gram as TensorSpec, 'float32')
      requireRank(name, 'gram', gram as TensorSpec, 2, 2)
      const count = at((gram as TensorSpec).shape, 0)
      requireShape(name, 'gram', gram as TensorSpec, [count, count])
      if (typeof count === 'number' && count > MOST_TASKS) refuse(name, 'gram', 'of at most 64 rows', `${count}`)
      if (method.random) {
        requireDtype(name, 'random', random as TensorSpec, 'int32')
        requireShape(name, 'random', random as TensorSpec, [2])
      }
      method.check?.(attributes)
      return method.gap ? [float32([count]), float32([])] : [float32([count])]
    },
    vjp: 'weights are chosen anew in each step, and not learned',
    reference([gram, random]: readonly ReferenceArray[], attributes) {
      const matrix = solve.matrixOf(gram as ReferenceArray)
      const weights = method.solve(matrix, attributes, random?.data ?? [])
      const result = array([matrix.length], (index) => read(weights, index))
      return method.gap ? [result, array([], () => solve.gapOf(matrix, weights))] : [result]
    },
    cases: (draw) => ({
      valid: [
        grams(draw, LIVE, 40, true),
        grams(draw, 1 + draw.int(8), 30),
        grams(draw, 1, 3),
        grams(draw, 2, 9),
        conflicting(draw, 3 + draw.int(4)),
      ].map(
        (gram): OpCase<A> => ({
          inputs: method.random ? [gram, typed('int32', [2], () => draw.int(2 ** 31))] : [gram],
          attributes: method.attributes,
          ...(read(gram.shape, 0) === LIVE ? { live: LIVE } : {}),
        }),
      ),
      invalid: [
        {
          inputs: [float32([3, 4]), ...(method.random ? [int32([2])] : [])],
          attributes: method.attributes,
          message: new RegExp(`^${name}: gram should be of shape \\[3, 3\\] but got \\[3, 4\\]`),
        },
        {
          inputs: [int32([3, 3]), ...(method.random ? [int32([2])] : [])],
          attributes: method.attributes,
          message: new RegExp(`^${name}: gram should be dtype float32 but got int32`),
        },
        {
          inputs: [float32([65, 65]), ...(method.random ? [int32([2])] : [])],
          attributes: method.attributes,
          message: new RegExp(`^${name}: gram should be of at most 64 rows but got 65`),
        },
        ...(method.refused ?? []),
      ],
    }),
    flops: ([gram]) => (gram?.[0] ?? 0) ** 3,
  })
}

/** The Gram matrix of random gradients, of lengths that differ unless `even`. */
function grams(random: Random, count: number, width: number, even = false): ReferenceArray {
  const rows = Array.from({ length: count }, () => {
    const length = even ? 1 : 4 ** random.normal()
    return Array.from({ length: width }, () => length * random.normal())
  })
  return gramOf(rows)
}

/** Gradients that point against each other. */
function conflicting(random: Random, count: number): ReferenceArray {
  const shared = Array.from({ length: 24 }, () => random.normal())
  return gramOf(
    Array.from({ length: count }, (_, task) =>
      shared.map((value) => (task % 2 ? -0.8 : 0.7) * value + 0.6 * random.normal()),
    ),
  )
}

const gramOf = (rows: readonly (readonly number[])[]): ReferenceArray =>
  array([rows.length, rows.length], (index) => {
    const [a, b] = [rows[Math.floor(index / rows.length)], rows[index % rows.length]] as [number[], number[]]
    return Math.fround(a.reduce((sum, value, i) => sum + value * read(b, i), 0))
  })

const minNormOp = defineMethod('minNormWeights', { attributes: {}, gap: true, solve: solve.minNorm })
const pcGradOp = defineMethod<SolverAttributes & { salt: number }>('pcGradWeights', {
  attributes: { salt: 5 },
  random: true,
  solve: (gram, { salt }, random) => solve.pcGrad(gram, [read(random, 0), salt], read(random, 1)),
})
const caGradOp = defineMethod<SolverAttributes & { radius: number }>('caGradWeights', {
  attributes: { radius: 0.5 },
  check({ radius }) {
    if (!(radius >= 0 && radius < 1)) refuseArgument('caGradWeights', 'radius', 'in [0, 1)', radius)
  },
  refused: [
    {
      inputs: [float32([3, 3])],
      attributes: { radius: 1 },
      message: /^caGradWeights: radius should be in \[0, 1\) but got 1/,
    },
  ],
  solve: (gram, { radius }) => solve.caGrad(gram, radius),
})
const imtlGOp = defineMethod('imtlGWeights', { attributes: {}, solve: solve.imtlG })
const nashMtlOp = defineMethod('nashMtlWeights', { attributes: {}, solve: solve.nashMtl })
const upGradOp = defineMethod('upGradWeights', { attributes: {}, solve: solve.upGrad })
const alignedMtlOp = defineMethod('alignedMtlWeights', { attributes: {}, solve: solve.alignedMtl })

const namesOf = ({ tasks }: WeightOptions): SolverAttributes =>
  tasks ? { tasks: tasks.map((name) => name.replaceAll('\n', ' ')).join('\n') } : {}

/**
 * The convex combination of least norm: min |J^T alpha| over alpha >= 0, sum alpha = 1, exactly (active set). `gap` is
 * alpha^T G alpha - min_k (G alpha)_k, 0 at the optimum; where alpha^T G alpha is 0 too the point is Pareto-stationary.
 * Where gradients vanish they alone have weight.
 *
 * Source: Désidéri, "Multiple-gradient descent algorithm (MGDA)", 2012, equation 4; Sener and Koltun 2018, equation 3.
 */
export function minNormWeights<K extends Dim>(
  gram: GramMatrix<K>,
  options: WeightOptions = {},
): { readonly weights: TaskWeights<K>; readonly gap: Tensor<readonly [], 'float32'> } {
  const [weights, gap] = minNormOp([gram], namesOf(options)) as readonly Loose[]
  return { weights: weights as Loose, gap: gap as Loose }
}

/**
 * Each gradient is projected onto the normal plane of every other that it conflicts with, in random order, and all are
 * added. `random` holds seed and step, by default the feed of training steps; the order is a function of both and `salt`.
 *
 * Source: Yu et al., "Gradient surgery for multi-task learning", 2020, algorithm 1.
 */
export function pcGradWeights<K extends Dim>(
  gram: GramMatrix<K>,
  { random, salt = 0, ...options }: WeightOptions & { random?: Tensor<readonly [2], 'int32'>; salt?: number } = {},
): TaskWeights<K> {
  return pcGradOp([gram, random ?? input('random', [2], 'int32')], { ...namesOf(options), salt })[0] as Loose
}

/**
 * The direction that helps the worst task most within `radius` |g_0| of the mean gradient g_0: alpha = 1 / K +
 * radius |g_0| / |g_w| w. At a Pareto-stationary point, where g_w vanishes, 1e-4 of the longest gradient stands for
 * |g_w|.
 *
 * Source: Liu et al., "Conflict-averse gradient descent for multi-task learning", 2021, algorithm 1.
 */
export const caGradWeights = <K extends Dim>(
  gram: GramMatrix<K>,
  { radius = 0.5, ...options }: WeightOptions & { radius?: number } = {},
): TaskWeights<K> => caGradOp([gram], { ...namesOf(options), radius })[0] as Loose

/**
 * Weights of sum 1, some perhaps negative, with which the combined gradient has equal projections onto all task
 * gradients. A vanishing gradient has weight 0.
 *
 * Source: Liu et al., "Towards impartial multi-task learning", 2021, equation 6.
 */
export const imtlGWeights = <K extends Dim>(gram: GramMatrix<K>, options: WeightOptions = {}): TaskWeights<K> =>
  imtlGOp([gram], namesOf(options))[0] as Loose

/**
 * The Nash bargaining solution: alpha > 0 with G alpha = 1 / alpha, so that the combined gradient has norm sqrt(K)
 * whatever the scale of losses. A vanishing gradient has weight 0; where gradients cancel, weights stop at about 1e3
 * over their norms.
 *
 * Source: Navon et al., "Multi-task learning as a bargaining game", 2022, claim 3.1.
 */
export const nashMtlWeights = <K extends Dim>(gram: GramMatrix<K>, options: WeightOptions = {}): TaskWeights<K> =>
  nashMtlOp([gram], namesOf(options))[0] as Loose

/**
 * The mean of all gradients, each projected onto the cone of directions that conflict with none of them.
 *
 * Source: Quinton and Rey, "Jacobian descent for multi-objective optimization", 2024, equation 7 and proposition 1.
 */
export const upGradWeights = <K extends Dim>(gram: GramMatrix<K>, options: WeightOptions = {}): TaskWeights<K> =>
  upGradOp([gram], namesOf(options))[0] as Loose

/**
 * Principal components of the gradients, all scaled to the least that is not rounding, are added: the system of equal
 * weights with condition number 1.
 *
 * Source: Senushkin et al., "Independent component alignment for multi-task learning", 2023, algorithm 1.
 */
export const alignedMtlWeights = <K extends Dim>(gram: GramMatrix<K>, options: WeightOptions = {}): TaskWeights<K> =>
  alignedMtlOp([gram], namesOf(options))[0] as Loose
