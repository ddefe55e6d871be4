/** Which nodes serve nothing but writing variables: they may run after all checks, and write in place. */
import type { Graph } from './graph.js'
import { usersOf } from './graph.js'
import { type Node, valueKey } from './node.js'

/** Elementwise nodes and row updates all of whose results go, directly or through such nodes, into assignments alone. */
export function commitOnly(graph: Graph): Set<Node> {
  const users = usersOf(graph)
  const outputs = new Set(graph.outputs.map(({ value }) => valueKey(value)))
  const assigned = new Set(graph.assignments.map(({ value }) => valueKey(value)))
  const result = new Set<Node>()
  for (const node of graph.nodes.toReversed()) {
    if (!node.op?.elementwise && !node.op?.commits) continue
    const keys = node.outputs.map((_, index) => valueKey({ node, index }))
    const serves = keys.every((key) => {
      const readers = users.get(key) ?? []
      return (
        !outputs.has(key) && readers.every((reader) => result.has(reader)) && (readers.length > 0 || assigned.has(key))
      )
    })
    if (serves) result.add(node)
  }
  return result
}
