/**
 * How several losses share parameters: the `combine` of an update.
 *
 *     { losses: ['click', 'buy'], combine: minNorm(), parameters: all, optimizer: adam() }
 *
 * The Gram matrix of task gradients, the weights and the update belong to one native step. A gradient that is not finite
 * fails the step with KAIROS_NON_FINITE, naming the task, and changes nothing. Sources stand with the ops.
 */
import { KairosError } from '../core/errors.js'
import { scalar } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import type { GradientCombination, LossCombination } from '../graph/update.js'
import {
  alignedMtlWeights,
  caGradWeights,
  imtlGWeights,
  minNormWeights,
  nashMtlWeights,
  pcGradWeights,
  upGradWeights,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { requireSetting } from './slots.js'

const byGram = (
  name: string,
  solve: (gram: Loose, options: { readonly tasks: readonly string[] }) => Tensor,
): GradientCombination => ({ name, weights: (gram, tasks) => ({ weights: solve(gram as Loose, { tasks }) }) })

/** MGDA: the convex combination of least norm (`minNormWeights`). Reports `gap`, its duality gap. */
export const minNorm = (): GradientCombination => ({
  name: 'minNorm',
  weights(gram, tasks) {
    const { weights, gap } = minNormWeights(gram as Loose, { tasks })
    return { weights, reports: { gap } }
  },
})

/** Gradient surgery (`pcGradWeights`), in an order that follows from the program's seed and the step. */
export const pcGrad = ({ salt = 0 }: { readonly salt?: number } = {}): GradientCombination =>
  byGram('pcGrad', (gram, options) => pcGradWeights(gram, { ...options, salt }))

/** Conflict-averse descent within `radius` of the mean gradient (`caGradWeights`). */
export function caGrad({ radius = 0.5 }: { readonly radius?: number } = {}): GradientCombination {
  requireSetting('caGrad', 'radius', radius >= 0 && radius < 1, 'in [0, 1)', radius)
  return byGram('caGrad', (gram, options) => caGradWeights(gram, { ...options, radius }))
}

/** Equal projections onto all task gradients (`imtlGWeights`). */
export const imtlG = (): GradientCombination => byGram('imtlG', imtlGWeights)

/** The Nash bargaining solution (`nashMtlWeights`). */
export const nashMtl = (): GradientCombination => byGram('nashMtl', nashMtlWeights)

/** The mean of gradients projected onto the cone without conflict (`upGradWeights`). */
export const upGrad = (): GradientCombination => byGram('upGrad', upGradWeights)

/** Principal components of equal weight (`alignedMtlWeights`). */
export const alignedMtl = (): GradientCombination => byGram('alignedMtl', alignedMtlWeights)

/**
 * Losses added with weights of their own, 1 by default: one backward pass, task parameters weighted as well. A weight
 * may be a scalar tensor: `scalarInput('clickWeight', 1)` is fed in each step, as `DynamicWeightAverage` asks.
 */
export const fixedWeights = (
  weights: Readonly<Record<string, number | Tensor<readonly [], 'float32'>>> = {},
): LossCombination => ({
  name: 'fixedWeights',
  lossWeights(tasks) {
    const unknown = Object.keys(weights).find((name) => !tasks.includes(name))
    if (unknown !== undefined) {
      throw new KairosError('KAIROS_UNKNOWN_NAME', {
        op: 'fixedWeights',
        argument: 'weights',
        expected: `names of ${tasks.join(', ')}`,
        got: `'${unknown}'`,
      })
    }
    return tasks.map((task) => {
      const weight = weights[task] ?? 1
      return typeof weight === 'number' ? scalar(weight) : weight
    })
  },
})

/** Solvers of the Pareto set, which weigh gradients step by step, by the names that the command line has for them. */
export const solvers = {
  mgda: minNorm,
  pcgrad: pcGrad,
  cagrad: caGrad,
  'imtl-g': imtlG,
  'nash-mtl': nashMtl,
  upgrad: upGrad,
  'aligned-mtl': alignedMtl,
} as const satisfies Record<string, () => GradientCombination>
