/**
 * Scaled dot-product attention in one pass, without a matrix of weights in memory.
 *
 * Heads stand beside channels, q[batch, L, heads, d], so what a linear layer gives is attended to where it lies.
 * Source: Vaswani et al., "Attention is all you need", 2017; tiles and running maxima after Dao et al.,
 * "FlashAttention", 2022; heads that share keys after Ainslie et al., "GQA", 2023.
 */
import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { philox4x32, type Random } from '../core/random.js'
import { defineOp, type OpCase, type ReferenceArray, refuse, requireDtype, requireRank } from '../graph/defineOp.js'
import { input } from '../graph/leaf.js'
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

/** `range` and `bias` say which operands follow q, k, v, in this order; a rate above 0 that `random` does, last. */
export type AttentionAttributes = {
  scale: number
  causal: boolean
  range: boolean
  bias: boolean
  rate: number
  salt: number
}
type Three<T> = readonly [T, T, T]
type Six<T> = readonly [T, T, T, T, T, T]
type BackwardAttributes = AttentionAttributes & { dlogSumExp: boolean }

/** Widest head that kernels take: their tiles are as wide. */
export const WIDEST_HEAD = 65_536

interface Optional<T> {
  readonly range?: T
  readonly bias?: T
  readonly random?: T
}

/** Names the operands that follow those every call has. */
function optionalOf<T>(op: string, rest: readonly T[], { range, bias, rate }: AttentionAttributes): Optional<T> {
  const names = [...(range ? ['range'] : []), ...(bias ? ['bias'] : []), ...(rate > 0 ? ['random'] : [])]
  if (rest.length !== names.length) {
    refuse(
      op,
      'operands',
      names.length === 0 ? 'q, k and v alone' : `followed by ${names.join(', ')}`,
      `${rest.length}`,
    )
  }
  return Object.fromEntries(names.map((name, index) => [name, rest[index]]))
}

/** Refuses heads that do not fit each other: q[B, L, H, d], k[B, S, G, d], v[B, S, G, e], G dividing H. */
function requireHeads(op: string, [q, k, v]: Three<TensorSpec>): void {
  for (const [name, spec] of Object.entries({ q, k, v }) as [string, TensorSpec][]) {
    requireDtype(op, name, spec, 'float32')
    requireRank(op, name, spec, 4, 4)
    const width = at(spec.shape, 3)
    const least = name === 'v' ? 0 : 1
    if (typeof width === 'number' && (width < least || width > WIDEST_HEAD))
      refuse(op, name, `of ${least} to ${WIDEST_HEAD} channels a head`, `${width}`)
  }
  const [keys, groups] = [at(k.shape, 1), at(k.shape, 2)]
  requireShape(op, 'k', k, [at(q.shape, 0), keys, groups, at(q.shape, 3)])
  requireShape(op, 'v', v, [at(q.shape, 0), keys, groups, at(v.shape, 3)])
  const heads = at(q.shape, 2)
  const divides =
    typeof heads === 'number' && typeof groups === 'number' && groups > 0 && heads > 0 && heads % groups === 0
  if (heads !== groups && !divides) refuse(op, 'k', `of a number of heads that divides the ${heads} of q`, `${groups}`)
}

function requireOperands(
  op: string,
  heads: Three<TensorSpec>,
  { range, bias, random }: Optional<TensorSpec>,
  { scale, rate, salt }: AttentionAttributes,
): void {
  requireHeads(op, heads)
  const [q, k] = heads
  if (range) {
    requireDtype(op, 'range', range, 'int32')
    requireShape(op, 'range', range, [at(q.shape, 0), 2])
  }
  if (bias) {
    requireDtype(op, 'bias', bias, 'float32')
    const each = [at(q.shape, 0), at(q.shape, 2), at(q.shape, 1), at(k.shape, 1)]
    requireShape(op, 'bias', bias, bias.shape.length === 4 ? each : each.slice(1))
  }
  if (random) {
    requireDtype(op, 'random', random, 'int32')
    requireShape(op, 'random', random, [2])
  }
  if (!Number.isFinite(scale)) refuseArgument(op, 'scale', 'a finite number', scale)
  if (!(rate >= 0 && rate < 1)) refuseArgument(op, 'rate', 'in [0, 1)', rate)
  if (!Number.isInteger(salt)) refuseArgument(op, 'salt', 'a whole number', salt)
}

const logSumExpShape = ({ shape: [batch, queries, heads] }: TensorSpec): Dim[] => [batch, heads, queries] as Dim[]

const forwardOp = defineOp<AttentionAttributes>({
  name: 'attention',
  infer([q, k, v, ...rest]: readonly [...Three<TensorSpec>, ...TensorSpec[]], attributes) {
    requireOperands('attention', [q, k, v], optionalOf('attention', rest, attributes), attributes)
    return [float32([...q.shape.slice(0, 3), at(v.shape, 3)]), float32(logSumExpShape(q))]
  },
  vjp: gradient(({ inputs, outputs: [y, logSumExp], cotangents, attributes }) => {
    const [q, k, v, ...rest] = inputs as readonly Loose[] as readonly [...Three<Loose>, ...Loose[]]
    const [dy, dlogSumExp] = cotangents as readonly (Loose | null)[]
    const results = backwardOp(
      [q, k, v, y, logSumExp, dy ?? (full(y.shape, 0) as Loose), ...(dlogSumExp ? [dlogSumExp] : []), ...rest],
      { ...attributes, dlogSumExp: dlogSumExp !== null },
    ) as readonly Loose[]
    const after = [...(attributes.range ? [null] : []), ...results.slice(3), ...(attributes.rate > 0 ? [null] : [])]
    return [...results.slice(0, 3), ...after]
  }),
  reference([q, k, v, ...rest]: readonly [...Three<ReferenceArray>, ...ReferenceArray[]], a) {
    const y = array([...q.shape.slice(0, 3), read(v.shape, 3)])
    const logSumExp = array(logSumExpShape(q) as number[])
    const width = read(v.shape, 3)
    forEachQuery([q, k, v], optionalOf('attention', rest, a), a, ({ query, row, keys }) => {
      const most = keys.reduce((greatest, { score }) => Math.max(greatest, score), Number.NEGATIVE_INFINITY)
      const sum =
        most === Number.NEGATIVE_INFINITY ? 0 : keys.reduce((total, { score }) => total + Math.exp(score - most), 0)
      logSumExp.data[row] = sum === 0 ? Number.NEGATIVE_INFINITY : most + Math.log(sum)
      if (sum === 0) return
      for (const { score, key, keep } of keys) {
        const weight = (keep * Math.exp(score - most)) / sum
        for (let c = 0; c < width; c++) add(y, query * width + c, weight * read(v.data, key * width + c))
      }
    })
    return [y, logSumExp]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => makeCase(random, setting)),
    invalid: [
      {
        inputs: [float32(['batch', 50, 4, 16]), float32(['batch', 50, 3, 16]), float32(['batch', 50, 3, 16])],
        attributes: plain,
        message: /^attention: k should be of a number of heads that divides the 4 of q but got 3/,
      },
      {
        inputs: [float32(['batch', 50, 4, 16]), float32(['batch', 50, 4, 8]), float32(['batch', 50, 4, 16])],
        attributes: plain,
        message: /^attention: k should be of shape \[batch, 50, 4, 16\] but got \[batch, 50, 4, 8\]/,
      },
      {
        inputs: [float32([2, 5, 64]), float32([2, 5, 64]), float32([2, 5, 64])],
        attributes: plain,
        message: /^attention: q should be rank 4 but got shape \[2, 5, 64\]/,
      },
      {
        inputs: [...[1, 2, 3].map(() => float32([2, 5, 1, 4])), int32([3, 2])],
        attributes: { ...plain, range: true },
        message: /^attention: range should be of shape \[2, 2\] but got \[3, 2\]/,
      },
      {
        inputs: [...[1, 2, 3].map(() => float32([2, 5, 3, 4])), float32([3, 5, 4])],
        attributes: { ...plain, bias: true },
        message: /^attention: bias should be of shape \[3, 5, 5\] but got \[3, 5, 4\]/,
      },
      {
        inputs: [...[1, 2, 3].map(() => float32([2, 5, 3, 4])), int32([2])],
        attributes: { ...plain, rate: 1 },
        message: /^attention: rate should be in \[0, 1\) but got 1/,
      },
      {
        inputs: [1, 2, 3].map(() => float32([2, 5, 3, 4])),
        attributes: { ...plain, range: true },
        message: /^attention: operands should be followed by range but got 0/,
      },
      {
        inputs: [1, 2, 3].map(() => float32([2, 5, 3, 4])),
        attributes: { ...plain, scale: Number.NaN },
        message: /^attention: scale should be a finite number but got NaN/,
      },
    ],
  }),
  flops: ([q, k, , ...rest], [y]) => flops(2, q, k, y, rest.length),
})

const backwardOp = defineOp<BackwardAttributes>({
  name: 'attentionBackward',
  infer([q, k, v, y, logSumExp, dy, ...rest]: readonly [...Six<TensorSpec>, ...TensorSpec[]], attributes) {
    const op = 'attentionBackward'
    const dlogSumExp = attributes.dlogSumExp ? (rest[0] ?? dy) : logSumExp
    const optional = optionalOf(op, attributes.dlogSumExp ? rest.slice(1) : rest, attributes)
    requireOperands(op, [q, k, v], optional, attributes)
    const result = [...q.shape.slice(0, 3), at(v.shape, 3)]
    for (const [name, spec, shape] of [
      ['y', y, result],
      ['logSumExp', logSumExp, logSumExpShape(q)],
      ['dy', dy, result],
      ['dlogSumExp', dlogSumExp, logSumExpShape(q)],
    ] as const) {
      requireDtype(op, name, spec, 'float32')
      requireShape(op, name, spec, shape)
    }
    return [q, k, v, ...(optional.bias ? [optional.bias] : [])]
  },
  vjp: 'attention has no second derivative here',
  reference([q, k, v, y, logSumExp, dy, ...rest]: readonly [...Six<ReferenceArray>, ...ReferenceArray[]], attributes) {
    const { scale } = attributes
    const dlogSumExp = attributes.dlogSumExp ? rest[0] : undefined
    const optional = optionalOf('attentionBackward', attributes.dlogSumExp ? rest.slice(1) : rest, attributes)
    const [dq, dk, dv] = [array(q.shape), array(k.shape), array(v.shape)]
    const dbias = array(optional.bias?.shape ?? [0])
    const [width, out] = [read(q.shape, 3), read(v.shape, 3)]
    forEachQuery([q, k, v], optional, attributes, ({ query, row, keys }) => {
      const total = read(logSumExp.data, row)
      if (total === Number.NEGATIVE_INFINITY) return
      const dyTimes = (other: ReferenceArray, index: number) =>
        sumOver(out, (c) => read(dy.data, query * out + c) * read(other.data, index * out + c))
      const own = dyTimes(y, query) - (dlogSumExp ? read(dlogSumExp.data, row) : 0)
      for (const { score, key, keep, biasIndex } of keys) {
        const weight = Math.exp(score - total)
        const dscore = weight * (keep * dyTimes(v, key) - own)
        if (optional.bias) add(dbias, biasIndex, dscore)
        for (let c = 0; c < out; c++) add(dv, key * out + c, keep * weight * read(dy.data, query * out + c))
        for (let c = 0; c < width; c++) {
          add(dq, query * width + c, dscore * scale * read(k.data, key * width + c))
          add(dk, key * width + c, dscore * scale * read(q.data, query * width + c))
        }
      }
    })
    return [dq, dk, dv, ...(optional.bias ? [dbias] : [])]
  },
  cases: (random) => ({
    valid: settings(random).map((setting) => makeBackwardCase(random, setting)),
    invalid: [
      {
        inputs: [...[1, 2, 3, 4].map(() => float32([2, 5, 3, 4])), float32([2, 3, 5]), float32([2, 5, 4, 3])],
        attributes: { ...plain, dlogSumExp: false },
        message: /^attentionBackward: dy should be of shape \[2, 5, 3, 4\] but got \[2, 5, 4, 3\]/,
      },
      {
        inputs: [...[1, 2, 3, 4].map(() => float32([2, 5, 3, 4])), float32([2, 5, 3]), float32([2, 5, 3, 4])],
        attributes: { ...plain, dlogSumExp: false },
        message: /^attentionBackward: logSumExp should be of shape \[2, 3, 5\] but got \[2, 5, 3\]/,
      },
    ],
  }),
  flops: ([q, k, v, , , , ...rest]) =>
    flops(5, q, k, [...(q as number[]).slice(0, 3), (v as number[])[3] as number], rest.length),
})

/** Multiplications and additions of `products` products, half over channels of keys, half over those of values. */
function flops(
  products: number,
  q: readonly number[] = [],
  k: readonly number[] = [],
  y: readonly number[] = [],
  extra = 0,
): number {
  const pairs = product(q.slice(0, 3)) * read(k, 1)
  return pairs * (products * (read(q, 3) + read(y, 3)) + 5 + extra)
}

// Reference --------------------------------------------------------------------------------------------------------

interface ReferenceKey {
  /** Row of k and v: (b * S + j) * G + g. */
  readonly key: number
  readonly score: number
  /** What dropout multiplies the weight by: 0 or 1 / (1 - rate). */
  readonly keep: number
  readonly biasIndex: number
}
interface ReferenceQuery {
  /** Row of q and y: (b * L + i) * H + h. */
  readonly query: number
  /** Element of logSumExp. */
  readonly row: number
  readonly keys: readonly ReferenceKey[]
}

/** Visits every query with the keys that it sees. */
function forEachQuery(
  [q, k]: Three<ReferenceArray>,
  { range, bias, random }: Optional<ReferenceArray>,
  { scale, causal, rate, salt }: AttentionAttributes,
  visit: (query: ReferenceQuery) => void,
): void {
  const [batch = 0, queries = 0, heads = 0, width = 0] = q.shape
  const [, count = 0, groups = 0] = k.shape
  const shared = bias?.shape.length === 3
  for (let b = 0; b < batch; b++) {
    const [start, end] = range ? rangeOf(range, b, count) : [0, count]
    for (let h = 0; h < heads; h++) {
      const group = Math.floor(h / (heads / groups))
      for (let i = 0; i < queries; i++) {
        const query = (b * queries + i) * heads + h
        const row = (b * heads + h) * queries + i
        const keys: ReferenceKey[] = []
        for (let j = start; j < (causal ? Math.min(end, i + count - queries + 1) : end); j++) {
          const key = (b * count + j) * groups + group
          const biasIndex = ((shared ? h : b * heads + h) * queries + i) * count + j
          const score = scale * sumOver(width, (c) => read(q.data, query * width + c) * read(k.data, key * width + c))
          keys.push({
            key,
            biasIndex,
            score: score + (bias ? read(bias.data, biasIndex) : 0),
            keep: random ? keepOf(random, row * count + j, rate, salt) : 1,
          })
        }
        visit({ query, row, keys })
      }
    }
  }
}

function rangeOf(range: ReferenceArray, b: number, count: number): [number, number] {
  const [start, end] = [read(range.data, 2 * b), read(range.data, 2 * b + 1)]
  const [position, value, limit] = end < 0 || end > count ? [2 * b + 1, end, count] : [2 * b, start, end]
  if (value >= 0 && value <= limit) return [start, end]
  throw new KairosError('KAIROS_ID_RANGE', {
    op: 'attention',
    argument: `range, element ${position}`,
    expected: `in [0, ${limit + 1})`,
    got: `${value}`,
  })
}

function keepOf(random: ReferenceArray, index: number, rate: number, salt: number): number {
  const words = new Uint32Array(4)
  const block = Math.floor(index / 4)
  const [seed, step] = [read(random.data, 0), read(random.data, 1)]
  philox4x32([block >>> 0, Math.floor(block / 2 ** 32), step, 0], [seed, salt], words)
  return read(words, index % 4) >= Math.floor(rate * 2 ** 32) ? 1 / (1 - rate) : 0
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

const plain: AttentionAttributes = { scale: 0.5, causal: false, range: false, bias: false, rate: 0, salt: 0 }

/** A call by its sizes and what it switches on. */
export interface AttentionSetting {
  readonly batch: number
  readonly queries: number
  readonly keys: number
  readonly heads: number
  readonly groups?: number
  readonly width: number
  readonly valueWidth?: number
  readonly causal?: boolean
  readonly range?: 'left' | 'right' | 'both'
  readonly bias?: 'shared' | 'each'
  readonly rate?: number
  readonly live?: boolean
}

const settings = (random: Random): AttentionSetting[] => [
  { batch: LIVE, queries: 5, keys: 5, heads: 2, width: 8, live: true },
  { batch: LIVE, queries: 7, keys: 7, heads: 1, width: 5, valueWidth: 3, causal: true, range: 'left', live: true },
  { batch: 2, queries: LIVE, keys: 9, heads: 2, width: 4, causal: true, bias: 'shared', live: true },
  { batch: 2, queries: 3, keys: LIVE, heads: 2, groups: 1, width: 4, causal: true, live: true },
  { batch: LIVE, queries: 4, keys: 9, heads: 2, width: 3, bias: 'each', range: 'right', rate: 0.5, live: true },
  { batch: 2, queries: 5, keys: 8, heads: 4, groups: 2, width: 17, valueWidth: 9, bias: 'shared', range: 'both' },
  { batch: 3, queries: 1, keys: 9, heads: 2, width: 16, causal: true, range: 'left' },
  { batch: 2, queries: 9, keys: 4, heads: 1, width: 3, causal: true, rate: 0.3 },
  { batch: 2, queries: 2, keys: 7, heads: 3, groups: 1, width: 1, bias: 'each', causal: true, rate: 0.9 },
  { batch: 1, queries: 1, keys: 1, heads: 1, width: 1 },
  {
    batch: 1,
    queries: 1 + random.int(20),
    keys: 1 + random.int(40),
    heads: 2,
    width: 1 + random.int(40),
    range: 'both',
  },
  { batch: 0, queries: 3, keys: 3, heads: 2, width: 4, range: 'left', bias: 'shared' },
  { batch: 2, queries: 0, keys: 3, heads: 2, width: 4, bias: 'each' },
  { batch: 2, queries: 3, keys: 0, heads: 2, width: 4, causal: true },
  { batch: 2, queries: 3, keys: 4, heads: 2, width: 4, valueWidth: 0 },
]

const attributesOf = ({ width, causal, range, bias, rate = 0 }: AttentionSetting, random: Random) => ({
  scale: 1 / Math.sqrt(width),
  causal: causal === true,
  range: range !== undefined,
  bias: bias !== undefined,
  rate,
  salt: rate > 0 ? random.int(100) : 0,
})

function operandsOf(random: Random, setting: AttentionSetting): [heads: ReferenceArray[], rest: ReferenceArray[]] {
  const { batch, queries, keys, heads, groups = heads, width, valueWidth = width, range, bias, rate } = setting
  const seed = [random.int(2 ** 31), random.int(1000)]
  return [
    [
      floats(random, [batch, queries, heads, width]),
      floats(random, [batch, keys, groups, width]),
      floats(random, [batch, keys, groups, valueWidth]),
    ],
    [
      ...(range ? [ranges(random, batch, keys, range)] : []),
      ...(bias ? [floats(random, [...(bias === 'each' ? [batch] : []), heads, queries, keys])] : []),
      ...(rate ? [typed('int32', [2], (index) => read(seed, index))] : []),
    ],
  ]
}

/** Some rows are full, some empty; the first is full: where all see one key, gradients are 0 but for rounding. */
function ranges(random: Random, batch: number, keys: number, side: 'left' | 'right' | 'both'): ReferenceArray {
  const edges = Array.from({ length: batch }, (_, row) => {
    if (row === 0) return [0, keys]
    const start = side === 'right' ? 0 : random.int(keys + 1)
    return [start, side === 'left' ? keys : start + random.int(keys - start + 1)]
  }).flat()
  return typed('int32', [batch, 2], (index) => read(edges, index))
}

export function makeCase(random: Random, setting: AttentionSetting): OpCase<AttentionAttributes> {
  const [heads, rest] = operandsOf(random, setting)
  return {
    inputs: [...heads, ...rest],
    attributes: attributesOf(setting, random),
    ...(setting.live ? { live: LIVE } : {}),
  }
}

export function makeBackwardCase(random: Random, setting: AttentionSetting): OpCase<BackwardAttributes> {
  const [heads, rest] = operandsOf(random, setting)
  const attributes = attributesOf(setting, random)
  const results = forwardOp.definition.reference([...heads, ...rest], attributes)
  const [y, logSumExp] = results.map(({ shape, data }) => array(shape, (i) => Math.fround(read(data, i))))
  // Without, gradients by a single key's score are 0 but for rounding.
  const dlogSumExp = setting.keys === LIVE || random.int(2) === 1
  return {
    inputs: [
      ...heads,
      y as ReferenceArray,
      logSumExp as ReferenceArray,
      floats(random, (y as ReferenceArray).shape),
      ...(dlogSumExp ? [floats(random, (logSumExp as ReferenceArray).shape)] : []),
      ...rest,
    ],
    attributes: { ...attributes, dlogSumExp },
    ...(setting.live ? { live: LIVE } : {}),
  }
}

// Public -----------------------------------------------------------------------------------------------------------

export interface AttentionOptions<B extends Dim> {
  /** What products of queries and keys are multiplied by: 1 / sqrt(d) unless given. */
  readonly scale?: number
  /** Query i sees keys j <= i + (S - L): itself and earlier ones, the last query aligned with the last key. */
  readonly causal?: boolean
  /** Keys [start, end) that a row of the batch may see: padding on either side stays out, and costs nothing. */
  readonly range?: Tensor<readonly [B, 2], 'int32'>
  /** Added to the scores: [H, L, S] for all rows of the batch, or [B, H, L, S]. */
  readonly bias?: Tensor<readonly [Dim, Dim, Dim] | readonly [B, Dim, Dim, Dim], 'float32'>
  /** Dropout of weights, drawn as `dropout` draws: element ((b H + h) L + i) S + j. */
  readonly dropout?: {
    readonly rate: number
    readonly random?: Tensor<readonly [2], 'int32'>
    readonly salt?: number
  }
}

/**
 * softmax(scale q k^T + bias) v for every head: q[B, L, H, d], k[B, S, G, d], v[B, S, G, e] -> [B, L, H, e]. When G is
 * less than H, which it divides, H / G neighbouring heads of q share one head of keys and values. A query that sees no
 * key gives 0, and its gradient is 0.
 *
 * Throws KAIROS_SHAPE when shapes do not fit, KAIROS_DTYPE for other types, KAIROS_ARGUMENT for a scale that is not
 * finite or a rate outside [0, 1). A run fails with KAIROS_ID_RANGE unless 0 <= start <= end <= S in every row.
 * Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
 */
export function attention<
  B extends Dim,
  L extends Dim,
  H extends Dim,
  D extends Dim,
  S extends Dim,
  G extends Dim,
  E extends Dim,
>(
  q: Tensor<readonly [B, L, H, D], 'float32'>,
  k: Tensor<readonly [NoInfer<B>, S, G, NoInfer<D>], 'float32'>,
  v: Tensor<readonly [NoInfer<B>, NoInfer<S>, NoInfer<G>, E], 'float32'>,
  { scale, causal = false, range, bias, dropout }: AttentionOptions<NoInfer<B>> = {},
): Tensor<readonly [B, L, H, E], 'float32'> {
  const rate = dropout?.rate ?? 0
  const feed = input('random', [2], 'int32')
  const rest = [range, bias, rate === 0 ? undefined : (dropout?.random ?? feed)]
  return forwardOp([q as Loose, k as Loose, v as Loose, ...rest.filter((operand) => operand !== undefined)], {
    scale: scale ?? defaultScale('attention', q.shape as readonly Dim[]),
    causal,
    range: range !== undefined,
    bias: bias !== undefined,
    rate,
    // As of `dropout`: a negative salt stands for "one of its own" until tracing numbers them.
    salt: rate === 0 ? 0 : (dropout?.salt ?? -feed.value.node.id),
  })[0] as Loose
}

/** 1 / sqrt(d), for heads of literal width. */
export function defaultScale(op: string, shape: readonly Dim[]): number {
  const width = shape.at(-1)
  if (typeof width === 'number' && width > 0) return 1 / Math.sqrt(width)
  refuse(op, 'q', 'of a literal number of channels a head, or the scale given', `${width}`)
}
