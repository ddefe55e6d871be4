/** Negatives drawn inside a program by counter-based random numbers: a function of seed, salt, step and place alone. */
import { type Dim, normalizeDim, type Shape } from '../core/dim.js'
import { philox4x32, type Random } from '../core/random.js'
import { defineOp, type Op, type OpCase, type ReferenceArray, requireDtype } from '../graph/defineOp.js'
import { input } from '../graph/leaf.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { add, divide, reciprocal } from './arithmetic.js'
import { cast } from './comparison.js'
import { float32, int32, LIVE, type Loose, noGradient, read, refuseArgument, requireShape, typed } from './support.js'
import { log, log1p } from './transcendental.js'

type SampleAttributes = { dims: readonly Dim[]; classes: number; octaves: number; salt: number }

export type Distribution = 'uniform' | 'logUniform'

const MOST_CLASSES = 2 ** 31 - 1

/**
 * 2^x for x in [0, 32), from operations that IEEE 754 rounds in one way: the kernel has the same ones, so both draw the
 * same ids.
 */
function powerOfTwo(x: number): number {
  const whole = Math.floor(x)
  const t = (x - whole) * Math.LN2
  let series = 1
  for (let n = 14; n > 0; n--) series = 1 + (series * t) / n
  return series * 2 ** whole
}

const sampleOp: Op<SampleAttributes> = defineOp<SampleAttributes>({
  name: 'sampleNegatives',
  infer([random]: readonly [TensorSpec], { dims, classes, octaves, salt }) {
    requireDtype('sampleNegatives', 'random', random, 'int32')
    requireShape('sampleNegatives', 'random', random, [2])
    if (!Number.isInteger(classes) || classes < 1 || classes > MOST_CLASSES) {
      refuseArgument('sampleNegatives', 'classes', 'a whole number in [1, 2^31)', classes)
    }
    if (!(octaves >= 0 && octaves <= 31)) refuseArgument('sampleNegatives', 'octaves', 'in [0, 31]', octaves)
    if (!Number.isInteger(salt)) refuseArgument('sampleNegatives', 'salt', 'a whole number', salt)
    return [int32(dims)]
  },
  vjp: noGradient,
  reference([random]: readonly [ReferenceArray], { dims, classes, octaves, salt }) {
    const [seed, step] = [read(random.data, 0), read(random.data, 1)]
    const words = new Uint32Array(4)
    return [
      typed('int32', dims as number[], (index) => {
        const block = Math.floor(index / 2)
        philox4x32([block >>> 0, Math.floor(block / 2 ** 32), step, 0], [seed, salt], words)
        const [high, low] = [read(words, 2 * (index % 2)) >>> 5, read(words, 2 * (index % 2) + 1) >>> 6]
        const uniform = (high * 2 ** 26 + low) * 2 ** -53
        const id = octaves > 0 ? Math.floor(powerOfTwo(uniform * octaves)) - 1 : Math.floor(uniform * classes)
        return Math.min(id, classes - 1)
      }),
    ]
  },
  cases: (random) => ({
    valid: [
      makeCase(random, [LIVE, 37], 1000, 0),
      makeCase(random, [257], 3646, Math.log2(3647)),
      makeCase(random, [LIVE, 3], MOST_CLASSES, 31),
      makeCase(random, [5], 1, 1),
      makeCase(random, [0, 3], 9, 0),
      makeCase(random, [], MOST_CLASSES, 0),
    ],
    invalid: [
      {
        inputs: [int32([2])],
        attributes: { dims: [3], classes: 0, octaves: 0, salt: 0 },
        message: /^sampleNegatives: classes should be a whole number in \[1, 2\^31\) but got 0/,
      },
      {
        inputs: [int32([3])],
        attributes: { dims: [3], classes: 5, octaves: 0, salt: 0 },
        message: /^sampleNegatives: random should be of shape \[2\] but got \[3\]/,
      },
      {
        inputs: [float32([2])],
        attributes: { dims: [3], classes: 5, octaves: 0, salt: 0 },
        message: /^sampleNegatives: random should be dtype int32 but got float32/,
      },
      {
        inputs: [int32([2])],
        attributes: { dims: [3], classes: 5, octaves: 32, salt: 0 },
        message: /^sampleNegatives: octaves should be in \[0, 31\] but got 32/,
      },
    ],
  }),
})

function makeCase(random: Random, dims: readonly number[], classes: number, octaves: number): OpCase<SampleAttributes> {
  const key = [random.int(2 ** 31), random.int(1000)]
  return {
    inputs: [typed('int32', [2], (index) => read(key, index))],
    attributes: { dims, classes, octaves, salt: random.int(100) },
    ...(dims.includes(LIVE) ? { live: LIVE } : {}),
  }
}

export interface SampleOptions {
  /** Ids are drawn from [0, classes). */
  readonly classes: number
  /** `logUniform` (the default) draws id i with probability log((i + 2) / (i + 1)) / log(classes + 1). */
  readonly distribution?: Distribution
  /** Seed and step; default: the feed that training steps supply. */
  readonly random?: Tensor<readonly [2], 'int32'>
  /** Calls with equal salts draw equal ids; default: each call of a model has its own. */
  readonly salt?: number
}

/**
 * Ids of negatives, drawn with replacement. Log-uniform ids resemble Zipf's law and suit ids ordered by falling
 * frequency. The same seed, step and salt draw the same ids on every machine and any number of threads.
 *
 * Throws KAIROS_ARGUMENT unless `classes` is a whole number in [1, 2^31) and the distribution is known.
 * Source: Jean et al., "On using very large target vocabulary for neural machine translation", 2015, and the
 * log-uniform sampler of TensorFlow.
 */
export function sampleNegatives<const S extends Shape>(
  shape: S,
  { classes, distribution = 'logUniform', random, salt }: SampleOptions,
): Tensor<S, 'int32'> {
  if (distribution !== 'uniform' && distribution !== 'logUniform') {
    refuseArgument('sampleNegatives', 'distribution', "'uniform' or 'logUniform'", distribution)
  }
  const octaves = distribution === 'logUniform' ? Math.log2(classes + 1) : 0
  const feed = input('random', [2], 'int32')
  const attributes = { dims: shape.map(normalizeDim), classes, octaves, salt: salt ?? -feed.value.node.id }
  return sampleOp([random ?? feed], attributes)[0] as Loose
}

/**
 * The logarithm of the probability with which the log-uniform sampler draws each id.
 *
 * Throws KAIROS_DTYPE unless ids are int32.
 */
export function logUniformLogProbability<S extends Shape>(
  ids: Tensor<S, 'int32'>,
  classes: number,
): Tensor<S, 'float32'> {
  const rank = add(cast(ids, 'float32') as Loose, 1) as Loose
  return log(divide(log1p(reciprocal(rank)) as Loose, Math.log(classes + 1)) as Loose) as Loose
}
