/** Cross entropies of logits, one loss per row or element. `lib/losses` takes their means. */
import type { Dim, Shape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { softplus } from './activation.js'
import { add, multiply, subtract } from './arithmetic.js'
import { broadcast, full } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  ints,
  LIVE,
  type Loose,
  product,
  read,
  requireShape,
  typed,
} from './support.js'
import { exp } from './transcendental.js'

type CrossEntropyAttributes = { ignoreIndex: number }

/** PyTorch's default: no vocabulary has it. */
const IGNORED = -100

function requireLabels(op: string, logits: TensorSpec, labels: TensorSpec): void {
  requireDtype(op, 'logits', logits, 'float32')
  requireRank(op, 'logits', logits, 1)
  requireDtype(op, 'labels', labels, 'int32')
  requireShape(op, 'labels', labels, logits.shape.slice(0, -1))
}

function labelOf(labels: ReferenceArray, row: number, width: number, ignoreIndex: number): number | null {
  const label = read(labels.data, row)
  if (label === ignoreIndex) return null
  if (label >= 0 && label < width) return label
  throw new KairosError('KAIROS_ID_RANGE', {
    op: 'softmaxCrossEntropy',
    argument: `labels, element ${row}`,
    expected: `in [0, ${width})`,
    got: `${label}`,
  })
}

const forwardOp: Op<CrossEntropyAttributes> = defineOp<CrossEntropyAttributes>({
  name: 'softmaxCrossEntropy',
  ids: [{ operand: 1, limit: ([logits]) => (logits as TensorSpec).shape.at(-1) as Dim, alsoAllowed: 'ignoreIndex' }],
  infer([logits, labels]: readonly [TensorSpec, TensorSpec]) {
    requireLabels('softmaxCrossEntropy', logits, labels)
    const rows = float32(logits.shape.slice(0, -1))
    return [rows, rows]
  },
  vjp: gradient(({ inputs: [logits, labels], outputs: [, logSumExp], cotangents, attributes }) => {
    const [dloss, dlogSumExp] = cotangents as readonly (Loose | null)[]
    const spread = (rows: Loose): Loose => broadcast(rows, rows.shape.length, [at(logits.shape, -1)])
    const parts = [
      dloss && backwardOp([logits, labels, logSumExp, dloss], attributes)[0],
      dlogSumExp && multiply(exp(subtract(logits, spread(logSumExp)) as Loose), spread(dlogSumExp)),
    ].filter((part): part is Loose => Boolean(part))
    return [parts.reduce((left, right) => add(left, right)), null]
  }),
  reference([logits, labels]: readonly [ReferenceArray, ReferenceArray], { ignoreIndex }) {
    const width = logits.shape.at(-1) as number
    const logSumExp = array(labels.shape, (row) => {
      const values = logits.data.subarray(row * width, (row + 1) * width)
      const greatest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
      return greatest + Math.log(values.reduce((total, value) => total + Math.exp(value - greatest), 0))
    })
    const loss = array(labels.shape, (row) => {
      const label = labelOf(labels, row, width, ignoreIndex)
      return label === null ? 0 : read(logSumExp.data, row) - read(logits.data, row * width + label)
    })
    return [loss, logSumExp]
  },
  cases: (random) => ({
    valid: shapes(random).map((shape) => {
      const [logits, labels] = operands(random, shape)
      return { inputs: [logits, labels], attributes: { ignoreIndex: IGNORED }, ...liveOf(shape) }
    }),
    invalid: [
      {
        inputs: [float32(['batch', 9]), int32(['time'])],
        attributes: { ignoreIndex: IGNORED },
        message: /^softmaxCrossEntropy: labels should be of shape \[batch\] but got \[time\]/,
      },
      {
        inputs: [float32([4, 9]), float32([4])],
        attributes: { ignoreIndex: IGNORED },
        message: /^softmaxCrossEntropy: labels should be dtype int32 but got float32/,
      },
    ],
  }),
  flops: ([logits]) => 4 * product(logits as readonly number[]),
})

const backwardOp: Op<CrossEntropyAttributes> = defineOp<CrossEntropyAttributes>({
  name: 'softmaxCrossEntropyBackward',
  infer([logits, labels, logSumExp, dloss]: readonly [TensorSpec, TensorSpec, TensorSpec, TensorSpec]) {
    requireLabels('softmaxCrossEntropyBackward', logits, labels)
    requireShape('softmaxCrossEntropyBackward', 'logSumExp', logSumExp, labels.shape)
    requireShape('softmaxCrossEntropyBackward', 'dloss', dloss, labels.shape)
    return [logits]
  },
  vjp: 'softmax cross entropy has no second derivative here',
  reference([logits, labels, logSumExp, dloss]: Four, { ignoreIndex }) {
    const width = logits.shape.at(-1) as number
    return [
      array(logits.shape, (index) => {
        const row = Math.floor(index / width)
        const label = labelOf(labels, row, width, ignoreIndex)
        if (label === null) return 0
        const probability = Math.exp(read(logits.data, index) - read(logSumExp.data, row))
        return read(dloss.data, row) * (probability - Number(index % width === label))
      }),
    ]
  },
  cases: (random) => ({
    valid: shapes(random).map((shape): OpCase<CrossEntropyAttributes> => {
      const [logits, labels] = operands(random, shape)
      const forward = forwardOp.definition.reference([logits, labels], { ignoreIndex: IGNORED })
      const logSumExp = forward[1] as ReferenceArray
      return {
        inputs: [
          logits,
          labels,
          array(logSumExp.shape, (row) => Math.fround(read(logSumExp.data, row))),
          floats(random, labels.shape),
        ],
        attributes: { ignoreIndex: IGNORED },
        ...liveOf(shape),
      }
    }),
    invalid: [
      {
        inputs: [float32([4, 9]), int32([4]), float32([4]), float32([9])],
        attributes: { ignoreIndex: IGNORED },
        message: /^softmaxCrossEntropyBackward: dloss should be of shape \[4\] but got \[9\]/,
      },
    ],
  }),
})

type Four = readonly [ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray]

function operands(random: Random, shape: readonly number[]): [ReferenceArray, ReferenceArray] {
  const labels = ints(random, shape.slice(0, -1), 0, shape.at(-1) as number)
  // Every third row or so is ignored.
  const some = typed('int32', labels.shape, (row) => (random.int(3) === 0 ? IGNORED : read(labels.data, row)))
  return [floats(random, shape, -4, 4), some]
}

const shapes = (random: Random): number[][] => [
  [LIVE, 37],
  [LIVE, 3, 5],
  [1 + random.int(20), 1 + random.int(300)],
  [1, 1],
  [0, 4],
  [7],
]
const liveOf = (shape: readonly number[]) => (shape.includes(LIVE) ? { live: LIVE } : {})

/**
 * -log softmax(logits)[label] per row of `logits[..., C]`. A row whose label is `ignoreIndex` has loss and gradient 0.
 *
 * Throws KAIROS_SHAPE when labels do not match the rows, KAIROS_DTYPE unless labels are int32. A run fails with
 * KAIROS_ID_RANGE when a label lies outside [0, C).
 */
export function softmaxCrossEntropy<Lead extends Shape>(
  logits: Tensor<readonly [...Lead, Dim], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  { ignoreIndex = IGNORED }: { readonly ignoreIndex?: number } = {},
): Tensor<readonly [...Lead], 'float32'> {
  return forwardOp([logits as Loose, labels], { ignoreIndex })[0] as Loose
}

/**
 * Cross entropy of sigmoid(logits) with targets in [0, 1], per element: max(x, 0) - x z + log1p(exp(-|x|)), which is
 * softplus(x) - x z and never overflows.
 *
 * Throws KAIROS_SHAPE when shapes differ, KAIROS_DTYPE unless both are float32.
 */
export function sigmoidCrossEntropy<S extends Shape>(
  logits: Tensor<S, 'float32'>,
  targets: Tensor<NoInfer<S> | readonly [], 'float32'> | number,
): Tensor<S, 'float32'> {
  return subtract(softplus(logits as Loose), multiply(logits as Loose, targets as Loose))
}

/**
 * log(sum(exp(x))) along the last axis, without overflow; of nothing it is -Infinity.
 *
 * Throws KAIROS_SHAPE for rank 0, KAIROS_DTYPE unless float32.
 */
export function logSumExp<Lead extends Shape>(
  x: Tensor<readonly [...Lead, Dim], 'float32'>,
): Tensor<readonly [...Lead], 'float32'> {
  // The second result of cross entropy, in one read of x; no row counts for the first.
  const labels: Loose = full((x as Loose).shape.slice(0, -1) as Shape, IGNORED, 'int32')
  return forwardOp([x as Loose, labels], { ignoreIndex: IGNORED })[1] as Loose
}

/**
 * log(softmax(x)) along the last axis.
 *
 * Throws KAIROS_SHAPE for rank 0, KAIROS_DTYPE unless float32.
 */
export function logSoftmax<S extends Shape>(x: Tensor<S, 'float32'>): Tensor<S, 'float32'> {
  const total: Loose = logSumExp(x as Loose)
  return subtract(x as Loose, broadcast(total, total.shape.length, [at(x.shape, -1)]) as Loose) as Loose
}
