/**
 * What every graph must be, checked by machine after each pass (in tests, and with KAIROS_DEBUG=1).
 *
 * Throws KAIROS_INTERNAL that names the pass and the broken rule.
 */
import { formatShape, sameShape } from '../core/dim.js'
import { isKairosError, KairosError } from '../core/errors.js'
import type { Graph } from './graph.js'
import { type Node, specOf, type TensorSpec, type Value, valueKey } from './node.js'
import type { Plan } from './plan.js'
import { aliasRoot, type Schedule } from './schedule.js'

export function checkGraph(graph: Graph, pass: string): void {
  const broken = (rule: string, node?: Node): never => {
    throw new KairosError('KAIROS_INTERNAL', {
      op: `graph after ${pass}`,
      got: node ? `${rule}: ${node.op?.name ?? node.leaf?.kind}` : rule,
      ...(node ? { source: node.source } : {}),
    })
  }
  const standing = new Set<string>()
  const inputs = new Set<string>()
  for (const node of graph.nodes) {
    if ((node.op === null) === (node.leaf === null)) broken('a node is either an op or a leaf', node)
    for (const operand of node.inputs) if (!standing.has(valueKey(operand))) broken('operands stand before users', node)
    checkOutputs(node, broken)
    if (node.leaf?.kind === 'input') {
      if (inputs.has(node.leaf.name)) broken(`one node per input, '${node.leaf.name}'`, node)
      inputs.add(node.leaf.name)
    }
    node.outputs.forEach((_, index) => standing.add(valueKey({ node, index })))
  }
  const rooted = (value: Value, what: string) => {
    if (!standing.has(valueKey(value))) broken(`${what} stands in the graph`, value.node)
  }
  for (const { name, value } of graph.outputs) rooted(value, `output '${name}'`)
  const assigned = new Set<Node>()
  for (const { target, value } of graph.assignments) {
    rooted(value, 'an assigned value')
    if (target.node.leaf?.kind !== 'state') broken('assignments go to variables', target.node)
    if (assigned.has(target.node)) broken('a variable is assigned once', target.node)
    assigned.add(target.node)
    const [to, from] = [specOf(target), specOf(value)]
    if (to.dtype !== from.dtype || !sameShape(to.shape, from.shape))
      broken('an assigned value fits its variable', value.node)
  }
}

/** Stored specs are what the op's own rule says. */
function checkOutputs(node: Node, broken: (rule: string, node: Node) => never): void {
  if (!node.op) return
  let expected: readonly TensorSpec[] = []
  try {
    expected = node.op.infer(node.inputs.map(specOf), node.attributes)
  } catch (error) {
    if (isKairosError(error)) broken(`operands fit their op (${error.message})`, node)
    throw error
  }
  expected.forEach(({ dtype, shape }, index) => {
    const stored = node.outputs[index] as TensorSpec
    if (stored.dtype !== dtype || !sameShape(stored.shape, shape)) {
      broken(
        `result ${index} is ${dtype} ${formatShape(shape)}, stored as ${stored.dtype} ${formatShape(stored.shape)}`,
        node,
      )
    }
  })
}

/** Order and hazards: operands first, variables read before they are written, commit steps alone write. */
export function checkSchedule(scheduled: Schedule): void {
  checkGraph(scheduled.graph, 'schedule')
  const broken = (rule: string, node: Node): never => {
    throw new KairosError('KAIROS_INTERNAL', { op: 'schedule', got: `${rule}: ${node.op?.name}`, source: node.source })
  }
  const done = new Set<Node>()
  const written = new Set<Node>()
  scheduled.steps.forEach((node, position) => {
    const targets = node.outputs.flatMap((_, index) => scheduled.writes.get(valueKey({ node, index }))?.node ?? [])
    if (targets.length > 0 && position < scheduled.commitStart) broken('only commit steps write variables', node)
    for (const operand of node.inputs) {
      if (operand.node.op && !done.has(operand.node)) broken('operands are computed before they are read', node)
      const root = aliasRoot(operand, scheduled.copies)
      if (written.has(root.node)) broken('variables are read before they are written', node)
    }
    done.add(node)
    for (const target of targets) written.add(target)
  })
  const assigned = new Set(scheduled.graph.assignments.map(({ target }) => target.node))
  for (const target of assigned) {
    if (!written.has(target)) broken('every assignment is carried out', target)
  }
}

/** No step finds another value in the memory of an operand that is still to be read. */
export function checkPlan(planned: Plan): void {
  const storageOf = new Map(planned.buffers.map(({ value, storage }) => [valueKey(value), storage]))
  const holds = new Map<number, string>()
  const rootKey = (value: Value) => valueKey(aliasRoot(value, planned.copies))
  const broken = (rule: string, node: Node): never => {
    throw new KairosError('KAIROS_INTERNAL', { op: 'plan', got: `${rule}: ${node.op?.name}`, source: node.source })
  }
  for (const { value, role, storage } of planned.buffers) if (role !== 'temporary') holds.set(storage, valueKey(value))
  const expect = (value: Value, node: Node) => {
    const storage = storageOf.get(valueKey(value))
    if (storage === undefined) broken('every operand has memory', node)
    else if (holds.get(storage) !== rootKey(value)) broken('memory still holds the operand that is read', node)
  }
  for (const node of planned.kernelSteps) {
    for (const operand of node.inputs) {
      const written = planned.writes.get(valueKey(operand))
      if (!written) expect(operand, node)
    }
    node.outputs.forEach((_, index) => {
      const value = { node, index }
      if (planned.writes.has(valueKey(value))) return
      holds.set(storageOf.get(valueKey(value)) as number, valueKey(value))
    })
  }
  for (const { value } of planned.graph.outputs) expect(value, value.node)
}
