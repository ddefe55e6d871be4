/**
 * Pass 1: from tensors to a graph.
 *
 * Feeds of one name become one node, so do leaves of one variable; dropout salts are numbered in order of appearance,
 * so that equal models draw equal masks whatever was traced before them.
 */
import { formatShape, sameShape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { type Graph, makeGraph, resultsOf, rewrite } from './graph.js'
import { makeNode, type Node, specOf, type Tensor, type Value, type Variable } from './node.js'
import { mapUpdate, type Update } from './update.js'

export interface TraceRequest {
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly updates?: readonly Update<Tensor>[]
  readonly assignments?: readonly { readonly target: Tensor; readonly value: Tensor }[]
}

export function trace({ outputs, updates = [], assignments = [] }: TraceRequest): Graph {
  const graph = makeGraph({
    outputs: Object.entries(outputs).map(([name, { value }]) => ({ name, value })),
    updates: updates.map((update) => mapUpdate(update, ({ value }) => value)),
    assignments: assignments.map(({ target, value }) => ({ target: target.value, value: value.value })),
  })
  const salts = new Map<number, number>()
  return rewrite(unifyLeaves(graph), (node, inputs) => {
    const salt = node.attributes.salt
    if (typeof salt !== 'number' || salt >= 0) return null
    if (!salts.has(salt)) salts.set(salt, salts.size)
    return resultsOf(makeNode({ ...node, inputs, attributes: { ...node.attributes, salt: salts.get(salt) as number } }))
  })
}

/** One node per feed name and per variable. */
export function unifyLeaves(graph: Graph): Graph {
  const byName = new Map<string, Value>()
  const byVariable = new Map<Variable, Value>()
  return rewrite(graph, (node) => {
    if (node.leaf?.kind === 'input') return [unify(byName, node.leaf.name, node)]
    if (node.leaf?.kind === 'state') return [unify(byVariable, node.leaf.variable, node)]
    return null
  })
}

function unify<K>(known: Map<K, Value>, key: K, node: Node): Value {
  const value = { node, index: 0 }
  const first = known.get(key)
  if (!first) {
    known.set(key, value)
    return value
  }
  const [a, b] = [specOf(first), specOf(value)]
  if (a.dtype !== b.dtype || !sameShape(a.shape, b.shape)) {
    throw new KairosError('KAIROS_DUPLICATE', {
      op: 'trace',
      argument: `input '${String(key)}'`,
      expected: `one dtype and shape (${a.dtype} ${formatShape(a.shape)}, from ${first.node.source})`,
      got: `${b.dtype} ${formatShape(b.shape)}`,
      source: node.source,
    })
  }
  return first
}
