/** Matrix products, with bias and activation in the same pass over the result. */
import { type Dim, formatShape, multiplyDims, type Shape, sameShape } from '../core/dim.js'
import { erf64 } from '../core/erf.js'
import type { Random } from '../core/random.js'
import {
  defineOp,
  type Op,
  type OpCase,
  type ReferenceArray,
  refuse,
  requireDtype,
  requireRank,
} from '../graph/defineOp.js'
import type { Tensor, TensorSpec } from '../graph/node.js'
import { geluGradient } from './activation.js'
import { multiply, oneMinus, square } from './arithmetic.js'
import { greater, select } from './comparison.js'
import { reshape, transpose } from './movement.js'
import { sum } from './reduction.js'
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
  someSize,
} from './support.js'

export type Activation = 'none' | 'relu' | 'gelu' | 'sigmoid' | 'tanh'

type MatmulAttributes = { transposeA: boolean; transposeB: boolean; activation: Activation }

const PLAIN: MatmulAttributes = { transposeA: false, transposeB: false, activation: 'none' }

interface Epilogue {
  readonly compute: (z: number) => number
  /** Cotangent before the activation, from the one after it; `z` builds the sum before the activation once more. */
  readonly gradient: (dy: Loose, y: Loose, z: () => Loose) => Loose
}

const epilogues: Readonly<Record<Activation, Epilogue>> = {
  none: { compute: (z) => z, gradient: (dy) => dy },
  relu: { compute: (z) => Math.max(z, 0), gradient: (dy, y) => select(greater(y, 0), dy, 0) },
  gelu: {
    compute: (z) => 0.5 * z * (1 + erf64(z / Math.SQRT2)),
    gradient: (dy, _, z) => multiply(dy, geluGradient(z())),
  },
  sigmoid: { compute: (z) => 1 / (1 + Math.exp(-z)), gradient: (dy, y) => multiply(dy, multiply(y, oneMinus(y))) },
  tanh: { compute: Math.tanh, gradient: (dy, y) => multiply(dy, oneMinus(square(y))) },
}

/**
 * Reads a product's shapes: `a[..., M, K]` by `b[..., K, N]`, each as it stands before its transposition. A `b` of
 * rank 2 is shared by all leading indices of `a`.
 */
function dimsOf<D extends Dim>(a: readonly D[], b: readonly D[], { transposeA, transposeB }: MatmulAttributes) {
  const [m, k] = transposeA ? [a.at(-1) as D, a.at(-2) as D] : [a.at(-2) as D, a.at(-1) as D]
  const [rows, n] = transposeB ? [b.at(-1) as D, b.at(-2) as D] : [b.at(-2) as D, b.at(-1) as D]
  return { lead: a.slice(0, -2), m, k, rows, n, shared: b.length === 2 }
}

const matmulOp: Op<MatmulAttributes> = defineOp<MatmulAttributes>({
  name: 'matmul',
  epilogue: { bias: 2, biasOp: 'add', attribute: 'activation', activations: ['relu', 'gelu', 'sigmoid', 'tanh'] },
  infer([a, b, bias]: readonly [TensorSpec, TensorSpec, ...TensorSpec[]], attributes) {
    requireDtype('matmul', 'a', a, 'float32')
    requireDtype('matmul', 'b', b, 'float32')
    requireRank('matmul', 'a', a, 2)
    requireRank('matmul', 'b', b, 2)
    if (!(attributes.activation in epilogues)) {
      refuseArgument('matmul', 'activation', `one of ${Object.keys(epilogues).join(', ')}`, attributes.activation)
    }
    const { lead, m, k, rows, n, shared } = dimsOf(a.shape, b.shape, attributes)
    if (!shared && !sameShape(b.shape.slice(0, -2), lead)) {
      refuse('matmul', 'b', `of rank 2 or with the leading axes ${formatShape(lead)} of a`, formatShape(b.shape))
    }
    if (rows !== k) {
      const axis = attributes.transposeB ? 'columns' : 'rows'
      refuse('matmul', 'b', `of ${k} ${axis}, as a is ${formatShape(a.shape)}`, `${rows} in ${formatShape(b.shape)}`)
    }
    if (bias) {
      requireDtype('matmul', 'bias', bias, 'float32')
      requireShape('matmul', 'bias', bias, [n])
    }
    return [float32([...lead, m, n])]
  },
  vjp: gradient(({ inputs, outputs: [y], cotangents: [dy], attributes }) => {
    const [a, b, bias] = inputs
    const { activation, ...transposes } = attributes
    const z = () => matmulOp(bias ? [a, b, bias] : [a, b], { ...transposes, activation: 'none' })[0] as Loose
    const dz = epilogues[activation].gradient(dy, y, z)
    const both = [gradientOfA(dz, a, b, attributes), gradientOfB(dz, a, b, attributes)]
    return bias ? [...both, sum(dz, 0, dz.shape.length - 1)] : both
  }),
  reference([a, b, bias]: readonly [ReferenceArray, ReferenceArray, ...ReferenceArray[]], attributes) {
    const { lead, m, k, n, shared } = dimsOf(a.shape, b.shape, attributes)
    const { compute } = epilogues[attributes.activation]
    return [
      array([...lead, m, n], (index) => {
        const column = index % n
        const row = Math.floor(index / n) % m
        const batch = Math.floor(index / (n * m))
        const atA = (i: number) => batch * m * k + (attributes.transposeA ? i * m + row : row * k + i)
        const atB = (i: number) =>
          (shared ? 0 : batch * k * n) + (attributes.transposeB ? column * k + i : i * n + column)
        let total = bias ? read(bias.data, column) : 0
        for (let i = 0; i < k; i++) total += read(a.data, atA(i)) * read(b.data, atB(i))
        return compute(total)
      }),
    ]
  },
  cases: (random) => ({ valid: validCases(random), invalid: invalidCases }),
  flops: ([a, b], _, attributes) => {
    const { lead, m, k, n } = dimsOf(a as readonly number[], b as readonly number[], attributes)
    return 2 * product(lead) * m * k * n
  },
})

const product2 = (a: Loose, b: Loose, transposes: Partial<MatmulAttributes> = {}): Loose =>
  matmulOp([a, b], { ...PLAIN, ...transposes })[0] as Loose

/** With A' and B' after transposition, dA' = dZ B'^T. */
function gradientOfA(dz: Loose, a: Loose, b: Loose, { transposeA, transposeB }: MatmulAttributes): Loose {
  if (!transposeA) return product2(dz, b, { transposeB: !transposeB })
  if (a.shape.length === b.shape.length) return product2(b, dz, { transposeA: transposeB, transposeB: true })
  return swapLast(product2(dz, b, { transposeB: !transposeB }))
}

/** dB' = A'^T dZ; a shared B receives the sum over all rows, which is one product of flattened rows. */
function gradientOfB(dz: Loose, a: Loose, b: Loose, { transposeA, transposeB }: MatmulAttributes): Loose {
  if (b.shape.length < a.shape.length) {
    const rows = flattenRows(transposeA ? swapLast(a) : a)
    const flat = flattenRows(dz)
    return transposeB ? product2(flat, rows, { transposeA: true }) : product2(rows, flat, { transposeA: true })
  }
  if (transposeB) return product2(dz, a, { transposeA: true, transposeB: transposeA })
  return product2(a, dz, { transposeA: !transposeA })
}

function swapLast(x: Loose): Loose {
  const rank = x.shape.length
  const order = Array.from({ length: rank }, (_, axis) => axis)
  return transpose(x, [...order.slice(0, -2), rank - 1, rank - 2]) as Loose
}

const flattenRows = (x: Loose): Loose =>
  reshape(x, [multiplyDims(...(x.shape as Shape).slice(0, -1)), at(x.shape, -1)] as Shape) as Loose

function validCases(random: Random): OpCase<MatmulAttributes>[] {
  const make = (
    lead: readonly number[],
    [m, k, n]: readonly [number, number, number],
    attributes: Partial<MatmulAttributes> = {},
    { shared = true, bias = false, live = false } = {},
  ): OpCase<MatmulAttributes> => {
    const whole = { ...PLAIN, ...attributes }
    const a = [...lead, ...(whole.transposeA ? [k, m] : [m, k])]
    const b = [...(shared ? [] : lead), ...(whole.transposeB ? [n, k] : [k, n])]
    return {
      inputs: [floats(random, a), floats(random, b), ...(bias ? [floats(random, [n])] : [])],
      attributes: whole,
      ...(live ? { live: LIVE } : {}),
    }
  }
  const transposes = [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({ transposeA, transposeB })),
  )
  const activations = ['relu', 'gelu', 'sigmoid', 'tanh'] as const
  return [
    ...transposes.map((t) => make([], [LIVE, 5, 7], t, { live: true })),
    ...transposes.map((t) => make([LIVE], [3, 5, 7], t, { live: true })),
    ...transposes.map((t) => make([LIVE], [3, 5, 7], t, { live: true, shared: false })),
    ...activations.map((activation) => make([], [LIVE, 4, 5], { activation }, { live: true, bias: true })),
    make([2], [3, LIVE, 5], {}, { live: true }),
    make([2], [3, LIVE, 5], { transposeA: true, transposeB: true }, { live: true, shared: false }),
    make([], [3, 5, LIVE], { transposeB: true }, { live: true }),
    make([2, 3], [someSize(random), someSize(random), someSize(random)], {}, { shared: false }),
    make([2, LIVE], [1, 5, 3], {}, { bias: true, live: true }),
    make([], [someSize(random), 67, 33], { transposeB: true }),
    make([], [65, someSize(random), 129]),
    make([], [0, 3, 2]),
    make([], [3, 0, 2], {}, { bias: true }),
    make([2], [3, 2, 0]),
    make([], [1, 1, 1], {}, { bias: true }),
  ]
}

const invalidCases = [
  {
    inputs: [float32([3, 64]), float32([65, 8])],
    attributes: PLAIN,
    message: /^matmul: b should be of 64 rows, as a is \[3, 64\] but got 65 in \[65, 8\]/,
  },
  {
    inputs: [float32(['batch', 64]), float32([8, 65])],
    attributes: { ...PLAIN, transposeB: true },
    message: /^matmul: b should be of 64 columns, as a is \[batch, 64\] but got 65 in \[8, 65\]/,
  },
  {
    inputs: [float32([2, 3, 4]), float32([3, 4, 5])],
    attributes: PLAIN,
    message: /^matmul: b should be of rank 2 or with the leading axes \[2\] of a but got \[3, 4, 5\]/,
  },
  {
    inputs: [int32([3, 4]), float32([4, 5])],
    attributes: PLAIN,
    message: /^matmul: a should be dtype float32 but got int32/,
  },
  {
    inputs: [float32([4]), float32([4, 5])],
    attributes: PLAIN,
    message: /^matmul: a should be rank 2 or more but got shape \[4\]/,
  },
  {
    inputs: [float32([3, 4]), float32([4, 5]), float32([4])],
    attributes: PLAIN,
    message: /^matmul: bias should be of shape \[5\] but got \[4\]/,
  },
  {
    inputs: [float32([3, 4]), float32([4, 5])],
    attributes: { ...PLAIN, activation: 'swish' as Activation },
    message: /^matmul: activation should be one of none, relu, gelu, sigmoid, tanh but got swish/,
  },
]

// Typed functions --------------------------------------------------------------------------------------------------

export interface Finish<N extends Dim> {
  /** Added to every row. */
  readonly bias?: Tensor<readonly [N], 'float32'>
  /** Applied last; `gelu` is the exact form. */
  readonly activation?: Activation
}

function product3(a: Loose, b: Loose, transposeB: boolean, { bias, activation = 'none' }: Finish<Dim> = {}): Loose {
  return matmulOp(bias ? [a, b, bias] : [a, b], { transposeA: false, transposeB, activation })[0] as Loose
}

/**
 * `a[..., K]` times `b[K, N]`, then a bias and an activation in the same pass.
 *
 * Throws KAIROS_SHAPE when K or the bias differ, KAIROS_DTYPE unless float32.
 */
export function matmul<Lead extends Shape, K extends Dim, N extends Dim>(
  a: Tensor<readonly [...Lead, K], 'float32'>,
  b: Tensor<readonly [NoInfer<K>, N], 'float32'>,
  finish?: Finish<NoInfer<N>>,
): Tensor<readonly [...Lead, N], 'float32'> {
  return product3(a as Loose, b as Loose, false, finish)
}

/**
 * `x[..., K]` times the transposed `weight[N, K]`, then a bias and an activation in the same pass: PyTorch's
 * `functional.linear`. Also scores of rows against a table.
 *
 * Throws KAIROS_SHAPE when K or the bias differ, KAIROS_DTYPE unless float32.
 */
export function linear<Lead extends Shape, K extends Dim, N extends Dim>(
  x: Tensor<readonly [...Lead, K], 'float32'>,
  weight: Tensor<readonly [N, NoInfer<K>], 'float32'>,
  finish?: Finish<NoInfer<N>>,
): Tensor<readonly [...Lead, N], 'float32'> {
  return product3(x as Loose, weight as Loose, true, finish)
}

/**
 * `a[..., M, K]` times `b[..., K, N]`, one product per leading index; with `transposeB`, times `b[..., N, K]`
 * transposed, as attention scores need it.
 *
 * Throws KAIROS_SHAPE when K or the leading axes differ, KAIROS_DTYPE unless float32.
 */
export function batchMatmul<Lead extends Shape, M extends Dim, K extends Dim, N extends Dim>(
  a: Tensor<readonly [...Lead, M, K], 'float32'>,
  b: Tensor<readonly [...Lead, NoInfer<K>, N], 'float32'>,
): Tensor<readonly [...Lead, M, N], 'float32'>
export function batchMatmul<Lead extends Shape, M extends Dim, K extends Dim, N extends Dim>(
  a: Tensor<readonly [...Lead, M, K], 'float32'>,
  b: Tensor<readonly [...Lead, N, NoInfer<K>], 'float32'>,
  options: { readonly transposeB: true },
): Tensor<readonly [...Lead, M, N], 'float32'>
export function batchMatmul(a: Loose, b: Loose, options?: { readonly transposeB: true }): Loose {
  if (a.shape.length !== b.shape.length) {
    refuse('batchMatmul', 'b', `rank ${a.shape.length}, as a is ${formatShape(a.shape)}`, formatShape(b.shape))
  }
  return product3(a, b, options?.transposeB === true)
}
