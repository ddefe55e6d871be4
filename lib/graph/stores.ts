/** The native memory of a model: its parameters and state, fresh from their initialisers. */
import { defaultExecutor, type Executor, ParameterSet, State, type StoreEntry } from '../runtime/index.js'
import { namedVariables } from './module.js'
import type { Variable } from './node.js'

/** A store's entry with its initial values; zeros are left out, since a store begins with them. */
export function entryOf(name: string, variable: Variable, seed: number): StoreEntry {
  const { dtype, shape } = variable
  return variable.zeros ? { name, dtype, shape } : { name, dtype, shape, data: variable.initialize(name, seed) }
}

const entriesFor = (model: object, seed: number, trainable: boolean) =>
  namedVariables(model)
    .filter(({ variable }) => variable.trainable === trainable)
    .map(({ name, variable }) => entryOf(name, variable, seed))

/** A fresh parameter set of a model, drawn from its initialisers. */
export const createParameters = (model: object, seed = 0): ParameterSet =>
  ParameterSet.create(entriesFor(model, seed, true))

/** Elements that are drawn at a time: well below a millisecond. */
const PIECE = 1 << 14

/**
 * The same parameter set, off the event loop and with no second copy of large tables: values are drawn piece by piece
 * into native memory.
 */
export async function initializeParameters(
  model: object,
  seed = 0,
  executor: Executor = defaultExecutor(),
): Promise<ParameterSet> {
  const trainable = namedVariables(model).filter(({ variable }) => variable.trainable)
  const inPieces = ({ shape, pieces }: Variable) => pieces !== undefined && sizeOf(shape) > PIECE
  const parameters = ParameterSet.create(
    trainable.map(({ name, variable }) =>
      entryOf(name, inPieces(variable) ? { ...variable, zeros: true } : variable, seed),
    ),
  )
  for (const { name, variable } of trainable) {
    if (!inPieces(variable)) continue
    const fill = variable.pieces?.(name, seed)
    const count = sizeOf(variable.shape)
    for (let at = 0; at < count; at += PIECE) {
      const piece = new Float32Array(Math.min(PIECE, count - at))
      fill?.(piece)
      await parameters.writeRange(name, at, piece, executor)
    }
  }
  return parameters
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)

/** Fresh state of a model. */
export const createState = (model: object): State => State.create(entriesFor(model, 0, false))

const parameterDefaults = new WeakMap<object, ParameterSet>()
const stateDefaults = new WeakMap<object, State>()

/** The parameters that every program over this model uses when a step is given none. */
export function parametersFor(model: object): ParameterSet {
  const present = parameterDefaults.get(model) ?? createParameters(model)
  parameterDefaults.set(model, present)
  return present
}

export function stateFor(model: object): State {
  const present = stateDefaults.get(model) ?? createState(model)
  stateDefaults.set(model, present)
  return present
}
