/**
 * Pass 3: reverse-mode differentiation. Each op's own `vjp` is asked once, in reverse order; cotangents that meet at a
 * value are added. The result is more graph: nothing here computes.
 */
import { formatShape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { applyOp, registry } from './defineOp.js'
import { type Assignment, type Graph, makeGraph, reachable } from './graph.js'
import { scalar, stateLeaf } from './leaf.js'
import {
  type Node,
  type StoreSlot,
  specOf,
  type Tensor,
  tensorOf,
  type Value,
  type Variable,
  valueKey,
  withSource,
} from './node.js'
import { unifyLeaves } from './trace.js'
import type { FloatTensor, Update } from './update.js'

/**
 * Gradients of a scalar by some values; null where the loss does not depend on one.
 *
 * Throws KAIROS_GRADIENT when the loss is not a float32 of rank 0, or an op on the way has no gradient.
 */
export function gradients(loss: Tensor, of: readonly Tensor[]): (Tensor | null)[] {
  if (loss.shape.length !== 0 || loss.dtype !== 'float32') {
    throw new KairosError('KAIROS_GRADIENT', {
      op: 'gradients',
      argument: 'loss',
      expected: 'a float32 of rank 0',
      got: `${loss.dtype} ${formatShape(loss.shape)}`,
      hint: 'Reduce it with mean() or sum() first',
      source: loss.value.node.source,
    })
  }
  return vjp([loss], [scalar(1)], of)
}

/** Vector-Jacobian product: the cotangents of `of` that follow from the cotangents of `outputs`. */
export function vjp(
  outputs: readonly Tensor[],
  cotangents: readonly (Tensor | null)[],
  of: readonly Tensor[],
): (Tensor | null)[] {
  const nodes = reachable(outputs.map(({ value }) => value))
  const wanted = new Set(of.map(({ value }) => valueKey(value)))
  const needed = dependents(nodes, wanted)
  const sums = new Map<string, Tensor>()
  const accumulate = (value: Value, cotangent: Tensor | null | undefined, source: string) => {
    if (!cotangent) return
    const key = valueKey(value)
    const before = sums.get(key)
    sums.set(key, before ? (applyOp(opNamed('add'), [before, cotangent], {}, source)[0] as Tensor) : cotangent)
  }
  outputs.forEach(({ value }, index) => {
    accumulate(value, cotangents[index], value.node.source)
  })
  for (const node of nodes.toReversed()) {
    if (!node.op || !needed.has(node)) continue
    const arriving = node.outputs.map((_, index) => sums.get(valueKey({ node, index })) ?? null)
    if (arriving.every((cotangent) => cotangent === null)) continue
    if (typeof node.op.vjp === 'string') {
      throw new KairosError('KAIROS_GRADIENT', {
        op: node.op.name,
        got: `no gradient exists: ${node.op.vjp}`,
        source: node.source,
      })
    }
    const inputs = node.inputs.map((value) => tensorOf(value))
    const outputsOfNode = node.outputs.map((_, index) => tensorOf({ node, index }))
    const { vjp: rule } = node.op
    const context = { inputs, outputs: outputsOfNode, cotangents: arriving, attributes: node.attributes }
    const given = withSource(node.source, () => rule(context))
    node.inputs.forEach((value, index) => {
      if (needed.has(value.node) || wanted.has(valueKey(value))) accumulate(value, given[index], node.source)
    })
  }
  return of.map(({ value }) => sums.get(valueKey(value)) ?? null)
}

/** Nodes through which a wanted value reaches the outputs. */
function dependents(nodes: readonly Node[], wanted: ReadonlySet<string>): Set<Node> {
  const needed = new Set<Node>()
  for (const node of nodes) {
    const leads = node.inputs.some((value) => needed.has(value.node) || wanted.has(valueKey(value)))
    if (leads || node.outputs.some((_, index) => wanted.has(`${node.id}:${index}`))) needed.add(node)
  }
  return needed
}

function opNamed(name: string) {
  const definition = registry.get(name)
  if (!definition) throw new KairosError('KAIROS_INTERNAL', { op: 'autodiff', got: `op '${name}' is not defined` })
  return definition
}

/** Turns every training request into assignments, through the optimiser's own ops. */
export function autodiff(graph: Graph): Graph {
  const assignments: Assignment[] = [...graph.assignments]
  for (const update of graph.updates) {
    assignments.push(...withSource(`${update.optimizer.name} of ${update.name}`, () => assignmentsOf(update)))
  }
  // Optimisers bring feeds of their own: two that read `lr` read one.
  return unifyLeaves(makeGraph({ outputs: graph.outputs, updates: [], assignments }))
}

function assignmentsOf({ name, loss, parameters, optimizer }: Update<Value>): Assignment[] {
  const assign = (target: Tensor, value: Tensor): Assignment => ({ target: target.value, value: value.value })
  const tensors = parameters.map((value) => tensorOf(value))
  const found = withSource(loss.node.source, () => gradients(tensorOf(loss), tensors))
  const shared = leavesOf(optimizer.shared(), (slot) => `${name}/${slot}`)
  const { next, scalars } = optimizer.advance(shared)
  const assignments = Object.entries(next).map(([slot, value]) => assign(shared[slot] as Tensor, value))
  tensors.forEach((parameter, index) => {
    const gradient = found[index]
    const variable = variableOf(parameter)
    if (!gradient || !variable) {
      throw new KairosError('KAIROS_GRADIENT', {
        op: 'compile',
        argument: `updates.${name}`,
        expected: 'parameters that the loss depends on',
        got: `${variable ? `'${variableName(variable)}', which it does not` : 'something that is no parameter'}`,
        hint: 'Leave it out of `parameters`, or use it in the loss',
      })
    }
    const slots = leavesOf(optimizer.slots(variable), (slot) => `${name}/${variableName(variable)}/${slot}`)
    const after = optimizer.update(parameter as FloatTensor, gradient as FloatTensor, slots, scalars)
    assignments.push(assign(parameter, after.parameter))
    for (const [slot, value] of Object.entries(after.slots)) assignments.push(assign(slots[slot] as Tensor, value))
  })
  return assignments
}

function leavesOf(
  variables: Readonly<Record<string, Variable>>,
  nameOf: (slot: string) => string,
): Record<string, FloatTensor> {
  return Object.fromEntries(
    Object.entries(variables).map(([slot, variable]) => [slot, stateLeaf('optimizer', named(variable, nameOf(slot)))]),
  )
}

// Names ----------------------------------------------------------------------------------------------------------

const names = new WeakMap<Variable, string>()

/** Gives a variable the name it has in stores: its path in the model. */
export function named(variable: Variable, name: string): Variable {
  names.set(variable, name)
  return variable
}

export function variableName(variable: Variable): string {
  const name = names.get(variable)
  if (name !== undefined) return name
  throw new KairosError('KAIROS_MISSING', {
    op: 'compile',
    argument: 'a parameter or state',
    expected: 'reachable from the model through its fields',
    got: `one of shape ${formatShape(variable.shape)} that is not`,
    hint: 'Make it a field of a module',
  })
}

export function variableOf(tensor: Tensor): Variable | null {
  const { leaf } = tensor.value.node
  return leaf?.kind === 'state' ? leaf.variable : null
}

export function storeOf(value: Value): StoreSlot | null {
  const { leaf } = value.node
  return leaf?.kind === 'state' ? leaf.store : null
}

export const describeValue = (value: Value): string => `${specOf(value).dtype} ${formatShape(specOf(value).shape)}`
