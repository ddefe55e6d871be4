/** A whole graph: what passes take and give. */
import { makeNode, type Node, type Value, valueKey } from './node.js'
import { mapUpdate, type Update, valuesOf } from './update.js'

/** Writes a value to a variable after everything else of the run has succeeded. */
export interface Assignment {
  readonly target: Value
  readonly value: Value
}

export interface Graph {
  readonly outputs: readonly { readonly name: string; readonly value: Value }[]
  /** Training requests; the autodiff pass turns them into assignments. */
  readonly updates: readonly Update<Value>[]
  readonly assignments: readonly Assignment[]
  /** Everything reachable, operands first. */
  readonly nodes: readonly Node[]
}

/** Collects the nodes that the roots need; whatever nobody needs is dropped here. */
export function makeGraph(parts: Omit<Graph, 'nodes'>): Graph {
  const roots = [
    ...parts.outputs.map(({ value }) => value),
    ...parts.updates.flatMap(valuesOf),
    ...parts.assignments.flatMap(({ target, value }) => [value, target]),
  ]
  return { ...parts, nodes: reachable(roots) }
}

/** Nodes that the values need, operands before users, in depth-first order. Iterative: graphs may be deep. */
export function reachable(roots: readonly Value[]): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>()
  for (const root of roots) {
    const stack: { node: Node; next: number }[] = []
    const visit = (node: Node) => {
      if (seen.has(node)) return
      seen.add(node)
      stack.push({ node, next: 0 })
    }
    visit(root.node)
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as { node: Node; next: number }
      const operand = top.node.inputs[top.next++]
      if (operand) visit(operand.node)
      else {
        order.push(top.node)
        stack.pop()
      }
    }
  }
  return order
}

/**
 * Rebuilds a graph from its leaves. `replace` sees each node with its operands already rebuilt, and gives the values
 * that stand for its results, or null to keep the node (rebuilt only if an operand changed).
 */
export function rewrite(
  graph: Graph,
  replace: (node: Node, inputs: readonly Value[]) => readonly Value[] | null,
): Graph {
  const replaced = new Map<string, Value>()
  const now = (value: Value): Value => replaced.get(valueKey(value)) ?? value
  for (const node of graph.nodes) {
    const inputs = node.inputs.map(now)
    const values = replace(node, inputs) ?? resultsOf(withInputs(node, inputs))
    values.forEach((value, index) => {
      if (value.node !== node || value.index !== index) replaced.set(`${node.id}:${index}`, value)
    })
  }
  return mapValues(graph, now)
}

/** The same roots through a mapping of values. */
export function mapValues(graph: Omit<Graph, 'nodes'>, now: (value: Value) => Value): Graph {
  return makeGraph({
    outputs: graph.outputs.map(({ name, value }) => ({ name, value: now(value) })),
    updates: graph.updates.map((update) => mapUpdate(update, now)),
    assignments: graph.assignments.map(({ target, value }) => ({ target: now(target), value: now(value) })),
  })
}

/** Users of every value: `${node id}:${index}` -> nodes, once per operand. */
export function usersOf(graph: Pick<Graph, 'nodes'>): Map<string, Node[]> {
  const users = new Map<string, Node[]>()
  for (const node of graph.nodes) {
    for (const operand of node.inputs) {
      const key = valueKey(operand)
      const list = users.get(key)
      if (list) list.push(node)
      else users.set(key, [node])
    }
  }
  return users
}

export const resultsOf = (node: Node): Value[] => node.outputs.map((_, index) => ({ node, index }))

/** The node over other operands; itself when they are the same. */
export function withInputs(node: Node, inputs: readonly Value[]): Node {
  const same = inputs.every((value, index) => {
    const before = node.inputs[index] as Value
    return before.node === value.node && before.index === value.index
  })
  return same ? node : makeNode({ ...node, inputs })
}
