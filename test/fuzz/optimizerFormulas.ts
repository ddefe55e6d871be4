/** Optimizers as their papers have them, in float64: one function per parameter, which keeps its state. */
import type { ReferenceArray } from '../../lib/graph/defineOp.js'

export interface RuleOptions {
  readonly weightDecay: number
  readonly momentum?: number
  readonly epsilon?: number
}

/** The new values; with `rows`, only those rows of the parameter and its state move. */
type Rule = (parameter: ReferenceArray, gradient: Float64Array, rows: readonly number[] | null) => Float64Array

/** Applies a move to each element, or to each of the rows' elements. */
function moved(
  { shape, data }: ReferenceArray,
  rows: readonly number[] | null,
  move: (index: number, row: number, width: number) => number,
): Float64Array {
  const width = shape.slice(1).reduce((product, size) => product * size, 1)
  const result = data.slice()
  const all = rows ?? Array.from({ length: data.length / Math.max(width, 1) }, (_, row) => row)
  for (const row of all) {
    for (let index = row * width; index < (row + 1) * width; index++) result[index] = move(index, row, width)
  }
  return result
}

const at = (values: ArrayLike<number>, index: number): number => values[index] as number

export const rules = {
  sgd({ weightDecay, momentum = 0 }: RuleOptions, rate: number): Rule {
    let velocity = new Float64Array()
    return (parameter, gradient, rows) => {
      if (velocity.length === 0) velocity = new Float64Array(gradient.length)
      return moved(parameter, rows, (i) => {
        velocity[i] = at(velocity, i) * momentum + at(gradient, i) + weightDecay * at(parameter.data, i)
        return at(parameter.data, i) - rate * at(velocity, i)
      })
    }
  },

  adam({ weightDecay, epsilon = 1e-8 }: RuleOptions, rate: number): Rule {
    let [first, second] = [new Float64Array(), new Float64Array()]
    let step = 0
    return (parameter, gradient, rows) => {
      if (step === 0) [first, second] = [new Float64Array(gradient.length), new Float64Array(gradient.length)]
      step++
      return moved(parameter, rows, (i) => {
        const g = at(gradient, i)
        first[i] = 0.9 * at(first, i) + 0.1 * g
        second[i] = 0.999 * at(second, i) + 0.001 * g * g
        const [mean, square] = [at(first, i) / (1 - 0.9 ** step), at(second, i) / (1 - 0.999 ** step)]
        return at(parameter.data, i) * (1 - rate * weightDecay) - (rate * mean) / (Math.sqrt(square) + epsilon)
      })
    }
  },

  rowWiseAdagrad({ weightDecay, epsilon = 1e-8 }: RuleOptions, rate: number): Rule {
    let sum = new Float64Array()
    return (parameter, gradient, rows) => {
      const decayed = gradient.map((g, i) => g + weightDecay * at(parameter.data, i))
      if (sum.length === 0) sum = new Float64Array(parameter.shape[0] ?? 1)
      return moved(parameter, rows, (i, row, width) => {
        if (i === row * width) {
          const squares = decayed.subarray(i, i + width).reduce((total, g) => total + g * g, 0)
          sum[row] = at(sum, row) + squares / width
        }
        return at(parameter.data, i) - (rate * at(decayed, i)) / (Math.sqrt(at(sum, row)) + epsilon)
      })
    }
  },
} as const
