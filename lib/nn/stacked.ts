/**
 * Layers of one shape side by side: experts, gates and towers of the multi-task models. Their parameters are stacked
 * along a leading axis, so that all are computed in one matrix product, or one batch of them, instead of one by one.
 */
import { KairosError } from '../core/errors.js'
import { type Initializer, namedVariables, normal, parameter, zeros } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import {
  add,
  addBias,
  batchMatmul,
  broadcast,
  linear,
  merge,
  reshape,
  softmax,
  split,
  transpose,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { type ActivationName, activate } from './activation.js'
import { Dropout } from './dropout.js'
import { checkSizes, type MlpOptions, type Stage, stagesOf } from './mlp.js'

export interface StackedLinearOptions {
  readonly bias?: boolean
  readonly initializer?: (fanIn: number) => Initializer
  readonly biasInitializer?: (fanIn: number) => Initializer
}

/**
 * `count` linear layers, weights stored `[count, out, in]`: `torch.stack` of the weights of as many `torch.nn.Linear`.
 */
export class StackedLinear {
  readonly weight: Tensor<readonly [number, number, number], 'float32'>
  readonly bias?: Tensor<readonly [number, number], 'float32'>

  constructor(
    readonly count: number,
    readonly inputs: number,
    readonly outputs: number,
    { bias = true, initializer = () => normal(0.02), biasInitializer = () => zeros }: StackedLinearOptions = {},
  ) {
    this.weight = parameter([count, outputs, inputs], initializer(inputs))
    if (bias) this.bias = parameter([count, outputs], biasInitializer(inputs))
  }

  /**
   * x[batch, in], the same for all, or x[groups, batch, in], a group of `count / groups` layers for each ->
   * [count, batch, out].
   */
  forward(x: Loose, activation: ActivationName = 'none'): Loose {
    const { count, outputs } = this
    const groups = x.shape.length === 2 ? 1 : groupsOf(x, count)
    const each = count / groups
    if (x.shape.length === 2) return toStack(this.product(x, activation), each, outputs)
    const [, batch] = x.shape
    const weight = reshape(this.weight as Loose, [groups, each * outputs, this.inputs]) as Loose
    const product = batchMatmul(x, weight, { transposeB: true }) as Loose
    const bias = this.bias && (broadcast(reshape(this.bias, [groups, each * outputs]) as Loose, 1, [batch]) as Loose)
    const y = activate(bias ? (add(product, bias) as Loose) : product, activation)
    if (each === 1) return y
    const apart = transpose(split(y, -1, [each, outputs]) as Loose, [0, 2, 1, 3]) as Loose
    return reshape(apart, [count, batch, outputs]) as Loose
  }

  /** All layers on x[batch, in] as one layer that is as wide as all together: [batch, count * out]. */
  private product(x: Loose, activation: ActivationName): Loose {
    const weight = merge(this.weight as Loose, 0, 2) as Loose
    const y = linear(x, weight) as Loose
    return activate(this.bias ? (addBias(y, merge(this.bias as Loose, 0, 2) as Loose) as Loose) : y, activation)
  }
}

function groupsOf(x: Loose, count: number): number {
  const [groups] = x.shape
  if (x.shape.length === 3 && typeof groups === 'number' && count % groups === 0) return groups
  throw new KairosError('KAIROS_SHAPE', {
    op: 'StackedLinear',
    argument: 'x',
    expected: `[batch, in] or [groups, batch, in] with groups dividing ${count}`,
    got: `[${x.shape.join(', ')}]`,
  })
}

/** [batch, count * width] -> [count, batch, width]. */
const toStack = (x: Loose, count: number, width: number): Loose =>
  transpose(split(x, -1, [count, width]) as Loose, [1, 0, 2]) as Loose

/** `count` MLPs of one shape: as `Mlp` in its options and in how its layers are named. Without layer normalisation. */
export class StackedMlp {
  readonly [position: number]: StackedLinear
  private readonly stages: readonly Stage[]
  private readonly drop: Dropout

  constructor(
    readonly count: number,
    readonly sizes: readonly number[],
    options: Omit<MlpOptions, 'layerNorm'> = {},
  ) {
    checkSizes('StackedMlp', sizes)
    this.drop = new Dropout(options.dropout ?? 0)
    this.stages = stagesOf(sizes, options)
    const layers = this as Record<number, unknown>
    for (const { position, inputs, outputs } of this.stages) {
      layers[position] = new StackedLinear(count, inputs, outputs, options)
    }
  }

  /** x[batch, in] or x[groups, batch, in] -> [count, batch, out], as `StackedLinear`. */
  forward(x: Loose): Loose {
    let y = x
    for (const { position, activation, drops } of this.stages) {
      y = (this[position] as StackedLinear).forward(y, activation)
      if (drops) y = this.drop.forward(y)
    }
    return y
  }
}

/** Softmax gates over experts, one per output: g(x) = softmax(W x + b) weighs the experts' outputs. */
export class Gates extends StackedLinear {
  /** How much each output takes of each expert: x as `StackedLinear` takes it -> [gates, batch, experts]. */
  weights(x: Loose): Loose {
    return softmax(this.forward(x))
  }
}

/** weights[outputs, batch, experts], experts[experts, batch, width] -> [outputs, batch, width]. */
export function mixExperts(weights: Loose, experts: Loose): Loose {
  const perExample = batchMatmul(
    transpose(weights, [1, 0, 2]) as Loose,
    transpose(experts, [1, 0, 2]) as Loose,
  ) as Loose
  return transpose(perExample, [1, 0, 2]) as Loose
}

// Names --------------------------------------------------------------------------------------------------------------

/**
 * What a state dict of one module per expert calls the parts of each stacked parameter: path -> paths, in the order in
 * which `torch.stack` makes it. For a model with `experts: new StackedMlp(2, [8, 4])`:
 *
 *     experts.0.weight -> experts.0.0.weight, experts.1.0.weight
 */
export function stackedNames(model: object): Map<string, string[]> {
  const stacks = new Map<string, number>()
  const visit = (item: unknown, path: string, seen: ReadonlySet<unknown>) => {
    if (item === null || typeof item !== 'object' || ArrayBuffer.isView(item) || seen.has(item)) return
    if (item instanceof StackedLinear || item instanceof StackedMlp) {
      stacks.set(path, item.count)
      return
    }
    if ('value' in item && 'dtype' in item) return // a tensor: its graph is not the model
    for (const [key, value] of Object.entries(item)) {
      visit(value, path === '' ? key : `${path}.${key}`, new Set([...seen, item]))
    }
  }
  visit(model, '', new Set())
  const names = new Map<string, string[]>()
  for (const { name } of namedVariables(model)) {
    for (const [path, count] of stacks) {
      if (!name.startsWith(`${path}.`)) continue
      const rest = name.slice(path.length + 1)
      names.set(
        name,
        Array.from({ length: count }, (_, i) => `${path}.${i}.${rest}`),
      )
    }
  }
  return names
}
