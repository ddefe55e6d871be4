/**
 * Pass 3: training requests become assignments. Each loss is differentiated by the parameters that it moves; each
 * gradient, whole or the rows of a sparse table, goes through its optimiser's own ops.
 */
import { addDims, type Dim, multiplyDims } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { backward, checkLoss, type Lookup, named, opNamed, variableName, variableOf } from './autodiff.js'
import { applyOp } from './defineOp.js'
import { type Assignment, type Graph, makeGraph } from './graph.js'
import { input, scalar, scalarInput, stateLeaf } from './leaf.js'
import { zeroVariable } from './module.js'
import { type Attributes, type Tensor, tensorOf, type Value, type Variable, valueKey, withSource } from './node.js'
import { unifyLeaves } from './trace.js'
import type { FloatTensor, ParameterGroup, Update } from './update.js'

/** Turns every training request into assignments, and norms that are asked for into outputs. */
export function applyUpdates(graph: Graph): Graph {
  const assignments: Assignment[] = [...graph.assignments]
  const outputs = [...graph.outputs]
  for (const update of graph.updates) {
    if (update.accumulation?.phase === 'add') {
      const added = withSource(`accumulation of ${update.name}`, () => addUp(update, gradientsOf(update)))
      outputs.push(...added.outputs)
      assignments.push(...added.assignments)
      continue
    }
    const { norm, groups } = clipped(update, update.accumulation ? addedUp(update) : gradientsOf(update))
    if (norm) outputs.push({ name: normName(update.name), value: norm.value })
    for (const { group, gradients } of groups) {
      const source = `${group.optimizer.name} of ${update.name}`
      assignments.push(...withSource(source, () => assignmentsOf(group, gradients)))
    }
  }
  // Optimisers bring feeds of their own: two that read `lr` read one.
  return unifyLeaves(makeGraph({ outputs, updates: [], assignments }))
}

/** The output that holds the norm of a loss's gradient. */
export const normName = (loss: string): string => `${loss}/gradientNorm`

/** The gradient of a parameter: whole, or the rows of a table that were looked up. */
type Gradient =
  | { readonly kind: 'dense'; readonly parameter: Tensor; readonly values: Tensor }
  | { readonly kind: 'sparse'; readonly parameter: Tensor; readonly values: Tensor; readonly slots: Tensor }

interface GroupGradients {
  readonly group: ParameterGroup<Value>
  readonly gradients: readonly Gradient[]
}

function gradientsOf(update: Update<Value>): readonly GroupGradients[] {
  const loss = tensorOf(update.loss)
  checkLoss(loss)
  const parameters = update.groups.flatMap((group) => group.parameters.map((value) => tensorOf(value)))
  const sparse = new Set(parameters.filter((tensor) => variableOf(tensor)?.sparse).map(({ value }) => valueKey(value)))
  const { sums, lookups } = withSource(loss.value.node.source, () => backward([loss], [scalar(1)], parameters, sparse))
  let tables = 0
  const gradientOf = (parameter: Tensor): Gradient => {
    const key = valueKey(parameter.value)
    const found = lookups.get(key)
    if (found) return sparseGradient(parameter, found, `unique_${symbolText(update.name)}_${tables++}`)
    const values = sums.get(key)
    if (values && variableOf(parameter)) return { kind: 'dense', parameter, values }
    throw unreached(update.name, parameter)
  }
  return update.groups.map((group) => ({
    group,
    gradients: withSource(loss.value.node.source, () => group.parameters.map((value) => gradientOf(tensorOf(value)))),
  }))
}

/** Gradients scaled down together where their norm is too large, and that norm where it is asked for. */
function clipped(
  update: Update<Value>,
  groups: readonly GroupGradients[],
): { readonly norm: Tensor | null; readonly groups: readonly GroupGradients[] } {
  if (update.clipNorm === undefined && !update.gradientNorm) return { norm: null, groups }
  return withSource(`gradient norm of ${update.name}`, () => {
    const norm = globalNorm(groups.flatMap(({ gradients }) => gradients))
    if (update.clipNorm === undefined) return { norm, groups }
    const factor = op('minimum', [op('divide', [scalar(update.clipNorm), op('add', [norm, scalar(1e-6)])]), scalar(1)])
    const clip = (gradient: Gradient) => ({ ...gradient, values: op('multiply', [gradient.values, factor]) })
    return { norm, groups: groups.map(({ group, gradients }) => ({ group, gradients: gradients.map(clip) })) }
  })
}

const op = (name: string, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor =>
  applyOp(opNamed(name), inputs, attributes)[0] as Tensor

/** The Euclidean norm of all gradients together; rows that were not looked up are zero. */
function globalNorm(gradients: readonly Gradient[]): Tensor {
  const squares = gradients.map(({ values }) =>
    op('sum', [op('square', [values])], { axis: 0, count: values.shape.length }),
  )
  return op('sqrt', [squares.reduce((sum, next) => op('add', [sum, next]))])
}

const symbolText = (name: string) => name.replaceAll(/[^A-Za-z0-9_]/g, '_')

function unreached(update: string, parameter: Tensor): KairosError {
  const variable = variableOf(parameter)
  return new KairosError('KAIROS_GRADIENT', {
    op: 'compile',
    argument: `updates.${update}`,
    expected: 'parameters that the loss depends on',
    got: `${variable ? `'${variableName(variable)}', which it does not` : 'something that is no parameter'}`,
    hint: 'Leave it out of `parameters`, or use it in the loss',
  })
}

// Sparse gradients -------------------------------------------------------------------------------------------------

/** All lookups of a table as one sparse gradient. */
function sparseGradient(parameter: Tensor, lookups: readonly Lookup[], symbol: string): Gradient {
  const [first] = lookups as readonly [Lookup]
  const one = lookups.length === 1 ? first : joined(parameter, lookups)
  if (one) return { kind: 'sparse', parameter, ...coalesced(parameter, one, symbol) }
  // Bags among them: each is added up by itself, then all together.
  const parts = lookups.map((lookup, index) => coalesced(parameter, lookup, `${symbol}_${index}`))
  const limit = addDims(...lookups.map(({ ids }) => multiplyDims(...ids.shape)))
  const all: Lookup = {
    ids: op(
      'concat',
      parts.map(({ slots }) => slots),
      { axis: 0 },
    ),
    dy: op(
      'concat',
      parts.map(({ values }) => values),
      { axis: 0 },
    ),
    offsets: null,
    attributes: {},
  }
  return { kind: 'sparse', parameter, ...coalesced(parameter, all, symbol, limit) }
}

/** Plain lookups one after another; null where they differ in kind. */
function joined(parameter: Tensor, lookups: readonly Lookup[]): Lookup | null {
  const padding = lookups[0]?.attributes.paddingIndex
  if (lookups.some(({ offsets, attributes }) => offsets || attributes.paddingIndex !== padding)) return null
  const row = parameter.shape.slice(1)
  const flat = (tensor: Tensor, ids: Tensor, shape: readonly Dim[]) =>
    op('reshape', [tensor], { shape: [multiplyDims(...ids.shape), ...shape] })
  return {
    ids: op(
      'concat',
      lookups.map(({ ids }) => flat(ids, ids, [])),
      { axis: 0 },
    ),
    dy: op(
      'concat',
      lookups.map(({ ids, dy }) => flat(dy, ids, row)),
      { axis: 0 },
    ),
    offsets: null,
    attributes: padding === undefined ? {} : { paddingIndex: padding },
  }
}

function coalesced(
  table: Tensor,
  { ids, dy, offsets, attributes }: Lookup,
  symbol: string,
  limit?: Dim,
): { slots: Tensor; values: Tensor } {
  const { paddingIndex, mode = 'sum' } = attributes
  const inputs = offsets ? [table, ids, dy, offsets] : [table, ids, dy]
  const [slots, values] = applyOp(opNamed('coalesce'), inputs, {
    symbol,
    mode,
    ...(limit === undefined ? {} : { limit }),
    ...(paddingIndex === undefined ? {} : { paddingIndex }),
  }) as readonly [Tensor, Tensor]
  return { slots, values }
}

// Accumulation -----------------------------------------------------------------------------------------------------
//
//     add     whole gradients are added up in variables of the optimiser's store; rows of sparse tables are handed out
//     apply   the sums are the gradients; rows come back as feeds, those of all steps one after another

/** A feed of the adding program: 0 in the first of the steps that count together, 1 in the others. */
export const KEEP = 'accumulation_keep'

/** Names of the slots and rows of a sparse table, handed out by one program and fed to the other. */
export const partNames = (update: string, table: string) => ({
  slots: `${update}/${table}/slots`,
  rows: `${update}/${table}/rows`,
})

const accumulatorOf = ({ name }: ParameterGroup<Value>, variable: Variable): FloatTensor =>
  leavesOf({ accumulated: zeroVariable(variable.shape) }, () => `${name}/${variableName(variable)}/accumulated`)
    .accumulated as FloatTensor

function addUp(
  { name, accumulation }: Update<Value>,
  groups: readonly GroupGradients[],
): { readonly outputs: Graph['outputs']; readonly assignments: readonly Assignment[] } {
  const outputs: { name: string; value: Value }[] = []
  const assignments: Assignment[] = []
  const share = scalar(1 / (accumulation?.steps ?? 1))
  for (const { group, gradients } of groups) {
    for (const gradient of gradients) {
      const variable = variableOf(gradient.parameter) as Variable
      const values = op('multiply', [gradient.values, share])
      if (gradient.kind === 'sparse') {
        const parts = partNames(name, variableName(variable))
        outputs.push({ name: parts.slots, value: gradient.slots.value }, { name: parts.rows, value: values.value })
        continue
      }
      const sum = accumulatorOf(group, variable)
      const kept = op('multiply', [sum, scalarInput(KEEP)])
      assignments.push({ target: sum.value, value: op('add', [kept, values]).value })
    }
  }
  return { outputs, assignments }
}

function addedUp({ name, groups }: Update<Value>): readonly GroupGradients[] {
  let tables = 0
  const gradientOf = (group: ParameterGroup<Value>, parameter: Tensor): Gradient => {
    const variable = variableOf(parameter) as Variable
    if (!variable.sparse) return { kind: 'dense', parameter, values: accumulatorOf(group, variable) }
    const parts = partNames(name, variableName(variable))
    const count = `pending_${symbolText(name)}_${tables}`
    const lookup: Lookup = {
      ids: input(parts.slots, [count], 'int32'),
      dy: input(parts.rows, [count, ...variable.shape.slice(1)]),
      offsets: null,
      attributes: {},
    }
    return { kind: 'sparse', parameter, ...coalesced(parameter, lookup, `unique_${symbolText(name)}_${tables++}`) }
  }
  return groups.map((group) => ({
    group,
    gradients: group.parameters.map((value) => gradientOf(group, tensorOf(value))),
  }))
}

// Optimisers -------------------------------------------------------------------------------------------------------

function assignmentsOf({ name, optimizer }: ParameterGroup<Value>, gradients: readonly Gradient[]): Assignment[] {
  const assign = (target: Tensor, value: Tensor): Assignment => ({ target: target.value, value: value.value })
  const shared = leavesOf(optimizer.shared(), (slot) => `${name}/${slot}`)
  const { next, scalars } = optimizer.advance(shared)
  const assignments = Object.entries(next).map(([slot, value]) => assign(shared[slot] as Tensor, value))
  for (const gradient of gradients) {
    const variable = variableOf(gradient.parameter) as Variable
    const slots = leavesOf(optimizer.slots(variable), (slot) => `${name}/${variableName(variable)}/${slot}`)
    // A sparse table's rows, and those of its state, are updated as if they were all there is.
    const now = (tensor: Tensor): FloatTensor =>
      (gradient.kind === 'dense'
        ? tensor
        : op('gather', [rowWise(tensor, gradient, optimizer.name), gradient.slots])) as FloatTensor
    const later = (tensor: Tensor, value: Tensor) =>
      gradient.kind === 'dense' ? value : op('updateRows', [tensor, gradient.slots, value])
    const state = Object.fromEntries(Object.entries(slots).map(([slot, tensor]) => [slot, now(tensor)]))
    const after = optimizer.update(now(gradient.parameter), gradient.values as FloatTensor, state, scalars)
    assignments.push(assign(gradient.parameter, later(gradient.parameter, after.parameter)))
    for (const [slot, value] of Object.entries(after.slots)) {
      assignments.push(assign(slots[slot] as Tensor, later(slots[slot] as Tensor, value)))
    }
  }
  return assignments
}

/** State of a sparse table must have a row per row of the table. */
function rowWise(tensor: Tensor, { parameter }: Gradient, optimizer: string): Tensor {
  if (tensor.shape.length > 0 && tensor.shape[0] === parameter.shape[0]) return tensor
  throw new KairosError('KAIROS_GRADIENT', {
    op: optimizer,
    argument: `state of sparse table '${variableName(variableOf(parameter) as Variable)}'`,
    expected: `${parameter.shape[0]} rows, as the table`,
    got: `shape [${tensor.shape.join(', ')}]`,
    hint: 'Use an optimizer with state per row or element, or make the table without `sparse`',
  })
}

function leavesOf(
  variables: Readonly<Record<string, Variable>>,
  nameOf: (slot: string) => string,
): Record<string, FloatTensor> {
  return Object.fromEntries(
    Object.entries(variables).map(([slot, variable]) => [slot, stateLeaf('optimizer', named(variable, nameOf(slot)))]),
  )
}
