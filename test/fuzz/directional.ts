/**
 * Gradients of a whole graph against central differences of its loss along one random direction, all in float64: what
 * the ops' own gradients become together. Where two steps tell different slopes the loss is not smooth, and says nothing.
 */
import type { Random } from '../../lib/core/random.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { type InterpretOptions, interpret } from '../../lib/graph/interpret.js'
import type { Tensor, Variable } from '../../lib/graph/node.js'

const STEP = 1e-5
/** Relative to all that the gradient adds up. */
const TOLERANCE = 1e-4

/** A leaf that moves: a feed's name or a variable, and the gradient of the loss by it, if there is one. */
export interface Moving {
  readonly leaf: string | Variable
  readonly gradient: Tensor | null
}

type Moves = ReadonlyMap<string | Variable, Float64Array>

/** What is wrong with the gradients, or null; 'unknown' where differences cannot tell. */
export function checkDirection(
  loss: Tensor,
  moving: readonly Moving[],
  { feeds = {}, variables = new Map(), counts = {} }: InterpretOptions,
  random: Random,
): string | 'unknown' | null {
  const startOf = (leaf: string | Variable) =>
    (typeof leaf === 'string' ? feeds[leaf] : variables.get(leaf)) as ReferenceArray
  const draw = (scale: number): Moves =>
    new Map(moving.map(({ leaf }) => [leaf, startOf(leaf).data.map(() => scale * random.normal())]))
  // Away from where leaves start: a bias of zeros stands on the kink of a relu.
  const offset = draw(0.01)
  const direction = draw(1)
  const at = (step: number): InterpretOptions => {
    const moved = (leaf: string | Variable, array: ReferenceArray): ReferenceArray => {
      const [shift, along] = [offset.get(leaf), direction.get(leaf)]
      if (!shift || !along) return array
      return { ...array, data: array.data.map((x, i) => x + (shift[i] as number) + step * (along[i] as number)) }
    }
    return {
      counts,
      feeds: Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, moved(name, array)])),
      variables: new Map([...variables].map(([variable, array]) => [variable, moved(variable, array)])),
    }
  }
  const lossAt = (step: number): number => interpret([loss], at(step))[0]?.data[0] as number
  const slope = (step: number): number => (lossAt(step) - lossAt(-step)) / (2 * step)

  const flowing = moving.flatMap(({ leaf, gradient }) => (gradient ? [{ leaf, gradient }] : []))
  const gradients = interpret(
    flowing.map(({ gradient }) => gradient),
    at(0),
  )
  let [sum, scale] = [0, 0]
  flowing.forEach(({ leaf }, index) => {
    const along = direction.get(leaf) as Float64Array
    gradients[index]?.data.forEach((g, i) => {
      sum += g * (along[i] as number)
      scale += Math.abs(g * (along[i] as number))
    })
  })
  const [wide, narrow, here] = [slope(STEP), slope(STEP / 4), lossAt(0)]
  const allowed = TOLERANCE * Math.max(scale, Math.abs(wide)) + 1e-9 * Math.abs(here) + 1e-9
  if (![wide, narrow, sum, scale].every(Number.isFinite) || Math.abs(wide - narrow) > allowed / 4) return 'unknown'
  if (Math.abs(narrow - sum) <= allowed) return null
  return `the loss rises by ${narrow} along a direction in which its gradients say ${sum}, of ${scale}`
}
