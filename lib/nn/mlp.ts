import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { type Initializer, normal, zeros } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import type { Loose } from '../ops/support.js'
import { type ActivationName, activate } from './activation.js'
import { Dropout } from './dropout.js'
import { LayerNorm } from './layerNorm.js'
import { Linear } from './linear.js'

export interface MlpOptions {
  /** After every layer but the last. Default: relu. */
  readonly activation?: ActivationName
  /** After the last layer. Default: none. */
  readonly lastActivation?: ActivationName
  /** After each activation but the last's. */
  readonly dropout?: number
  /** Normalises before each activation but the last's. */
  readonly layerNorm?: boolean
  /** Of weights, from fan in; `fanInUniform` starts as PyTorch does. Default: normal with deviation 0.02. */
  readonly initializer?: (fanIn: number) => Initializer
  /** Of biases, from the fan in of their layer. Default: zeros. */
  readonly biasInitializer?: (fanIn: number) => Initializer
}

/**
 * Linear layers with an activation between them: `new Mlp([384, 512, 256])` has two.
 *
 * Layers are named as `torch.nn.Sequential` numbers Linear, [LayerNorm], activation, [Dropout]: with relu alone they are
 * `0.weight`, `2.weight`, `4.weight`, so that state dicts fit by name.
 */
export class Mlp<const Sizes extends readonly [number, ...number[]]> {
  readonly [position: number]: Linear<number, number> | LayerNorm<number>
  private readonly stages: readonly Stage[]
  private readonly drop: Dropout

  constructor(sizes: Sizes, options: MlpOptions = {}) {
    const { initializer = () => normal(0.02), biasInitializer = () => zeros, dropout = 0 } = options
    checkSizes('Mlp', sizes)
    this.drop = new Dropout(dropout)
    this.stages = stagesOf(sizes, options)
    const layers = this as Record<number, unknown>
    for (const { position, inputs, outputs, norm } of this.stages) {
      layers[position] = new Linear(inputs, outputs, initializer(inputs), biasInitializer(inputs))
      if (norm) layers[position + 1] = new LayerNorm(outputs)
    }
  }

  /** x[..., first size] -> [..., last size]. Throws KAIROS_SHAPE when the last axis is another. */
  forward<const Lead extends readonly Dim[]>(
    x: Tensor<readonly [...Lead, Sizes[0]], 'float32'>,
  ): Tensor<readonly [...Lead, Last<Sizes>], 'float32'> {
    let y: Loose = x
    for (const { position, norm, activation, drops } of this.stages) {
      y = (this[position] as Linear<number, number>).forward(y)
      if (norm) y = (this[position + 1] as LayerNorm<number>).forward(y)
      y = activate(y, activation)
      if (drops) y = this.drop.forward(y)
    }
    return y
  }
}

export type Last<Sizes extends readonly number[]> = Sizes extends readonly [...number[], infer L extends number]
  ? L
  : number

/** One linear layer and what follows it. */
export interface Stage {
  /** Its number in a `torch.nn.Sequential` of the same modules. */
  readonly position: number
  readonly inputs: number
  readonly outputs: number
  readonly norm: boolean
  readonly activation: ActivationName
  readonly drops: boolean
}

export function stagesOf(sizes: readonly number[], options: MlpOptions): Stage[] {
  const { activation = 'relu', lastActivation = 'none', dropout = 0, layerNorm = false } = options
  let position = 0
  return sizes.slice(1).map((outputs, i) => {
    const isLast = i === sizes.length - 2
    const stage: Stage = {
      position,
      inputs: sizes[i] as number,
      outputs,
      norm: layerNorm && !isLast,
      activation: isLast ? lastActivation : activation,
      drops: dropout > 0 && !isLast,
    }
    position += 1 + Number(stage.norm) + Number(stage.activation !== 'none') + Number(stage.drops)
    return stage
  })
}

export function checkSizes(op: string, sizes: readonly number[]): void {
  if (sizes.length >= 2 && sizes.every((size) => Number.isInteger(size) && size > 0)) return
  throw new KairosError('KAIROS_ARGUMENT', {
    op,
    argument: 'sizes',
    expected: 'two or more positive integers',
    got: `[${sizes.join(', ')}]`,
  })
}
