/** Evaluates a graph with the ops' own float64 references: slow, plain, and what everything else is compared with. */
import { evaluateDim, isSymbol, type Shape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { computedSymbol, makersOf, predecessors } from './computed.js'
import type { ReferenceArray } from './defineOp.js'
import { reachable } from './graph.js'
import {
  type Attributes,
  type AttributeValue,
  type Node,
  type Tensor,
  type TensorSpec,
  type Variable,
  valueKey,
} from './node.js'

export interface InterpretOptions {
  /** Contents of inputs, by name. */
  readonly feeds?: Readonly<Record<string, ReferenceArray>>
  /** Contents of variables; those not given have their initial ones, of seed 0. */
  readonly variables?: ReadonlyMap<Variable, ReferenceArray>
  /** Sizes of symbols; those of inputs' own dims are read off the feeds. */
  readonly counts?: Readonly<Record<string, number>>
}

/**
 * The values of tensors, in float64.
 *
 * Throws KAIROS_MISSING for a feed or a symbol that was not given, KAIROS_SHAPE for a feed of another shape.
 */
export function interpret(tensors: readonly Tensor[], options: InterpretOptions = {}): ReferenceArray[] {
  const nodes = reachable(tensors.map(({ value }) => value))
  const counts: Record<string, number> = { ...countsOf(nodes, options), ...options.counts }
  const known = new Map<string, ReferenceArray>()
  for (const node of inOrder(nodes)) {
    const results = evaluate(node, known, counts, options)
    const computed = computedSymbol(node)
    if (computed) counts[computed.symbol] = (results[computed.count.index] as ReferenceArray).data[0] as number
    for (const [index, result] of results.entries()) {
      checkShape(node, index, result, counts)
      known.set(valueKey({ node, index }), result)
    }
  }
  return tensors.map(({ value }) => known.get(valueKey(value)) as ReferenceArray)
}

/** Operands first, and a size before whatever has it. */
function inOrder(nodes: readonly Node[]): readonly Node[] {
  const makers = makersOf(nodes)
  if (makers.size === 0) return nodes
  const order = new Set<Node>()
  const visit = (node: Node) => {
    if (order.has(node)) return
    for (const before of predecessors(node, makers)) visit(before)
    order.add(node)
  }
  nodes.forEach(visit)
  return [...order]
}

function evaluate(
  node: Node,
  known: ReadonlyMap<string, ReferenceArray>,
  counts: Readonly<Record<string, number>>,
  options: InterpretOptions,
): readonly ReferenceArray[] {
  const { leaf, op } = node
  if (op) {
    const inputs = node.inputs.map((value) => known.get(valueKey(value)) as ReferenceArray)
    return op.reference(inputs, concrete(node.attributes, counts))
  }
  const { dtype, shape } = node.outputs[0] as TensorSpec
  const sizes = shape.map((dim) => evaluateDim(dim, counts))
  switch (leaf?.kind) {
    case 'input':
      return [feedOf(leaf.name, options)]
    case 'constant':
      return [{ dtype, shape: sizes, data: Float64Array.from(leaf.data) }]
    case 'state': {
      const given = options.variables?.get(leaf.variable)
      return [given ?? { dtype, shape: sizes, data: Float64Array.from(leaf.variable.initialize('', 0)) }]
    }
    default:
      throw new KairosError('KAIROS_INTERNAL', { op: 'interpret', got: 'a node that is neither op nor leaf' })
  }
}

function feedOf(name: string, { feeds = {} }: InterpretOptions): ReferenceArray {
  const feed = feeds[name]
  if (feed) return feed
  throw new KairosError('KAIROS_MISSING', {
    op: 'interpret',
    argument: `feed '${name}'`,
    expected: 'given',
    got: 'none',
  })
}

/** Sizes of the symbols that stand alone as a dim of an input. */
function countsOf(nodes: readonly Node[], options: InterpretOptions): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { leaf, outputs } of nodes) {
    if (leaf?.kind !== 'input') continue
    const feed = feedOf(leaf.name, options)
    const { shape } = outputs[0] as TensorSpec
    shape.forEach((dim, axis) => {
      if (isSymbol(dim)) counts[dim] ??= feed.shape[axis] as number
    })
  }
  return counts
}

/** Attributes that are lists hold sizes where they hold names. */
function concrete(attributes: Attributes, counts: Readonly<Record<string, number>>): Attributes {
  const sizes = (value: AttributeValue): AttributeValue =>
    Array.isArray(value) ? (value as Shape).map((dim) => evaluateDim(dim, counts)) : value
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, sizes(value)]))
}

function checkShape(node: Node, index: number, result: ReferenceArray, counts: Readonly<Record<string, number>>): void {
  const promised = (node.outputs[index] as TensorSpec).shape.map((dim) => evaluateDim(dim, counts))
  if (promised.length === result.shape.length && promised.every((size, axis) => size === result.shape[axis])) return
  throw new KairosError('KAIROS_SHAPE', {
    op: 'interpret',
    argument: node.op?.name ?? 'feed',
    expected: `of shape [${promised.join(', ')}]`,
    got: `[${result.shape.join(', ')}]`,
    source: node.source,
  })
}
