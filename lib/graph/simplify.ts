/**
 * Pass 2 (and again after autodiff): constant folding, common subexpressions, identities. Dead code falls away because
 * a graph holds only what its roots reach.
 */
import { sameShape } from '../core/dim.js'
import { arrayOf } from '../core/dtype.js'
import type { ReferenceArray } from './defineOp.js'
import { type Graph, rewrite, withInputs } from './graph.js'
import { type Attributes, makeNode, type Node, specOf, type TensorSpec, type Value, valueKey } from './node.js'

/** Larger results are computed in each run rather than stored in the program. */
const FOLD_LIMIT = 4096

export function simplify(graph: Graph): Graph {
  const known = new Map<string, Value[]>()
  return rewrite(graph, (node, inputs) => {
    const value = identity(node, inputs)
    if (value) return [value]
    const candidate = fold(node, inputs) ?? withInputs(node, inputs)
    const key = structuralKey(candidate)
    const results = candidate.outputs.map((_, index) => ({ node: candidate, index }))
    if (key === null) return results
    const earlier = known.get(key)
    if (earlier) return earlier
    known.set(key, results)
    return results
  })
}

/** Two nodes of one key compute the same; null for leaves that are themselves. */
function structuralKey(node: Node): string | null {
  if (node.leaf?.kind === 'constant') {
    const { data } = node.leaf
    const { dtype, shape } = node.outputs[0] as TensorSpec
    return data.length <= FOLD_LIMIT
      ? `constant ${dtype} ${shape.join(',')} ${Array.from(data).map(exact).join(',')}`
      : null
  }
  if (node.leaf || !node.op) return null
  return `${node.op.name} ${attributesKey(node.attributes)} ${node.inputs.map(valueKey).join(' ')}`
}

/** -0 and 0 divide differently, so they are different constants. */
const exact = (x: number) => (Object.is(x, -0) ? '-0' : `${x}`)

const attributesKey = (attributes: Attributes): string =>
  JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))

function fold(node: Node, inputs: readonly Value[]): Node | null {
  if (!node.op || node.op.expand || inputs.length === 0 || node.outputs.length !== 1) return null
  const { dtype, shape } = node.outputs[0] as TensorSpec
  if (!shape.every((dim): dim is number => typeof dim === 'number')) return null
  const count = shape.reduce((product, dim) => product * dim, 1)
  const operands = inputs.map(constantOf)
  if (count > FOLD_LIMIT || operands.some((operand) => operand === null)) return null
  const [result] = node.op.reference(operands as ReferenceArray[], node.attributes)
  if (!result) return null
  const data = arrayOf(dtype, count)
  data.set(result.data)
  return makeNode({
    op: null,
    leaf: { kind: 'constant', data },
    inputs: [],
    attributes: {},
    outputs: node.outputs,
    source: node.source,
  })
}

function constantOf(value: Value): ReferenceArray | null {
  const { leaf } = value.node
  if (leaf?.kind !== 'constant') return null
  const { dtype, shape } = specOf(value)
  return { dtype, shape: shape as readonly number[], data: Float64Array.from(leaf.data) }
}

/** The only element of a constant, repeated or not, if it has one value throughout. */
export function uniformConstant(value: Value): number | null {
  const { node } = value
  if (node.op?.broadcasts) return uniformConstant(node.inputs[0] as Value)
  if (node.leaf?.kind === 'constant') {
    const { data } = node.leaf
    const [first] = data
    return first !== undefined && data.every((x) => x === first) ? first : null
  }
  return null
}

/** x + 0, x * 1 and their like: the operand itself. */
function identity(node: Node, inputs: readonly Value[]): Value | null {
  const neutral = node.op?.neutral
  const [a, b] = inputs
  if (neutral === undefined || !a || !b || inputs.length !== 2) return null
  const spec = node.outputs[0] as TensorSpec
  const keeps = (value: Value) => sameShape(specOf(value).shape, spec.shape) && specOf(value).dtype === spec.dtype
  const literal = (value: Value) => uniformConstant(value.node.op?.broadcasts ? (value.node.inputs[0] as Value) : value)
  if (literal(b) === neutral.right && keeps(a)) return a
  if (neutral.left !== undefined && literal(a) === neutral.left && keeps(b)) return b
  return null
}
