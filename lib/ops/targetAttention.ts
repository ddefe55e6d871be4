/**
 * Attention of a few queries per user, usually one target, over that user's own ragged history: each row of keys and
 * values is read once. Source: Zhou et al., "Deep interest network for click-through rate prediction", 2018, in the
 * dot-product form of Vaswani et al., 2017.
 */
import { addDims, type Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import { defineOp, type OpCase, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { defaultScale, WIDEST_HEAD } from './attention.js'
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

type TargetAttentionAttributes = { scale: number }
type Four<T> = readonly [T, T, T, T]
type Seven<T> = readonly [T, T, T, T, T, T, T]

function requireOperands(op: string, [q, k, v, offsets]: Four<TensorSpec>, scale: number): void {
  for (const [name, spec, rank, least] of [['q', q, 4, 1] as const, ['k', k, 3, 1] as const, ['v', v, 3, 0] as const]) {
    requireDtype(op, name, spec, 'float32')
    requireRank(op, name, spec, rank, rank)
    const width = at(spec.shape, -1)
    if (typeof width === 'number' && (width < least || width > WIDEST_HEAD))
      refuse(op, name, `of ${least} to ${WIDEST_HEAD} channels a head`, `${width}`)
  }
  requireShape(op, 'k', k, [at(k.shape, 0), at(q.shape, 2), at(q.shape, 3)])
  requireShape(op, 'v', v, [at(k.shape, 0), at(q.shape, 2), at(v.shape, 2)])
  requireDtype(op, 'offsets', offsets, 'int32')
  requireShape(op, 'offsets', offsets, [addDims(at(q.shape, 0), 1)])
  if (!Number.isFinite(scale)) refuseArgument(op, 'scale', 'a finite number', scale)
}

const resultShape = (q: TensorSpec, v: TensorSpec): Dim[] => [...q.shape.slice(0, 3), at(v.shape, 2)]
const logSumExpShape = ({ shape: [users, targets, heads] }: TensorSpec): Dim[] => [users, heads, targets] as Dim[]

const forwardOp = defineOp<TargetAttentionAttributes>({
  name: 'targetAttention',
  infer([q, k, v, offsets]: Four<TensorSpec>, { scale }) {
    requireOperands('targetAttention', [q, k, v, offsets], scale)
    return [float32(resultShape(q, v)), float32(logSumExpShape(q))]
  },
  vjp: gradient(({ inputs: [q, k, v, offsets], outputs: [y, logSumExp], cotangents, attributes }) => {
    const [dy, dlogSumExp] = cotangents as readonly (Loose | null)[]
    const operands = [q, k, v, offsets, y, logSumExp, dy ?? (full(y.shape, 0) as Loose)]
    const [dq, dk, dv] = backwardOp([...operands, ...(dlogSumExp ? [dlogSumExp] : [])], attributes)
    return [dq as Loose, dk as Loose, dv as Loose, null]
  }),
  reference([q, k, v, offsets]: Four<ReferenceArray>, { scale }) {
    const y = array(resultShape(q, v) as number[])
    const logSumExp = array(logSumExpShape(q) as number[])
    const width = read(v.shape, 2)
    forEachQuery([q, k, offsets], scale, ({ query, row, keys }) => {
      const most = keys.reduce((greatest, { score }) => Math.max(greatest, score), Number.NEGATIVE_INFINITY)
      const sum = keys.reduce((total, { score }) => total + Math.exp(score - most), 0)
      logSumExp.data[row] = most + Math.log(sum)
      for (const { score, key } of keys) {
        const weight = Math.exp(score - most) / sum
        for (let c = 0; c < width; c++) add(y, query * width + c, weight * read(v.data, key * width + c))
      }
    })
    return [y, logSumExp]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => makeCase(random, setting)),
    invalid: [
      {
        inputs: [float32(['batch', 1, 2, 8]), float32(['n', 2, 8]), float32(['n', 2, 8]), int32(['batch'])],
        attributes: { scale: 1 },
        message: /^targetAttention: offsets should be of shape \[batch\+1\] but got \[batch\]/,
      },
      {
        inputs: [float32(['batch', 1, 2, 8]), float32(['n', 2, 9]), float32(['n', 2, 8]), int32(['batch+1'])],
        attributes: { scale: 1 },
        message: /^targetAttention: k should be of shape \[n, 2, 8\] but got \[n, 2, 9\]/,
      },
      {
        inputs: [float32([3, 1, 2, 8]), float32([9, 2, 8]), float32([8, 2, 8]), int32([4])],
        attributes: { scale: 1 },
        message: /^targetAttention: v should be of shape \[9, 2, 8\] but got \[8, 2, 8\]/,
      },
      {
        inputs: [float32([3, 1, 2, 8]), float32([9, 2, 8]), float32([9, 2, 8]), float32([4])],
        attributes: { scale: 1 },
        message: /^targetAttention: offsets should be dtype int32 but got float32/,
      },
    ],
  }),
  flops: ([q, k], [y]) => flops(2, q, k, y),
})

const backwardOp = defineOp<TargetAttentionAttributes>({
  name: 'targetAttentionBackward',
  infer([q, k, v, offsets, y, logSumExp, dy, ...rest]: readonly [...Seven<TensorSpec>, ...TensorSpec[]], { scale }) {
    const op = 'targetAttentionBackward'
    requireOperands(op, [q, k, v, offsets], scale)
    for (const [name, spec, shape] of [
      ['y', y, resultShape(q, v)],
      ['logSumExp', logSumExp, logSumExpShape(q)],
      ['dy', dy, resultShape(q, v)],
      ['dlogSumExp', rest[0] ?? logSumExp, logSumExpShape(q)],
    ] as const) {
      requireDtype(op, name, spec, 'float32')
      requireShape(op, name, spec, shape)
    }
    return [q, k, v]
  },
  vjp: 'target attention has no second derivative here',
  reference(
    [q, k, v, offsets, y, logSumExp, dy, ...rest]: readonly [...Seven<ReferenceArray>, ...ReferenceArray[]],
    { scale },
  ) {
    const [dq, dk, dv] = [array(q.shape), array(k.shape), array(v.shape)]
    const [width, out] = [read(q.shape, 3), read(v.shape, 2)]
    forEachQuery([q, k, offsets], scale, ({ query, row, keys }) => {
      const dyTimes = (other: ReferenceArray, index: number) =>
        sumOver(out, (c) => read(dy.data, query * out + c) * read(other.data, index * out + c))
      const own = dyTimes(y, query) - (rest[0] ? read(rest[0].data, row) : 0)
      for (const { score, key } of keys) {
        const weight = Math.exp(score - read(logSumExp.data, row))
        const dscore = weight * (dyTimes(v, key) - own) * scale
        for (let c = 0; c < out; c++) add(dv, key * out + c, weight * read(dy.data, query * out + c))
        for (let c = 0; c < width; c++) {
          add(dq, query * width + c, dscore * read(k.data, key * width + c))
          add(dk, key * width + c, dscore * read(q.data, query * width + c))
        }
      }
    })
    return [dq, dk, dv]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => makeBackwardCase(random, setting)),
    invalid: [
      {
        inputs: [
          ...[float32([3, 1, 2, 8]), float32([9, 2, 8]), float32([9, 2, 8]), int32([4])],
          ...[float32([3, 1, 2, 8]), float32([3, 2, 1]), float32([3, 2, 2, 8])],
        ],
        attributes: { scale: 1 },
        message: /^targetAttentionBackward: dy should be of shape \[3, 1, 2, 8\] but got \[3, 2, 2, 8\]/,
      },
    ],
  }),
  flops: ([q, k, v]) => flops(5, q, k, [read(v as number[], 2)]),
})

/** Every row of keys meets the queries of one user. */
const flops = (products: number, q: readonly number[] = [], k: readonly number[] = [], y: readonly number[] = []) =>
  read(q, 1) * product(k.slice(0, 2)) * (products * (read(q, 3) + (y.at(-1) ?? 0)) + 5)

// Reference --------------------------------------------------------------------------------------------------------

interface ReferenceQuery {
  /** Row of q and y, element of logSumExp, and rows of k and v with their scores. */
  readonly query: number
  readonly row: number
  readonly keys: readonly { readonly key: number; readonly score: number }[]
}

function forEachQuery(
  [q, k, offsets]: readonly [ReferenceArray, ReferenceArray, ReferenceArray],
  scale: number,
  visit: (query: ReferenceQuery) => void,
): void {
  const [users = 0, targets = 0, heads = 0, width = 0] = q.shape
  requireOffsets(offsets.data, read(k.shape, 0))
  for (let user = 0; user < users; user++) {
    for (let t = 0; t < targets; t++) {
      for (let h = 0; h < heads; h++) {
        const query = (user * targets + t) * heads + h
        const keys = []
        for (let n = read(offsets.data, user); n < read(offsets.data, user + 1); n++) {
          const key = n * heads + h
          const score = scale * sumOver(width, (c) => read(q.data, query * width + c) * read(k.data, key * width + c))
          keys.push({ key, score })
        }
        visit({ query, row: (user * heads + h) * targets + t, keys })
      }
    }
  }
}

function requireOffsets(offsets: ArrayLike<number>, rows: number): void {
  for (let position = 0; position < offsets.length; position++) {
    const limit = Math.min(offsets[position + 1] ?? rows, rows)
    const value = read(offsets, position)
    if (value >= 0 && value <= limit) continue
    throw new KairosError('KAIROS_ID_RANGE', {
      op: 'targetAttention',
      argument: `offsets, element ${position}`,
      expected: `in [0, ${Math.max(limit, 0) + 1})`,
      got: `${value}`,
    })
  }
}

function add({ data }: ReferenceArray, index: number, value: number): void {
  data[index] = read(data, index) + value
}

function sumOver(count: number, term: (index: number) => number): number {
  let total = 0
  for (let i = 0; i < count; i++) total += term(i)
  return total
}

// Cases ------------------------------------------------------------------------------------------------------------

interface Setting {
  /** Rows of each user. */
  readonly lengths: readonly number[]
  readonly targets: number
  readonly heads: number
  readonly width: number
  readonly valueWidth?: number
  /** Rows before the first user's and after the last one's. */
  readonly unused?: readonly [number, number]
}

const settings = (random: Random): Setting[] => [
  { lengths: [3, 0, 7, 1], targets: LIVE, heads: 2, width: 8 },
  { lengths: [5, 2], targets: LIVE, heads: 1, width: 3, valueWidth: 5, unused: [1, 2] },
  { lengths: Array.from({ length: 9 }, () => random.int(30)), targets: 1, heads: 1, width: 16 },
  { lengths: [random.int(200), 9], targets: 2, heads: 3, width: 1 + random.int(40), valueWidth: 1 + random.int(40) },
  { lengths: [0, 0, 0], targets: 1, heads: 2, width: 4 },
  { lengths: [], targets: 1, heads: 2, width: 4, unused: [0, 3] },
  { lengths: [4], targets: 0, heads: 2, width: 4 },
  { lengths: [4, 3], targets: 1, heads: 2, width: 4, valueWidth: 0 },
]

function operandsOf(
  random: Random,
  { lengths, targets, heads, width, valueWidth = width, unused = [0, 0] }: Setting,
): Four<ReferenceArray> {
  const offsets = [unused[0]]
  for (const length of lengths) offsets.push((offsets.at(-1) as number) + length)
  const rows = (offsets.at(-1) as number) + unused[1]
  return [
    floats(random, [lengths.length, targets, heads, width]),
    floats(random, [rows, heads, width]),
    floats(random, [rows, heads, valueWidth]),
    typed('int32', [offsets.length], (index) => read(offsets, index)),
  ]
}

const liveOf = ({ targets }: Setting) => (targets === LIVE ? { live: LIVE } : {})

export function makeCase(random: Random, setting: Setting): OpCase<TargetAttentionAttributes> {
  const attributes = { scale: 1 / Math.sqrt(setting.width) }
  return { inputs: operandsOf(random, setting), attributes, ...liveOf(setting) }
}

export function makeBackwardCase(random: Random, setting: Setting): OpCase<TargetAttentionAttributes> {
  const operands = operandsOf(random, setting)
  const attributes = { scale: 1 / Math.sqrt(setting.width) }
  const [y, logSumExp] = forwardOp.definition
    .reference(operands, attributes)
    .map(({ shape, data }) => array(shape, (i) => Math.fround(read(data, i)))) as [ReferenceArray, ReferenceArray]
  const dlogSumExp = random.int(2) === 1 ? [floats(random, logSumExp.shape)] : []
  return {
    inputs: [...operands, y, logSumExp, floats(random, y.shape), ...dlogSumExp],
    attributes,
    ...liveOf(setting),
  }
}

// Public -----------------------------------------------------------------------------------------------------------

/**
 * softmax(scale q k^T) v of each user's queries q[B, T, H, d] over its own rows of k[N, H, d] and v[N, H, e]: user b
 * has rows [offsets[b], offsets[b + 1]). Gives [B, T, H, e], 0 for a user without rows. `scale` is 1 / sqrt(d) unless
 * given.
 *
 * Throws KAIROS_SHAPE when shapes do not fit, KAIROS_DTYPE for other types, KAIROS_ARGUMENT for a scale that is not
 * finite. A run fails with KAIROS_ID_RANGE unless 0 <= offsets[0] <= offsets[1] ... <= N.
 * Source: Zhou et al., "Deep interest network for click-through rate prediction", 2018, equation 3, with the dot
 * product of Vaswani et al., 2017, equation 1, as its activation unit.
 */
export function targetAttention<
  B extends Dim,
  T extends Dim,
  H extends Dim,
  D extends Dim,
  N extends Dim,
  E extends Dim,
>(
  q: Tensor<readonly [B, T, H, D], 'float32'>,
  k: Tensor<readonly [N, NoInfer<H>, NoInfer<D>], 'float32'>,
  v: Tensor<readonly [NoInfer<N>, NoInfer<H>, E], 'float32'>,
  offsets: Tensor<readonly [Dim], 'int32'>,
  options: { readonly scale?: number } = {},
): Tensor<readonly [B, T, H, E], 'float32'> {
  return targetAttentionSums(q as Loose, k as Loose, v as Loose, offsets, options).y as Loose
}

/**
 * The same, with log(sum of exp(scores)) of each query, [B, H, T], -Infinity for a user without rows: results over
 * several histories are then one over all of them, each history weighing as much as its sum.
 */
export function targetAttentionSums(
  q: Loose,
  k: Loose,
  v: Loose,
  offsets: Tensor,
  { scale }: { readonly scale?: number } = {},
): { readonly y: Loose; readonly logSumExp: Loose } {
  const [y, logSumExp] = forwardOp([q, k, v, offsets], {
    scale: scale ?? defaultScale('targetAttention', q.shape as readonly Dim[]),
  }) as readonly [Loose, Loose]
  return { y, logSumExp }
}
