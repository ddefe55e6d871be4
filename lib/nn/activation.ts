import type { Shape } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { gelu, relu, sigmoid, silu, tanh, type Unary } from '../ops/index.js'

const functions: Readonly<Record<ActivationName, Unary>> = { relu, gelu, silu, tanh, sigmoid, none: (x) => x }

/** An activation by name, as layers and configurations give it. */
export type ActivationName = 'none' | 'relu' | 'gelu' | 'silu' | 'tanh' | 'sigmoid'

export const activate = <S extends Shape>(x: Tensor<S, 'float32'>, name: ActivationName): Tensor<S, 'float32'> =>
  functions[name](x)
