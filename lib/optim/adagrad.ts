/** Adagrad, per element and per row. */
import { scalarInput } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import type { FloatTensor, Optimizer } from '../graph/update.js'
import { add, broadcast, divide, mean, multiply, sqrt, square, subtract } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { requireSetting, slotOf, withDecay } from './slots.js'

export interface AdagradOptions {
  /** Fed by `rateName` in each step; this is what a step without it uses. */
  readonly lr?: number
  readonly epsilon?: number
  /** Where sums of squares start. */
  readonly initialAccumulator?: number
  /** L2 penalty, added to the gradient. */
  readonly weightDecay?: number
  readonly rateName?: string
}

/**
 * Adagrad: s <- s + g^2, w <- w - lr g / (sqrt(s) + epsilon), element by element (Duchi, Hazan and Singer 2011), in the
 * form of PyTorch's `torch.optim.Adagrad`.
 *
 * State per parameter: `sum`.
 */
export const adagrad = (options: AdagradOptions = {}): Optimizer =>
  make(
    'adagrad',
    { epsilon: 1e-10, ...options },
    (shape) => shape,
    square,
    (scale) => scale,
  )

/**
 * Row-wise Adagrad: one sum per row of a table, s[r] <- s[r] + mean over the row of g^2, and
 * w[r] <- w[r] - lr g[r] / (sqrt(s[r]) + epsilon). A table's state is one number a row instead of one an element
 * (Mudigere et al. 2022, "Software-hardware co-design for fast and scalable training of deep learning recommendation
 * models", section 4.1.4; `EXACT_ROWWISE_ADAGRAD` of FBGEMM).
 *
 * A row is all that shares the first index; a parameter of rank 0 or 1 has rows of one element, which is `adagrad`.
 * State per parameter: `sum`, of shape [rows].
 */
export const rowWiseAdagrad = (options: AdagradOptions = {}): Optimizer =>
  make(
    'rowWiseAdagrad',
    { epsilon: 1e-8, ...options },
    (shape) => shape.slice(0, 1),
    (gradient) => {
      const inner = gradient.shape.length - 1
      return inner > 0 ? (mean(square(gradient) as Loose, 1, inner) as Loose) : square(gradient)
    },
    (perRow, { shape }) => (shape.length > 1 ? (broadcast(perRow as Loose, 1, shape.slice(1)) as Loose) : perRow),
  )

/** Both differ in what a sum covers: `collect` squares into the sum's shape, `spread` repeats it over the parameter. */
function make(
  name: string,
  {
    lr,
    epsilon,
    initialAccumulator = 0,
    weightDecay = 0,
    rateName = 'lr',
  }: AdagradOptions & { readonly epsilon: number },
  sumShape: (shape: readonly number[]) => readonly number[],
  collect: (gradient: FloatTensor) => FloatTensor,
  spread: (perSum: FloatTensor, parameter: FloatTensor) => FloatTensor,
): Optimizer {
  requireSetting(name, 'epsilon', epsilon > 0, 'above 0', epsilon)
  requireSetting(name, 'initialAccumulator', initialAccumulator >= 0, 'at least 0', initialAccumulator)
  requireSetting(name, 'weightDecay', weightDecay >= 0, 'at least 0', weightDecay)
  return {
    name,
    slots: ({ shape }) => ({ sum: slotOf(sumShape(shape), initialAccumulator) }),
    shared: () => ({}),
    advance: () => ({ next: {}, scalars: { rate: scalarInput(rateName, lr) } }),
    update: (
      parameter,
      gradient,
      { sum }: { readonly sum: FloatTensor },
      { rate }: { readonly rate: Tensor<readonly [], 'float32'> },
    ) => {
      const decayed = withDecay(gradient, parameter, weightDecay)
      const next = add(sum, collect(decayed))
      const denominator = spread(add(sqrt(next), epsilon), parameter)
      return {
        parameter: subtract(parameter, multiply(divide(decayed, denominator), rate)),
        slots: { sum: next },
      }
    },
  }
}
