/**
 * Models are plain classes. Their fields are parameters, state and other modules; the path of a field is the name it
 * has in stores, checkpoints and errors: `encoder.blocks.0.attention.query.weight`.
 */
import { type ArrayOf, arrayOf, type DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { createRandom } from '../core/random.js'
import { Scoped } from '../core/scoped.js'
import { named, variableOf } from './autodiff.js'
import { stateLeaf } from './leaf.js'
import type { Tensor, Variable } from './node.js'

/** Fills `values`; `random` is seeded by the run's seed and the parameter's name. */
export interface Initializer {
  (values: Float32Array, random: ReturnType<typeof createRandom>): void
  /** Elements are drawn one after another, so that filling piece by piece is the same. */
  readonly sequential?: boolean
}

const sequential = (fill: Initializer): Initializer => Object.assign(fill, { sequential: true })

/** Normal with mean 0. */
export const normal = (deviation: number): Initializer =>
  sequential((values, random) => {
    for (let i = 0; i < values.length; i++) values[i] = random.normal() * deviation
  })

export const uniform = (low: number, high: number): Initializer =>
  sequential((values, random) => {
    for (let i = 0; i < values.length; i++) values[i] = low + (high - low) * random.uniform()
  })

export const filled = (value: number): Initializer =>
  sequential((values) => {
    values.fill(value)
  })

export const zeros = filled(0)
export const ones = filled(1)

/** Glorot and Bengio 2010: uniform within sqrt(6 / (fan in + fan out)). */
export const xavierUniform = (fanIn: number, fanOut: number): Initializer => {
  const bound = Math.sqrt(6 / (fanIn + fanOut))
  return uniform(-bound, bound)
}

/** He et al. 2015: uniform within gain sqrt(3 / fan in); the gain of ReLU is sqrt(2). */
export const kaimingUniform = (fanIn: number, gain = Math.SQRT2): Initializer => {
  const bound = gain * Math.sqrt(3 / fanIn)
  return uniform(-bound, bound)
}

/** Uniform within 1 / sqrt(fan in): what `torch.nn.Linear` starts from, weight and bias alike. */
export const fanInUniform = (fanIn: number): Initializer => kaimingUniform(fanIn, Math.sqrt(1 / 3))

function floatVariable(
  shape: readonly number[],
  initializer: Initializer,
  trainable: boolean,
  sparse: boolean,
): Variable {
  const pieces = (name: string, seed: number) => {
    const random = createRandom(seed).fork(name)
    return (values: Float32Array) => initializer(values, random)
  }
  return {
    dtype: 'float32',
    shape,
    trainable,
    ...(sparse ? { sparse } : {}),
    ...(initializer.sequential ? { pieces } : {}),
    initialize: (name, seed) => {
      const values = new Float32Array(countOf(shape))
      initializer(values, createRandom(seed).fork(name))
      return values
    },
  }
}

export interface ParameterOptions {
  /**
   * Keep the gradient as the rows that a batch looked up, and update only those (PyTorch's `sparse=True`): for large
   * tables. Optimisers then are lazy: moments of rows that are not looked up stand still.
   */
  readonly sparse?: boolean
}

/** A trainable float32 tensor of a model. */
export const parameter = <const S extends readonly number[]>(
  shape: S,
  initializer: Initializer,
  { sparse = false }: ParameterOptions = {},
): Tensor<S, 'float32'> => stateLeaf<S, 'float32'>('parameters', floatVariable(shape, initializer, true, sparse))

/** A tensor that the model keeps but no gradient moves: codebooks, counts, running moments. */
export function state<const S extends readonly number[], D extends DType = 'float32'>(
  shape: S,
  dtype: D = 'float32' as D,
  fill = 0,
): Tensor<S, D> {
  const initialize = () => (arrayOf(dtype, countOf(shape)) as ArrayOf<DType>).fill(fill)
  return stateLeaf<S, D>('state', { dtype, shape, trainable: false, initialize, zeros: fill === 0 })
}

/** What an optimiser keeps beside a parameter, zeros at first. */
export const zeroVariable = (shape: readonly number[], dtype: DType = 'float32'): Variable => ({
  dtype,
  shape,
  trainable: false,
  zeros: true,
  initialize: () => arrayOf(dtype, countOf(shape)) as ArrayOf<DType>,
})

const countOf = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)

export interface NamedVariable {
  readonly name: string
  readonly tensor: Tensor
  readonly variable: Variable
}

/**
 * Parameters and state of a model by path, in field order; names them as a side effect. A tensor that stands at two
 * paths is one variable under the first.
 */
export function namedVariables(model: object): NamedVariable[] {
  const found: NamedVariable[] = []
  const seen = new Set<unknown>()
  const visit = (item: unknown, path: string) => {
    if (item === null || typeof item !== 'object' || seen.has(item)) return
    seen.add(item)
    if (isTensor(item)) {
      const variable = variableOf(item)
      if (variable && !seen.has(variable)) {
        seen.add(variable)
        found.push({ name: path, tensor: item, variable: named(variable, path) })
      }
      return
    }
    if (ArrayBuffer.isView(item) || item instanceof Map || item instanceof Set) return
    for (const [key, value] of Object.entries(item)) visit(value, path === '' ? key : `${path}.${key}`)
  }
  visit(model, '')
  return found
}

const isTensor = (item: object): item is Tensor => 'value' in item && 'shape' in item && 'dtype' in item

/** Trainable parameters of a model, optionally only those whose path the test accepts. */
export function parametersOf(model: object, accept: (name: string) => boolean = () => true): Tensor[] {
  const chosen = namedVariables(model).filter(({ name, variable }) => variable.trainable && accept(name))
  if (chosen.length > 0) return chosen.map(({ tensor }) => tensor)
  throw new KairosError('KAIROS_MISSING', {
    op: 'parametersOf',
    argument: 'model',
    expected: 'at least one parameter',
    got: 'none that is accepted',
  })
}

/** Number of trainable scalars. */
export const parameterCount = (model: object): number =>
  namedVariables(model)
    .filter(({ variable }) => variable.trainable)
    .reduce((sum, { variable }) => sum + variable.shape.reduce((product, dim) => product * dim, 1), 0)

// Mode -------------------------------------------------------------------------------------------------------------

export type Mode = 'train' | 'evaluate'
const currentMode = new Scoped<Mode>('evaluate')

/** Whether the model is being traced for training: dropout asks. */
export const isTraining = (): boolean => currentMode.current === 'train'

/** Traces under a mode. Tracing is synchronous, so the mode cannot leak into another trace. */
export const withMode = <T>(mode: Mode, trace: () => T): T => currentMode.run(mode, trace)
