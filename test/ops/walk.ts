/** The walk over the registry: cases with what they need to run on any device, and what must come out. */
import { createRandom } from '../../lib/core/random.js'
import type { OpCase, OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import type { Tensor } from '../../lib/graph/node.js'
import { casesOf, cotangentFeeds, gradientOf, graphOf, SYMBOL, shrink } from './harness.js'
import { largeCases } from './large.js'

const DRAWS = 1
/** Relative to the greatest magnitude of a result. */
const TOLERANCE = 1e-5

/** A case with everything that does not depend on the executor; made once, used on each. */
export interface Prepared {
  readonly example: OpCase
  /** Forward results and gradients by the differentiable operands. */
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly feeds: Readonly<Record<string, ReferenceArray>>
  readonly expected: readonly ReferenceArray[]
}

/** A run at a live count below or at the capacity. */
export interface LiveRun {
  readonly count: number
  readonly capacity: number
  readonly prepared: Prepared
}

export const toleranceOf = ({ example }: Prepared): number => example.tolerance ?? TOLERANCE

/** The graph of a case; with `count`, its live size is a symbol and the operands are a prefix of that many. */
function prepare(op: OpDefinition, whole: OpCase, count?: number): Prepared {
  const graph = graphOf(op, whole, count !== undefined)
  const outputs = Object.fromEntries(graph.outputs.map((tensor, index) => [`result${index}`, tensor]))
  if (typeof op.vjp !== 'string') {
    const { wanted, gradients } = gradientOf(graph, whole)
    gradients.forEach((gradient, index) => {
      if (gradient) outputs[`gradient${wanted[index]}`] = gradient
    })
  }
  const example = count === undefined ? whole : shrink(whole, count)
  const operands = Object.fromEntries(example.inputs.map((array, index) => [`operand${index}`, array]))
  const results = op.reference(example.inputs, example.attributes)
  const feeds = { ...operands, ...cotangentFeeds(results, createRandom(5)) }
  const counts = count === undefined ? {} : { [SYMBOL]: count }
  return { example, outputs, feeds, expected: interpret(Object.values(outputs), { feeds, counts }) }
}

/** Counts below and at two capacities: after the first three the program is bound anew to a greater one. */
const countsOf = (live: number) => [
  ...[0, 1, live - 2].map((count) => ({ count, capacity: live - 2 })),
  ...[live - 1, live, 1].map((count) => ({ count, capacity: live })),
]

const memory = new Map<string, unknown>()
function once<T>(key: string, make: () => T): T {
  if (!memory.has(key)) memory.set(key, make())
  return memory.get(key) as T
}

export const smallOf = (op: OpDefinition): Prepared[] =>
  once(`${op.name} small`, () => casesOf(op, DRAWS).map((example) => prepare(op, example)))

export const fixedOf = (op: OpDefinition): Prepared[] =>
  once(`${op.name} fixed`, () => {
    const large = largeCases(op, casesOf(op, DRAWS)).map((example) => prepare(op, example))
    return [...smallOf(op), ...large]
  })

/** For each case that has a live size, its runs. */
export const liveOf = (op: OpDefinition): LiveRun[][] =>
  once(`${op.name} live`, () =>
    casesOf(op, DRAWS).flatMap((example) => {
      const { live } = example
      if (live === undefined) return []
      return [countsOf(live).map(({ count, capacity }) => ({ count, capacity, prepared: prepare(op, example, count) }))]
    }),
  )
