/**
 * Pass 3: training requests become assignments. Each loss is differentiated by the parameters that it moves; each
 * gradient, whole or the rows of a sparse table, goes through its optimiser's own ops.
 */
import { KairosError } from '../core/errors.js'
import { backward, checkLoss, named, variableName, variableOf } from './autodiff.js'
import { combinedGradients } from './combine.js'
import { type Gradient, type GroupGradients, op, sparseGradient, symbolText, unreached } from './gradient.js'
import { type Assignment, type Graph, makeGraph } from './graph.js'
import { input, scalar, scalarInput, stateLeaf } from './leaf.js'
import { zeroVariable } from './module.js'
import { type Tensor, tensorOf, type Value, type Variable, valueKey, withSource } from './node.js'
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
    const { gradients, reports } = update.combination
      ? combinedGradients(update, update.combination)
      : { gradients: update.accumulation ? addedUp(update) : gradientsOf(update), reports: [] }
    outputs.push(...reports)
    const { norm, groups } = clipped(update, gradients)
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

/** The Euclidean norm of all gradients together; rows that were not looked up are zero. */
function globalNorm(gradients: readonly Gradient[]): Tensor {
  const squares = gradients.map(({ values }) =>
    op('sum', [op('square', [values])], { axis: 0, count: values.shape.length }),
  )
  return op('sqrt', [squares.reduce((sum, next) => op('add', [sum, next]))])
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
    const lookup = {
      ids: input(parts.slots, [count], 'int32'),
      dy: input(parts.rows, [count, ...variable.shape.slice(1)]),
      offsets: null,
      attributes: {},
    }
    return sparseGradient(parameter, [lookup], `unique_${symbolText(name)}_${tables++}`)
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
