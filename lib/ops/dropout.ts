/** Dropout by counter-based random numbers: the mask is a function of seed, salt, step and position alone. */
import type { Shape } from '../core/dim.js'
import { philox4x32, type Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, requireDtype } from '../graph/defineOp.js'
import { input } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import {
  array,
  float32,
  floats,
  gradient,
  int32,
  LIVE,
  type Loose,
  read,
  refuseArgument,
  requireShape,
  someShapes,
  typed,
} from './support.js'

type DropoutAttributes = { rate: number; salt: number }

const dropoutOp: Op<DropoutAttributes> = defineOp<DropoutAttributes>({
  name: 'dropout',
  infer([x, random]: readonly [TensorSpec, TensorSpec], { rate, salt }) {
    requireDtype('dropout', 'x', x, 'float32')
    requireDtype('dropout', 'random', random, 'int32')
    requireShape('dropout', 'random', random, [2])
    if (!(rate >= 0 && rate < 1)) refuseArgument('dropout', 'rate', 'in [0, 1)', rate)
    if (!Number.isInteger(salt)) refuseArgument('dropout', 'salt', 'a whole number', salt)
    return [x]
  },
  // Linear in x, and the same seed, salt and step draw the same mask again: nothing is kept.
  vjp: gradient(({ inputs: [, random], cotangents: [dy], attributes }) => [
    dropoutOp([dy, random], attributes)[0] as Loose,
    null,
  ]),
  reference([x, random]: readonly [ReferenceArray, ReferenceArray], { rate, salt }) {
    const [seed, step] = [read(random.data, 0), read(random.data, 1)]
    const threshold = Math.floor(rate * 2 ** 32)
    const words = new Uint32Array(4)
    return [
      array(x.shape, (index) => {
        const block = Math.floor(index / 4)
        philox4x32([block >>> 0, Math.floor(block / 2 ** 32), step, 0], [seed, salt], words)
        return read(words, index % 4) >= threshold ? read(x.data, index) / (1 - rate) : 0
      }),
    ]
  },
  cases: (random) => ({
    valid: [[LIVE, 37], [257], ...someShapes(random, 2)].map((shape) => makeCase(random, shape)),
    invalid: [
      {
        inputs: [float32([3]), int32([2])],
        attributes: { rate: 1, salt: 0 },
        message: /^dropout: rate should be in \[0, 1\) but got 1/,
      },
      {
        inputs: [float32([3]), int32([3])],
        attributes: { rate: 0.5, salt: 0 },
        message: /^dropout: random should be of shape \[2\] but got \[3\]/,
      },
      {
        inputs: [int32([3]), int32([2])],
        attributes: { rate: 0.5, salt: 0 },
        message: /^dropout: x should be dtype float32 but got int32/,
      },
    ],
  }),
})

function makeCase(random: Random, shape: readonly number[]): OpCase<DropoutAttributes> {
  const key = [random.int(2 ** 31), random.int(1000)]
  return {
    inputs: [floats(random, shape), typed('int32', [2], (index) => read(key, index))],
    attributes: { rate: [0.1, 0.5, 0.9][random.int(3)] as number, salt: random.int(100) },
    ...(shape[0] === LIVE ? { live: LIVE } : {}),
  }
}

/**
 * Zeroes elements with probability `rate` and scales the others by 1 / (1 - rate), so that means stay.
 *
 * `random` holds seed and step; by default it is the feed that training steps supply. Calls with equal `salt` draw
 * equal masks; by default each call of a model has its own, numbered in the order of tracing. Rate 0 is the identity.
 *
 * Throws KAIROS_ARGUMENT unless 0 <= rate < 1, KAIROS_DTYPE unless `x` is float32.
 * Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
 */
export function dropout<S extends Shape>(
  x: Tensor<S, 'float32'>,
  {
    rate,
    random,
    salt,
  }: { readonly rate: number; readonly random?: Tensor<readonly [2], 'int32'>; readonly salt?: number },
): Tensor<S, 'float32'> {
  if (rate === 0) return x
  const feed = input('random', [2], 'int32')
  // A negative salt stands for "one of its own" until tracing numbers them; the feed's node is new with each call.
  return dropoutOp([x, random ?? feed], { rate, salt: salt ?? -feed.value.node.id })[0] as Loose
}
