/**
 * Reverse-mode differentiation. Each op's own `vjp` is asked once, in reverse order; cotangents that meet at a value are
 * added. The result is more graph: nothing here computes.
 */
import { formatShape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { applyOp, type LookupRule, type OpDefinition, registry } from './defineOp.js'
import { reachable } from './graph.js'
import { scalar } from './leaf.js'
import {
  type Attributes,
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

/**
 * Gradients of a scalar by some values; null where the loss does not depend on one.
 *
 * Throws KAIROS_GRADIENT when the loss is not a float32 of rank 0, or an op on the way has no gradient.
 */
export function gradients(loss: Tensor, of: readonly Tensor[]): (Tensor | null)[] {
  checkLoss(loss)
  return vjp([loss], [scalar(1)], of)
}

export function checkLoss(loss: Tensor): void {
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
}

/** Vector-Jacobian product: the cotangents of `of` that follow from the cotangents of `outputs`. */
export function vjp(
  outputs: readonly Tensor[],
  cotangents: readonly (Tensor | null)[],
  of: readonly Tensor[],
): (Tensor | null)[] {
  const { sums } = backward(outputs, cotangents, of, new Set())
  return of.map(({ value }) => sums.get(valueKey(value)) ?? null)
}

/** A table's rows that were read, and the cotangent of what was read. */
export interface Lookup {
  readonly ids: Tensor
  readonly dy: Tensor
  /** `dy` has a row per bag of ids. */
  readonly offsets: Tensor | null
  readonly attributes: Attributes
}

/**
 * Cotangents by value; for the tables named in `sparse` (by value key) the lookups instead, which are not added up.
 *
 * Cotangents do not pass through nodes of `cut`, whose results keep what arrives.
 *
 * Throws KAIROS_GRADIENT where such a table is used otherwise than by lookups.
 */
export function backward(
  outputs: readonly Tensor[],
  cotangents: readonly (Tensor | null)[],
  of: readonly Tensor[],
  sparse: ReadonlySet<string>,
  cut: ReadonlySet<Node> = new Set(),
): { readonly sums: ReadonlyMap<string, Tensor>; readonly lookups: ReadonlyMap<string, readonly Lookup[]> } {
  const nodes = reachable(outputs.map(({ value }) => value))
  const wanted = new Set(of.map(({ value }) => valueKey(value)))
  const needed = dependents(nodes, wanted)
  const sums = new Map<string, Tensor>()
  const lookups = new Map<string, Lookup[]>()
  const accumulate = (value: Value, cotangent: Tensor | null | undefined, source: string) => {
    if (!cotangent) return
    const key = valueKey(value)
    if (sparse.has(key)) throw denseUse(value, source)
    const before = sums.get(key)
    sums.set(key, before ? (applyOp(opNamed('add'), [before, cotangent], {}, source)[0] as Tensor) : cotangent)
  }
  outputs.forEach(({ value }, index) => {
    accumulate(value, cotangents[index], value.node.source)
  })
  for (const node of nodes.toReversed()) {
    if (!node.op || !needed.has(node) || cut.has(node)) continue
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
    const kept = sparseLookup(node, sparse)
    if (kept) {
      const lookup = withSource(node.source, () => kept.lookup(arriving[0] as Tensor))
      lookups.set(kept.key, [...(lookups.get(kept.key) ?? []), lookup])
    }
    const outputsOfNode = node.outputs.map((_, index) => tensorOf({ node, index }))
    const { vjp: rule } = node.op
    const context = { inputs, outputs: outputsOfNode, cotangents: arriving, attributes: node.attributes }
    const given = withSource(node.source, () => rule(context))
    node.inputs.forEach((value, index) => {
      if (index === 0 && kept) return
      if (needed.has(value.node) || wanted.has(valueKey(value))) accumulate(value, given[index], node.source)
    })
  }
  return { sums, lookups }
}

/** What nodes look up, asked once: losses that share a lookup share the ids that its rule computes. */
const lookupRules = new WeakMap<Node, LookupRule>()

/** What a node looks up in a table whose gradient is kept sparse. */
function sparseLookup(node: Node, sparse: ReadonlySet<string>) {
  const { op, inputs, attributes } = node
  if (!op?.lookup) return null
  const key = valueKey(inputs[0] as Value)
  if (!sparse.has(key)) return null
  const lookup = (dy: Tensor): Lookup => {
    const rule = lookupRules.get(node) ?? (op.lookup?.(inputs.map(tensorOf), attributes) as LookupRule)
    lookupRules.set(node, rule)
    const { ids, offsets = null, shape } = rule
    const rows = shape ? (applyOp(opNamed('reshape'), [dy], { shape })[0] as Tensor) : dy
    return { ids, offsets, dy: rows, attributes }
  }
  return { key, lookup }
}

const denseUse = (value: Value, source: string) =>
  new KairosError('KAIROS_GRADIENT', {
    op: 'gradients',
    argument: `sparse table '${variableName(variableOf(tensorOf(value)) as Variable)}'`,
    expected: 'used by lookups only',
    got: 'another use',
    hint: 'Make the table without `sparse`, so that its gradient is kept whole',
    source,
  })

/** Nodes through which a wanted value reaches the outputs. */
function dependents(nodes: readonly Node[], wanted: ReadonlySet<string>): Set<Node> {
  const needed = new Set<Node>()
  for (const node of nodes) {
    const leads = node.inputs.some((value) => needed.has(value.node) || wanted.has(valueKey(value)))
    if (leads || node.outputs.some((_, index) => wanted.has(`${node.id}:${index}`))) needed.add(node)
  }
  return needed
}

export function opNamed(name: string): OpDefinition {
  const definition = registry.get(name)
  if (!definition) throw new KairosError('KAIROS_INTERNAL', { op: 'autodiff', got: `op '${name}' is not defined` })
  return definition
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
