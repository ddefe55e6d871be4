/** Whole random graphs: values, a loss, and what surrounds them. */
import type { Random } from '../../lib/core/random.js'
import { gradients, variableOf } from '../../lib/graph/autodiff.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { formatGraph } from '../../lib/graph/explain.js'
import { reachable } from '../../lib/graph/graph.js'
import { namedVariables } from '../../lib/graph/module.js'
import { type Tensor, tensorOf, type Variable } from '../../lib/graph/node.js'
import { trace } from '../../lib/graph/trace.js'
import * as ops from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'
import { type Counts, GraphGenerator, pick, symbols } from './graphGenerator.js'
import { layers } from './graphLayers.js'

export type Outputs = Readonly<Record<string, Tensor>>

export interface RandomGraph {
  readonly outputs: Outputs
  /** Of each float leaf, the output that is the loss's gradient by it. */
  readonly gradientNames: ReadonlyMap<string | Variable, string | null>
  readonly generator: GraphGenerator
}

const SIZES = [0, 1, 2, 5, 6, 7, 8, 13, 17, 33, 64]
/** Enough for steps to be shared among threads. */
export const LARGE_SIZES = [150, 257, 400]

export function someCounts(random: Random, sizes: readonly number[] = SIZES): Counts {
  const counts = Object.fromEntries(symbols.map((symbol) => [symbol, pick(random, sizes)]))
  // Without a batch nobody has a history.
  return counts.batch === 0 ? { ...counts, history: 0 } : counts
}

/** A graph of at most so many steps with the gradients of its loss. */
export function randomGraph(random: Random, steps: number): RandomGraph {
  const generator = new GraphGenerator(random)
  grow(generator, 2 + random.int(steps - 1))
  const loss = lossOf(generator)
  const values = Array.from({ length: 1 + random.int(4) }, () => pick(random, generator.pool))
  const inner = Array.from({ length: random.int(3) }, () => pick(random, generator.pool))
  const outputs: Record<string, Tensor> = { loss }
  const names: (string | null)[] = []
  for (const value of values) outputs[`value${Object.keys(outputs).length}`] = value
  gradients(loss, [...generator.leaves, ...inner]).forEach((gradient, index) => {
    names.push(gradient ? `gradient${index}` : null)
    if (gradient) outputs[`gradient${index}`] = gradient
  })
  namedVariables(generator.model)
  const gradientNames = new Map(generator.leaves.map((leaf, index) => [leafOf(leaf), names[index] ?? null]))
  return { outputs, gradientNames, generator }
}

/** A feed's name, or a variable. */
function leafOf(tensor: Tensor): string | Variable {
  const { leaf } = tensor.value.node
  return leaf?.kind === 'input' ? leaf.name : (variableOf(tensor) as Variable)
}

export function grow(generator: GraphGenerator, steps: number): void {
  const { random } = generator
  const own = Object.values(layers)
  const kinds = [
    ...Array(4).fill(() => generator.fromCase()),
    ...Array(2).fill(() => generator.chain()),
    () => generator.reduce(),
    () => generator.move(),
    ...Array(4).fill(() => pick(random, own)(generator)),
  ]
  for (let step = 0; step < steps; step++) pick(random, kinds)()
}

/** Everything that nobody used yet has a part in the loss. */
export function lossOf(generator: GraphGenerator): Loose {
  const { pool, random } = generator
  const used = new Set(
    reachable(pool.map(({ value }) => value)).flatMap(({ inputs }) => inputs.map(({ node }) => node)),
  )
  const ends = pool.filter(({ value }) => !used.has(value.node))
  const chosen = [...ends.slice(-5), pick(random, pool)].map((value) => generator.small(value))
  return [...chosen, ...generator.losses].reduce((sum, term) => ops.add(sum, term) as Loose)
}

/** The values that a model's parameters start from. */
export const initialValues = (model: object): Map<Variable, ReferenceArray> =>
  new Map(
    namedVariables(model).map(({ name, variable }) => {
      const { dtype, shape } = variable
      return [variable, { dtype, shape, data: Float64Array.from(variable.initialize(name, 0)) }]
    }),
  )

export const referenceFeeds = ({ feeds }: GraphGenerator, counts: Counts): Record<string, ReferenceArray> =>
  Object.fromEntries(feeds.map(({ name, contents }) => [name, contents(counts)]))

/** As tracing leaves them: salts have their numbers. */
export const traced = (outputs: Outputs): Record<string, Tensor> =>
  Object.fromEntries(trace({ outputs }).outputs.map(({ name, value }) => [name, tensorOf(value)]))

/** One line a node. */
export const textOf = (outputs: Outputs): string => formatGraph(trace({ outputs }))
