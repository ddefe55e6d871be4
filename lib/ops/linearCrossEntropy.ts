/**
 * Cross entropy of a linear layer's logits that are never kept: tiles of them are made, used and forgotten, forward and
 * again backward. Sources: the online sum of exponentials of Milakov and Gimelshein, "Online normalizer calculation for
 * softmax", 2018; recomputation as in Wijmans et al., "Cut your losses in large-vocabulary language models", 2024.
 */
import type { Dim, Shape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { full } from './movement.js'
import {
  array,
  at,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  product,
  read,
  refuseArgument,
  requireShape,
  typed,
} from './support.js'

type LinearCrossEntropyAttributes = { ignoreIndex: number; labelSmoothing: number }

/** PyTorch's default: no vocabulary has it. */
const IGNORED = -100

function requireOperands(
  op: string,
  [x, weight, labels]: readonly TensorSpec[],
  bias: TensorSpec | undefined,
  { labelSmoothing }: LinearCrossEntropyAttributes,
): void {
  requireDtype(op, 'x', x as TensorSpec, 'float32')
  requireRank(op, 'x', x as TensorSpec, 1)
  requireDtype(op, 'weight', weight as TensorSpec, 'float32')
  requireRank(op, 'weight', weight as TensorSpec, 2, 2)
  const [classes] = (weight as TensorSpec).shape as [Dim]
  const { shape } = x as TensorSpec
  requireShape(op, 'weight', weight as TensorSpec, [classes, at(shape, -1)])
  requireDtype(op, 'labels', labels as TensorSpec, 'int32')
  requireShape(op, 'labels', labels as TensorSpec, shape.slice(0, -1))
  if (bias) {
    requireDtype(op, 'bias', bias, 'float32')
    requireShape(op, 'bias', bias, [classes])
  }
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
    refuseArgument(op, 'labelSmoothing', 'at least 0 and below 1', labelSmoothing)
  }
}

function labelOf(labels: ReferenceArray, row: number, classes: number, ignoreIndex: number): number | null {
  const label = read(labels.data, row)
  if (label === ignoreIndex) return null
  if (label >= 0 && label < classes) return label
  throw new KairosError('KAIROS_ID_RANGE', {
    op: 'linearCrossEntropy',
    argument: `labels, element ${row}`,
    expected: `in [0, ${classes})`,
    got: `${label}`,
  })
}

/** Logits of a row. */
function logitsOf(x: ReferenceArray, weight: ReferenceArray, bias: ReferenceArray | undefined, row: number) {
  const [classes, channels] = weight.shape as [number, number]
  return Float64Array.from({ length: classes }, (_, c) => {
    let total = bias ? read(bias.data, c) : 0
    for (let i = 0; i < channels; i++) total += read(x.data, row * channels + i) * read(weight.data, c * channels + i)
    return total
  })
}

function logSumExpOf(values: Float64Array): number {
  const greatest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  return greatest + Math.log(values.reduce((total, value) => total + Math.exp(value - greatest), 0))
}

const forwardOp: Op<LinearCrossEntropyAttributes> = defineOp<LinearCrossEntropyAttributes>({
  name: 'linearCrossEntropy',
  ids: [{ operand: 2, limit: ([, weight]) => at((weight as TensorSpec).shape, 0), alsoAllowed: 'ignoreIndex' }],
  infer(inputs, attributes) {
    requireOperands('linearCrossEntropy', inputs, inputs[3], attributes)
    const rows = float32((inputs[2] as TensorSpec).shape)
    return [rows, rows]
  },
  vjp: gradient(({ inputs, outputs: [, logSumExp], cotangents, attributes }) => {
    const [dloss, dlogSumExp] = cotangents as readonly (Loose | null)[]
    const [x, weight, labels, bias] = inputs as readonly Loose[]
    const given = (cotangent: Loose | null | undefined) => cotangent ?? (full(logSumExp.shape, 0) as Loose)
    const operands = [x, weight, labels, logSumExp, given(dloss), given(dlogSumExp), ...(bias ? [bias] : [])]
    const [dx, dweight, dbias] = backwardOp(operands as Loose[], attributes) as readonly Loose[]
    return [dx as Loose, dweight as Loose, null, ...(dbias ? [dbias] : [])]
  }),
  reference(
    [x, weight, labels, bias]: readonly [ReferenceArray, ReferenceArray, ReferenceArray, ...ReferenceArray[]],
    { ignoreIndex, labelSmoothing },
  ) {
    const classes = weight.shape[0] as number
    const rows = Array.from({ length: product(labels.shape) }, (_, row) => logitsOf(x, weight, bias, row))
    const logSumExp = array(labels.shape, (row) => logSumExpOf(rows[row] as Float64Array))
    const loss = array(labels.shape, (row) => {
      const label = labelOf(labels, row, classes, ignoreIndex)
      if (label === null) return 0
      const logits = rows[row] as Float64Array
      const mean = logits.reduce((a, b) => a + b, 0) / classes
      return read(logSumExp.data, row) - (1 - labelSmoothing) * read(logits, label) - labelSmoothing * mean
    })
    return [loss, logSumExp]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => {
      const { x, weight, labels, bias } = operandsOf(random, setting)
      return { inputs: [x, weight, labels, ...bias], ...describeSetting(setting) }
    }),
    invalid: [
      {
        inputs: [float32(['batch', 8]), float32([9, 7]), int32(['batch'])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 0 },
        message: /^linearCrossEntropy: weight should be of shape \[9, 8\] but got \[9, 7\]/,
      },
      {
        inputs: [float32(['batch', 8]), float32([9, 8]), int32(['time'])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 0 },
        message: /^linearCrossEntropy: labels should be of shape \[batch\] but got \[time\]/,
      },
      {
        inputs: [float32([4, 8]), float32([9, 8]), float32([4])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 0 },
        message: /^linearCrossEntropy: labels should be dtype int32 but got float32/,
      },
      {
        inputs: [float32([4, 8]), float32([9, 8]), int32([4]), float32([8])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 0 },
        message: /^linearCrossEntropy: bias should be of shape \[9\] but got \[8\]/,
      },
      {
        inputs: [float32([4, 8]), float32([9, 8]), int32([4])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 1 },
        message: /^linearCrossEntropy: labelSmoothing should be at least 0 and below 1 but got 1/,
      },
    ],
  }),
  flops: ([x, weight]) => 2 * product(x as readonly number[]) * ((weight as readonly number[])[0] as number),
})

const backwardOp: Op<LinearCrossEntropyAttributes> = defineOp<LinearCrossEntropyAttributes>({
  name: 'linearCrossEntropyBackward',
  infer(inputs, attributes) {
    const [x, weight, , logSumExp, dloss, dlogSumExp, bias] = inputs as readonly TensorSpec[]
    requireOperands('linearCrossEntropyBackward', inputs, bias, attributes)
    for (const [argument, spec] of Object.entries({ logSumExp, dloss, dlogSumExp })) {
      requireDtype('linearCrossEntropyBackward', argument, spec as TensorSpec, 'float32')
      requireShape('linearCrossEntropyBackward', argument, spec as TensorSpec, (inputs[2] as TensorSpec).shape)
    }
    return [x as TensorSpec, weight as TensorSpec, ...(bias ? [bias] : [])]
  },
  vjp: 'cross entropy has no second derivative here',
  reference(inputs, { ignoreIndex, labelSmoothing }) {
    const [x, weight, labels, logSumExp, dloss, dlogSumExp, bias] = inputs as readonly [
      ...(readonly [ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray, ReferenceArray]),
      ...ReferenceArray[],
    ]
    const [classes, channels] = weight.shape as [number, number]
    const [dx, dweight, dbias] = [array(x.shape), array(weight.shape), array([classes])]
    const plus = ({ data }: ReferenceArray, index: number, value: number) => {
      data[index] = read(data, index) + value
    }
    for (let row = 0; row < product(labels.shape); row++) {
      const label = labelOf(labels, row, classes, ignoreIndex)
      const up = label === null ? 0 : read(dloss.data, row)
      logitsOf(x, weight, bias, row).forEach((logit, c) => {
        const p = Math.exp(logit - read(logSumExp.data, row))
        const wanted = (c === label ? 1 - labelSmoothing : 0) + labelSmoothing / classes
        const dlogit = p * (up + read(dlogSumExp.data, row)) - up * wanted
        plus(dbias, c, dlogit)
        for (let i = 0; i < channels; i++) {
          plus(dx, row * channels + i, dlogit * read(weight.data, c * channels + i))
          plus(dweight, c * channels + i, dlogit * read(x.data, row * channels + i))
        }
      })
    }
    return bias ? [dx, dweight, dbias] : [dx, dweight]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => {
      const { x, weight, labels, bias } = operandsOf(random, setting)
      const logSumExp = array(labels.shape, (row) => Math.fround(logSumExpOf(logitsOf(x, weight, bias[0], row))))
      const cotangents = [floats(random, labels.shape), floats(random, labels.shape)]
      return { inputs: [x, weight, labels, logSumExp, ...cotangents, ...bias], ...describeSetting(setting) }
    }),
    invalid: [
      {
        inputs: [float32([4, 8]), float32([9, 8]), int32([4]), float32([4]), float32([9]), float32([4])],
        attributes: { ignoreIndex: IGNORED, labelSmoothing: 0 },
        message: /^linearCrossEntropyBackward: dloss should be of shape \[4\] but got \[9\]/,
      },
    ],
  }),
  flops: ([x, weight]) => 6 * product(x as readonly number[]) * ((weight as readonly number[])[0] as number),
})

interface Setting {
  readonly lead: readonly number[]
  readonly channels: number
  readonly classes: number
  readonly bias?: boolean
  readonly labelSmoothing?: number
}

const settings = (random: Random): Setting[] => [
  { lead: [LIVE], channels: 8, classes: 37 },
  { lead: [LIVE, 3], channels: 5, classes: 9, bias: true, labelSmoothing: 0.1 },
  { lead: [3], channels: 4, classes: LIVE, bias: true },
  { lead: [1 + random.int(20)], channels: 1 + random.int(9), classes: 1 + random.int(300), labelSmoothing: 0.25 },
  { lead: [1], channels: 1, classes: 1 },
  { lead: [0], channels: 3, classes: 4, bias: true },
  { lead: [2], channels: 0, classes: 3, bias: true },
  { lead: [], channels: 7, classes: 5 },
]

function operandsOf(random: Random, { lead, channels, classes, bias }: Setting) {
  return {
    x: floats(random, [...lead, channels]),
    weight: floats(random, [classes, channels]),
    // Every third row or so is ignored; where classes are live, a prefix of them may be left, even none.
    labels: typed('int32', lead, () => (classes === LIVE || random.int(3) === 0 ? IGNORED : random.int(classes))),
    bias: bias ? [floats(random, [classes])] : [],
  }
}

function describeSetting({
  lead,
  classes,
  labelSmoothing = 0,
}: Setting): Omit<OpCase<LinearCrossEntropyAttributes>, 'inputs'> {
  const isLive = lead.includes(LIVE) || classes === LIVE
  return { attributes: { ignoreIndex: IGNORED, labelSmoothing }, ...(isLive ? { live: LIVE } : {}) }
}

export interface LinearCrossEntropyOptions<C extends Dim = Dim> {
  /** Added to the logits. */
  readonly bias?: Tensor<readonly [C], 'float32'>
  /** Rows with this label have loss and gradient 0; default -100. */
  readonly ignoreIndex?: number
  /** Share of the target that is spread evenly over all classes (Szegedy et al. 2016); default 0. */
  readonly labelSmoothing?: number
}

/**
 * -log softmax(x weight^T + bias)[label] per row of `x[..., D]`, and the logarithm of the sum of exponentials, without
 * ever keeping the logits [..., C]: memory does not grow with C.
 *
 * Throws KAIROS_SHAPE when the operands do not fit, KAIROS_DTYPE unless labels are int32 and the others float32,
 * KAIROS_ARGUMENT unless 0 <= labelSmoothing < 1. A run fails with KAIROS_ID_RANGE when a label is neither in [0, C)
 * nor `ignoreIndex`.
 * Source: Wijmans et al., "Cut your losses in large-vocabulary language models", 2024, algorithms 1 to 3.
 */
export function linearCrossEntropy<Lead extends Shape, D extends Dim, C extends Dim>(
  x: Tensor<readonly [...Lead, D], 'float32'>,
  weight: Tensor<readonly [C, NoInfer<D>], 'float32'>,
  labels: Tensor<readonly [...Lead], 'int32'>,
  { bias, ignoreIndex = IGNORED, labelSmoothing = 0 }: LinearCrossEntropyOptions<NoInfer<C>> = {},
): { loss: Tensor<readonly [...Lead], 'float32'>; logSumExp: Tensor<readonly [...Lead], 'float32'> } {
  const operands: Loose[] = [x as Loose, weight as Loose, labels as Loose, ...(bias ? [bias as Loose] : [])]
  const [loss, logSumExp] = forwardOp(operands, { ignoreIndex, labelSmoothing })
  return { loss: loss as Loose, logSumExp: logSumExp as Loose }
}
