/**
 * Pass 5: a product followed by `+ bias` and an activation becomes one step, so that its result is written once.
 *
 * Only where nobody else reads what stands between: training keeps a pre-activation that its gradient needs.
 */
import { sameShape } from '../core/dim.js'
import { type Graph, rewrite, usersOf } from './graph.js'
import { makeNode, type Node, specOf, type TensorSpec, type Value, valueKey } from './node.js'

export function fuseEpilogues(graph: Graph): Graph {
  return fuseActivations(fuseBiases(graph))
}

/** How often each value is read, roots included. */
function readsOf(graph: Graph): (value: Value) => number {
  const users = usersOf(graph)
  const roots = new Map<string, number>()
  const rootValues = [...graph.outputs.map(({ value }) => value), ...graph.assignments.map(({ value }) => value)]
  for (const value of rootValues) roots.set(valueKey(value), (roots.get(valueKey(value)) ?? 0) + 1)
  return (value) => (users.get(valueKey(value))?.length ?? 0) + (roots.get(valueKey(value)) ?? 0)
}

function fuseBiases(graph: Graph): Graph {
  const reads = readsOf(graph)
  return rewrite(graph, (node, inputs) => {
    if (inputs.length !== 2) return null
    for (const [product, addend] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const into = inputs[product] as Value
      const bias = rowVector(inputs[addend] as Value, into)
      const before = node.inputs[product] as Value
      const epilogue = into.node.op?.epilogue
      if (!bias || !epilogue || epilogue.biasOp !== node.op?.name || reads(before) !== 1) continue
      if (into.node.inputs.length !== epilogue.bias || into.node.attributes[epilogue.attribute] !== 'none') continue
      return [absorbed(into.node, [...into.node.inputs, bias], {}, node)]
    }
    return null
  })
}

/** `bias` of broadcast(bias) when it is a vector along the product's last axis. */
function rowVector(value: Value, product: Value): Value | null {
  const { node } = value
  if (!node.op?.broadcasts || node.attributes.axis !== 0) return null
  const bias = node.inputs[0] as Value
  const [last] = specOf(product).shape.slice(-1)
  return last !== undefined && sameShape(specOf(bias).shape, [last]) ? bias : null
}

function fuseActivations(graph: Graph): Graph {
  const reads = readsOf(graph)
  return rewrite(graph, (node, inputs) => {
    const [into] = inputs
    const epilogue = into?.node.op?.epilogue
    if (!into || !epilogue || !node.op || !epilogue.activations.includes(node.op.name)) return null
    if (reads(node.inputs[0] as Value) !== 1 || into.node.attributes[epilogue.attribute] !== 'none') return null
    return [absorbed(into.node, into.node.inputs, { [epilogue.attribute]: node.op.name }, node)]
  })
}

function absorbed(product: Node, inputs: readonly Value[], attributes: Node['attributes'], last: Node): Value {
  const outputs = last.outputs as readonly TensorSpec[]
  const node = makeNode({ ...product, inputs, attributes: { ...product.attributes, ...attributes }, outputs })
  return { node, index: 0 }
}
