/** Adam and AdamW. Written with ops: the compiler makes one pass over memory of each parameter's update. */
import { KairosError } from '../core/errors.js'
import { scalar, scalarInput } from '../graph/leaf.js'
import { zeroVariable } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import type { FloatTensor, Optimizer } from '../graph/update.js'
import { add, cast, divide, multiply, oneMinus, power, sqrt, square, subtract } from '../ops/index.js'

export interface AdamOptions {
  /** Fed as `lr` in each step; this is what a step without it uses. */
  readonly lr?: number
  readonly betas?: readonly [number, number]
  readonly epsilon?: number
  /** Decoupled weight decay (AdamW). */
  readonly weightDecay?: number
  /** Name of the scalar feed, where two optimisers need rates of their own. */
  readonly rateName?: string
}

/**
 * Adam: Kingma and Ba 2015, algorithm 1, in the form of PyTorch's `torch.optim.Adam`; with `weightDecay` the decoupled
 * form of Loshchilov and Hutter 2019 (`AdamW`).
 *
 * State per parameter: `exp_avg`, `exp_avg_sq`; shared: `step`, which counts the updates of that state.
 */
export function adam({
  lr,
  betas = [0.9, 0.999],
  epsilon = 1e-8,
  weightDecay = 0,
  rateName = 'lr',
}: AdamOptions = {}): Optimizer {
  const [beta1, beta2] = betas
  for (const [name, beta] of Object.entries({ 'betas[0]': beta1, 'betas[1]': beta2 })) {
    if (beta >= 0 && beta < 1) continue
    throw new KairosError('KAIROS_ARGUMENT', { op: 'adam', argument: name, expected: 'in [0, 1)', got: `${beta}` })
  }
  return {
    name: weightDecay === 0 ? 'adam' : 'adamw',
    slots: ({ shape }) => ({ exp_avg: zeroVariable(shape), exp_avg_sq: zeroVariable(shape) }),
    shared: () => ({ step: zeroVariable([], 'int32') }),
    advance: ({ step }) => {
      const next = add(step as Tensor<readonly [], 'int32'>, 1)
      const count = cast(next, 'float32')
      const rate = scalarInput(rateName, lr)
      return {
        next: { step: next },
        scalars: {
          stepSize: divide(rate, oneMinus(power(scalar(beta1), count))),
          correction: sqrt(oneMinus(power(scalar(beta2), count))),
          kept: oneMinus(multiply(rate, weightDecay)),
        },
      }
    },
    update: (parameter, gradient, { exp_avg, exp_avg_sq }: Slots, { stepSize, correction, kept }: Scalars) => {
      const average = add(multiply(exp_avg, beta1), multiply(gradient, 1 - beta1))
      const squares = add(multiply(exp_avg_sq, beta2), multiply(square(gradient), 1 - beta2))
      const denominator = add(divide(sqrt(squares), correction), epsilon)
      const decayed = weightDecay === 0 ? parameter : multiply(parameter, kept)
      const moved = subtract(decayed, multiply(divide(average, denominator), stepSize))
      return { parameter: moved, slots: { exp_avg: average, exp_avg_sq: squares } }
    },
  }
}

type Slots = { readonly exp_avg: FloatTensor; readonly exp_avg_sq: FloatTensor }
type Scalars = Readonly<Record<'stepSize' | 'correction' | 'kept', Tensor<readonly [], 'float32'>>>
