/**
 * Gradients of several losses as one, inside the training pass. Each loss has a backward pass of its own; the forward
 * pass, and whatever else is equal, stands once.
 *
 *     shared parameters, or the representation     G = J J^T -> alpha -> J^T alpha
 *     parameters of one loss                       their own gradient
 *
 * J is never stored: its rows are the gradients where the backward passes leave them, those of sparse tables as rows at
 * common slots, and the combination is part of the optimiser's pass over memory.
 */
import { KairosError } from '../core/errors.js'
import { backward, checkLoss, type Lookup, variableName, variableOf } from './autodiff.js'
import {
  type Gradient,
  type GroupGradients,
  op,
  sparseGradient,
  sparseGradients,
  symbolText,
  unreached,
  zerosLike,
} from './gradient.js'
import type { Graph } from './graph.js'
import { scalar } from './leaf.js'
import { type Tensor, tensorOf, type Value, valueKey, withSource } from './node.js'
import type { CombinationRequest, Update } from './update.js'

/** The most operands of one `gramOfParts`: of any step of a program. */
const MOST_PARTS = 64

interface Combined {
  readonly gradients: readonly GroupGradients[]
  readonly reports: Graph['outputs']
}

/** What one backward pass left: whole gradients, and lookups of sparse tables. */
type Sweep = ReturnType<typeof backward>

export function combinedGradients(update: Update<Value>, combination: CombinationRequest<Value>): Combined {
  const losses = combination.losses.map((value) => tensorOf(value))
  losses.forEach(checkLoss)
  return withSource(losses[0]?.value.node.source ?? '', () =>
    combination.representation
      ? atRepresentation(
          update,
          combination,
          losses,
          combination.representation.map((value) => tensorOf(value)),
        )
      : atParameters(update, combination, losses),
  )
}

/** Gradients by parameters: K whole backward passes. */
function atParameters(
  update: Update<Value>,
  combination: CombinationRequest<Value>,
  losses: readonly Tensor[],
): Combined {
  const { parameters, sparse } = parametersOf(update)
  const sweeps = losses.map((loss) => backward([loss], [scalar(1)], parameters, sparse))
  const listed = combination.shared && new Set(combination.shared.map(valueKey))
  const isApart = keysOf(combination.apart)
  const isShared = (parameter: Tensor): boolean => {
    const key = valueKey(parameter.value)
    if (isApart.has(key)) return false
    return listed ? listed.has(key) : sweeps.filter((sweep) => reaches(sweep, key)).length > 1
  }
  const symbols = symbolsFor(update)
  const rows = new Map<string, TaskGradients>()
  for (const parameter of parameters.filter(isShared)) {
    const key = valueKey(parameter.value)
    if (!sweeps.some((sweep) => reaches(sweep, key))) throw unreached(update.name, parameter)
    rows.set(key, taskGradients(parameter, sweeps, symbols))
  }
  if (rows.size === 0) throw nothingShared(update)
  const { weights, reports } = weigh(
    update,
    combination,
    [...rows.values()].map(({ values }) => values),
  )
  const gradientOf = (parameter: Tensor): Gradient => {
    const shared = rows.get(valueKey(parameter.value))
    if (!shared) return ownGradient(update, parameter, sweeps, symbols)
    const values = weightedSum(shared.values, weights)
    return shared.slots
      ? { kind: 'sparse', parameter, slots: shared.slots, values }
      : { kind: 'dense', parameter, values }
  }
  return { gradients: grouped(update, gradientOf), reports }
}

/**
 * Gradients by a representation that separates shared parameters from those of tasks: K backward passes down to it, and
 * one of their combination below (Sener and Koltun 2018, section 3.3: MGDA-UB).
 */
function atRepresentation(
  update: Update<Value>,
  combination: CombinationRequest<Value>,
  losses: readonly Tensor[],
  representation: readonly Tensor[],
): Combined {
  const { parameters, sparse } = parametersOf(update)
  const cut = new Set(representation.map(({ value }) => value.node))
  const heads = losses.map((loss) => backward([loss], [scalar(1)], [...representation, ...parameters], sparse, cut))
  const rows = representation.map((value) => {
    const arriving = heads.map(({ sums }) => sums.get(valueKey(value.value)))
    const some = arriving.find((gradient) => gradient !== undefined)
    if (!some) throw unreachedRepresentation(update)
    return arriving.map((gradient) => gradient ?? zerosLike(some))
  })
  const { weights, reports } = weigh(update, combination, rows)
  const cotangents = rows.map((values) => weightedSum(values, weights))
  const trunk = backward(representation, cotangents, parameters, sparse)
  const symbols = symbolsFor(update)
  const isApart = keysOf(combination.apart)
  const gradientOf = (parameter: Tensor): Gradient => {
    const key = valueKey(parameter.value)
    const below = reaches(trunk, key)
    const above = heads.filter((head) => reaches(head, key)).length
    if (below ? above > 0 : above > 1 && !isApart.has(key)) throw bypasses(update, parameter)
    return ownGradient(update, parameter, below ? [trunk] : heads, symbols)
  }
  return { gradients: grouped(update, gradientOf), reports }
}

// Rows -------------------------------------------------------------------------------------------------------------

/** A shared parameter's gradient by each loss; rows of a sparse table have common slots. */
interface TaskGradients {
  readonly values: readonly Tensor[]
  readonly slots: Tensor | null
}

function taskGradients(parameter: Tensor, sweeps: readonly Sweep[], symbols: () => string): TaskGradients {
  const key = valueKey(parameter.value)
  if (variableOf(parameter)?.sparse) {
    const lookups = sweeps.map((sweep) => sweep.lookups.get(key) ?? [])
    const { slots, rows } = sparseGradients(parameter, lookups, symbols())
    return { slots, values: rows }
  }
  return { slots: null, values: sweeps.map(({ sums }) => sums.get(key) ?? zerosLike(parameter)) }
}

/** A gradient that is not combined: the sum over the passes that reach the parameter. */
function ownGradient(
  update: Update<Value>,
  parameter: Tensor,
  sweeps: readonly Sweep[],
  symbols: () => string,
): Gradient {
  const key = valueKey(parameter.value)
  const lookups = sweeps.flatMap((sweep): readonly Lookup[] => sweep.lookups.get(key) ?? [])
  if (lookups.length > 0) return sparseGradient(parameter, lookups, symbols())
  const [first, ...others] = sweeps.flatMap(({ sums }) => sums.get(key) ?? [])
  if (!first || !variableOf(parameter)) throw unreached(update.name, parameter)
  return { kind: 'dense', parameter, values: others.reduce((sum, next) => op('add', [sum, next]), first) }
}

/** Weights of the rows that `parts` hold, each as a scalar. */
function weigh(
  update: Update<Value>,
  { method, tasks, report }: CombinationRequest<Value>,
  parts: readonly (readonly Tensor[])[],
) {
  return withSource(`${method.name} of ${update.name}`, () => {
    const atOnce = Math.floor(MOST_PARTS / tasks.length)
    const grams: Tensor[] = []
    for (let from = 0; from < parts.length; from += atOnce) {
      grams.push(op('gramOfParts', parts.slice(from, from + atOnce).flat(), { rows: tasks.length }))
    }
    const gram = grams.reduce((sum, next) => op('add', [sum, next]))
    const { weights, reports = {} } = method.weights(gram, tasks)
    const scalars = tasks.map((_, task) =>
      op('reshape', [op('slice', [weights], { axis: 0, start: task, dims: [1] })], { shape: [] }),
    )
    const named = Object.entries({ weights, ...reports }).map(([name, { value }]) => ({
      name: `${update.name}/${name}`,
      value,
    }))
    return { weights: scalars, reports: report ? named : [] }
  })
}

const weightedSum = (values: readonly Tensor[], weights: readonly Tensor[]): Tensor =>
  values
    .map((value, task) => op('multiply', [value, weights[task] as Tensor]))
    .reduce((sum, next) => op('add', [sum, next]))

// Parameters -------------------------------------------------------------------------------------------------------

function parametersOf({ groups }: Update<Value>) {
  const parameters = groups.flatMap((group) => group.parameters.map((value) => tensorOf(value)))
  const sparse = parameters.filter((tensor) => variableOf(tensor)?.sparse)
  return { parameters, sparse: new Set(sparse.map(({ value }) => valueKey(value))) }
}

const keysOf = (values: readonly Value[] | null) => new Set(values?.map(valueKey))

const reaches = ({ sums, lookups }: Sweep, key: string): boolean => sums.has(key) || lookups.has(key)

const grouped = (update: Update<Value>, gradientOf: (parameter: Tensor) => Gradient): readonly GroupGradients[] =>
  update.groups.map((group) => ({
    group,
    gradients: group.parameters.map((value) => gradientOf(tensorOf(value))),
  }))

function symbolsFor({ name }: Update<Value>): () => string {
  let tables = 0
  return () => `unique_${symbolText(name)}_${tables++}`
}

const nothingShared = ({ name }: Update<Value>) =>
  new KairosError('KAIROS_GRADIENT', {
    op: 'compile',
    argument: `updates.${name}`,
    expected: 'parameters that more than one of its losses depends on',
    got: 'none',
    hint: 'Minimise losses that share nothing by an update each',
  })

const unreachedRepresentation = ({ name }: Update<Value>) =>
  new KairosError('KAIROS_GRADIENT', {
    op: 'compile',
    argument: `updates.${name}.representation`,
    expected: 'values that the losses depend on',
    got: 'one that none does',
  })

function bypasses({ name }: Update<Value>, parameter: Tensor): KairosError {
  const variable = variableOf(parameter)
  return new KairosError('KAIROS_GRADIENT', {
    op: 'compile',
    argument: `updates.${name}.representation`,
    expected: 'between the parameters of one loss and all that losses share',
    got: `${variable ? `'${variableName(variable)}'` : 'a parameter'}, which losses share beside it`,
    hint: 'Combine gradients by parameters, or name the other value too',
  })
}
