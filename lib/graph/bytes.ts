/** Bytes that steps must move: of large tables only the rows that they touch. */
import { evaluateDim, multiplyDims } from '../core/dim.js'
import { bytesOf } from '../core/dtype.js'
import { withLimits } from './computed.js'
import type { Counts } from './counts.js'
import { idRules } from './defineOp.js'
import { type Node, specOf, type Value, valueKey } from './node.js'
import type { Plan } from './plan.js'

const elements = (value: Value, counts: Counts): number => evaluateDim(multiplyDims(...specOf(value).shape), counts)
const bytes = (value: Value, counts: Counts): number => elements(value, counts) * bytesOf[specOf(value).dtype]

/** Tables of which a node moves some rows, and the value that has an element per row. */
function partialOf(node: Node) {
  const { op, inputs, attributes } = node
  if (op?.lookup) return { tables: [0], rows: idRules(node).map(({ operand }) => inputs[operand] as Value) }
  const rule = op?.partial?.(inputs.length, attributes)
  if (!rule) return null
  return { tables: rule.tables, rows: rule.rows === null ? [] : [inputs[rule.rows] as Value] }
}

function rowBytes(table: Value, rows: readonly Value[], counts: Counts): number {
  const whole = bytes(table, counts)
  const count = evaluateDim(specOf(table).shape[0] ?? 1, counts)
  const moved = rows.reduce((total, each) => total + elements(each, counts), 0)
  return count === 0 ? 0 : Math.min(whole, (moved * whole) / count)
}

function operandBytes(node: Node, operand: number, counts: Counts): number {
  const table = node.inputs[operand] as Value
  const partial = partialOf(node)
  return partial?.tables.includes(operand) ? rowBytes(table, partial.rows, counts) : bytes(table, counts)
}

function resultBytes(node: Node, result: number, counts: Counts): number {
  const partial = node.op?.commits ? partialOf(node) : null
  const operand = partial?.tables[result]
  return operand === undefined ? bytes({ node, index: result }, counts) : operandBytes(node, operand, counts)
}

/** Bytes that a node's kernel must move at least: operands once, results once. Views move nothing. */
export function nodeBytes(node: Node, counts: Counts): number {
  if (node.op?.alias) return 0
  const operands = new Map<string, number>()
  node.inputs.forEach((value, operand) => {
    operands.set(valueKey(value), Math.max(operands.get(valueKey(value)) ?? 0, operandBytes(node, operand, counts)))
  })
  const results = node.outputs.map((_, result) => resultBytes(node, result, counts))
  return [...operands.values(), ...results].reduce((total, size) => total + size, 0)
}

/**
 * Bytes that any program for these results must move: what it is fed and the variables that it reads once, results and
 * changed variables once. Temporaries count nothing, as if they never left the caches.
 */
export function leastBytes(plan: Plan, given: Counts): number {
  const counts = withLimits(plan.kernelSteps, given)
  const read = new Map<string, number>()
  let written = 0
  for (const node of plan.kernelSteps) {
    node.inputs.forEach((value, operand) => {
      const root = leafOf(value)
      if (!root) return
      const key = valueKey(root)
      read.set(key, Math.max(read.get(key) ?? 0, operandBytes(node, operand, counts)))
    })
    node.outputs.forEach((_, result) => {
      if (plan.writes.has(valueKey({ node, index: result }))) written += resultBytes(node, result, counts)
    })
  }
  const outputs = plan.graph.outputs.reduce((total, { value }) => total + bytes(value, counts), 0)
  return [...read.values()].reduce((total, size) => total + size, 0) + written + outputs
}

/** The leaf behind views of it. */
function leafOf(value: Value): Value | null {
  let root = value
  while (root.node.op?.alias) root = root.node.inputs[0] as Value
  return root.node.leaf ? root : null
}
