/** Weights of task gradients in plain float64: coordinate descents until nothing moves, and closed forms. */
import { KairosError } from '../core/errors.js'
import { philox4x32 } from '../core/random.js'
import type { ReferenceArray } from '../graph/defineOp.js'

export type Matrix = readonly (readonly number[])[]

/** Rows of a Gram matrix; refuses one that is not finite, naming the task. */
export function matrixOf({ shape, data }: ReferenceArray): Matrix {
  const count = shape[0] as number
  const matrix = range(count).map((row) => Array.from(data.slice(row * count, (row + 1) * count)))
  const task = matrix.findIndex((row, index) => !Number.isFinite(row[index]))
  if (task < 0) return matrix
  throw new KairosError('KAIROS_NON_FINITE', {
    op: 'weights',
    argument: `gradient of task ${task}`,
    expected: 'finite',
    got: `a squared norm of ${matrix[task]?.[task]}`,
  })
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index)
const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
const times = (matrix: Matrix, x: readonly number[]) => matrix.map((row) => dot(row, x))
const entry = (matrix: Matrix, row: number, column: number) => matrix[row]?.[column] as number
const lengthOf = (gram: Matrix, w: readonly number[]) => Math.sqrt(Math.max(dot(w, times(gram, w)), 0))
const scaled = (x: readonly number[], by: number) => x.map((value) => value * by)

/** Lengths of the gradients, and the cosines between them; both 0 where a gradient is. */
function directions(gram: Matrix): { readonly lengths: readonly number[]; readonly cosines: Matrix } {
  const lengths = gram.map((row, i) => Math.sqrt(Math.max(row[i] as number, 0)))
  const cosine = (value: number, i: number, j: number) => {
    const both = (lengths[i] as number) * (lengths[j] as number)
    return both === 0 ? 0 : i === j ? 1 : value / both
  }
  return { lengths, cosines: gram.map((row, i) => row.map((value, j) => cosine(value, i, j))) }
}

export function gapOf(gram: Matrix, weights: readonly number[]): number {
  if (gram.length === 0) return 0
  const along = times(gram, weights)
  return Math.max(dot(weights, along) - Math.min(...along), 0)
}

/**
 * min 1/2 w^T G w + b^T w over the simplex: weight moves from where the slope is greatest to where it is least, as far as
 * that helps (Platt 1998).
 */
function onSimplex(gram: Matrix, b: readonly number[], start: readonly number[]): number[] {
  const w = [...start]
  if (w.length === 0) return w
  const tasks = range(w.length)
  for (let step = 0; step < 200_000; step++) {
    const slopes = times(gram, w).map((value, i) => value + (b[i] as number))
    const slope = (i: number) => slopes[i] as number
    const to = tasks.reduce((best, i) => (slope(i) < slope(best) ? i : best))
    const from = tasks.filter((i) => (w[i] as number) > 0).reduce((best, i) => (slope(i) > slope(best) ? i : best), to)
    const gain = slope(from) - slope(to)
    if (gain <= 1e-15 * (Math.abs(slope(from)) + Math.abs(slope(to)))) break
    const curvature = entry(gram, to, to) - 2 * entry(gram, to, from) + entry(gram, from, from)
    const most = w[from] as number
    const amount = curvature > 0 ? Math.min(gain / curvature, most) : most
    if ((w[to] as number) + amount === w[to]) break
    w[to] = (w[to] as number) + amount
    w[from] = amount === most ? 0 : most - amount
  }
  return w
}

export function minNorm(gram: Matrix): readonly number[] {
  const none = gram.filter((row, i) => row[i] === 0).length
  if (none > 0) return gram.map((row, i) => (row[i] === 0 ? 1 / none : 0))
  return onSimplex(
    gram,
    gram.map(() => 0),
    gram.map((_, i) => (i === 0 ? 1 : 0)),
  )
}

export function pcGrad(gram: Matrix, key: readonly [number, number], step: number): readonly number[] {
  const tasks = range(gram.length)
  const words = new Uint32Array(4)
  const total = tasks.map(() => 0)
  for (const i of tasks) {
    const order = [...tasks]
    for (let k = tasks.length - 1; k > 0; k--) {
      const draw = 64 * i + k
      philox4x32([Math.floor(draw / 4), 0, step, 0], key, words)
      const other = Math.floor(((words[draw % 4] as number) * (k + 1)) / 2 ** 32)
      ;[order[k], order[other]] = [order[other] as number, order[k] as number]
    }
    const mine = tasks.map((k): number => (k === i ? 1 : 0))
    for (const j of order) {
      const product = dot(mine, gram[j] as readonly number[])
      if (j !== i && product < 0) mine[j] = (mine[j] as number) - product / entry(gram, j, j)
    }
    mine.forEach((value, k) => {
      total[k] = (total[k] as number) + value
    })
  }
  return total
}

/** Bisection on t = |g_w|, the one for which the w of min |g_w|^2 / 2t + g_w . g_0 / s has that length. */
export function caGrad(gram: Matrix, radius: number): readonly number[] {
  const share = 1 / gram.length
  const equal = gram.map(() => share)
  const s = radius * lengthOf(gram, equal)
  if (!(s > 0)) return equal
  const greatest = Math.sqrt(Math.max(...gram.map((row, i) => row[i] as number)))
  const toward = times(gram, equal)
  let w = equal
  let [low, high] = [1e-4 * greatest, greatest]
  for (let step = 0; step < 60; step++) {
    const t = step === 0 ? low : (low + high) / 2
    w = onSimplex(gram, scaled(toward, t / s), w)
    if (lengthOf(gram, w) > t) low = t
    else high = t
  }
  return w.map((value) => share + (s / high) * value)
}

/** The closed form through eigenvectors, so that equal gradients have equal weights. */
export function imtlG(gram: Matrix): readonly number[] {
  const { lengths, cosines } = directions(gram)
  const wanted = lengths.map((length) => (length > 0 ? 1 : 0))
  const solved = gram.map(() => 0)
  const vanishing = gram.map(() => 0)
  for (const { value, vector } of eigen(cosines)) {
    const along = dot(vector, wanted)
    const null_ = value < gram.length * 2 ** -22
    const sum = null_ ? vanishing : solved
    vector.forEach((x, i) => {
      sum[i] = (sum[i] as number) + (along * x) / (null_ ? 1 : value)
    })
  }
  const beta = dot(vanishing, vanishing) > 1e-6 * gram.length ? vanishing : solved
  const weights = beta.map((value, i) => ((lengths[i] as number) > 0 ? value / (lengths[i] as number) : 0))
  const sum = dot(weights, wanted)
  return sum === 0 ? weights : scaled(weights, 1 / sum)
}

/** b_i (C b)_i = 1, one coordinate after another. */
export function nashMtl(gram: Matrix): readonly number[] {
  const { lengths, cosines } = directions(gram)
  const b: number[] = lengths.map((length) => (length > 0 ? 1 : 0))
  for (let sweep = 0; sweep < 100_000; sweep++) {
    let moved = 0
    cosines.forEach((row, i) => {
      if (row[i] === 0) return
      const others = dot(row, b) - (b[i] as number)
      const next = (Math.sqrt(others * others + 4) - others) / 2
      moved = Math.max(moved, Math.abs(next / (b[i] as number) - 1))
      b[i] = next
    })
    if (moved < 1e-15 || Math.max(...b) > 1e3) break
  }
  return b.map((value, i) => ((lengths[i] as number) > 0 ? value / (lengths[i] as number) : 0))
}

/** min (e_i + z)^T C (e_i + z) over z >= 0 for each i, one coordinate after another. */
export function upGrad(gram: Matrix): readonly number[] {
  const { lengths, cosines } = directions(gram)
  const scale = (i: number) => (lengths[i] === 0 ? 1 : (lengths[i] as number))
  const total = gram.map(() => 0)
  for (const i of range(gram.length)) {
    const v: number[] = gram.map((_, k) => (k === i ? 1 : 0))
    for (let sweep = 0; sweep < 100_000; sweep++) {
      let moved = 0
      cosines.forEach((row, k) => {
        if (row[k] === 0) return
        const next = Math.max((v[k] as number) - dot(row, v), k === i ? 1 : 0)
        moved = Math.max(moved, Math.abs(next - (v[k] as number)))
        v[k] = next
      })
      if (moved < 1e-16) break
    }
    v.forEach((value, k) => {
      total[k] = (total[k] as number) + (value * scale(i)) / scale(k) / gram.length
    })
  }
  return total
}

export function alignedMtl(gram: Matrix): readonly number[] {
  const components = eigen(gram)
  const greatest = Math.max(...components.map(({ value }) => value))
  const kept = components.filter(({ value }) => value > greatest * gram.length * 2 ** -23)
  const least = Math.min(...kept.map(({ value }) => value))
  const weights = gram.map(() => 0)
  for (const { value, vector } of kept) {
    const factor = Math.sqrt(least / value) * vector.reduce((sum, x) => sum + x, 0)
    vector.forEach((x, i) => {
      weights[i] = (weights[i] as number) + factor * x
    })
  }
  return weights
}

/** Eigenvalues and eigenvectors of a symmetric matrix: plane rotations until it is diagonal (Jacobi 1846). */
function eigen(matrix: Matrix): { readonly value: number; readonly vector: readonly number[] }[] {
  const count = matrix.length
  let a = matrix.map((row) => [...row])
  let vectors = range(count).map((i) => range(count).map((j): number => (i === j ? 1 : 0)))
  for (let sweep = 0; sweep < 60; sweep++) {
    for (let p = 0; p < count; p++) {
      for (let q = p + 1; q < count; q++) {
        const across = entry(a, p, q)
        if (across === 0) continue
        const angle = 0.5 * Math.atan2(2 * across, entry(a, q, q) - entry(a, p, p))
        const turned = (rows: number[][]) => turn(rows, p, q, Math.cos(angle), Math.sin(angle))
        a = turned(transposed(turned(a)))
        vectors = turned(vectors)
      }
    }
  }
  return vectors.map((vector, i) => ({ value: entry(a, i, i), vector }))
}

const transposed = (rows: number[][]) => rows.map((_, i) => rows.map((row) => row[i] as number))

function turn(rows: number[][], p: number, q: number, cosine: number, sine: number): number[][] {
  const [first, second] = [rows[p] as number[], rows[q] as number[]]
  return rows.map((row, i) => {
    if (i === p) return first.map((x, k) => cosine * x - sine * (second[k] as number))
    if (i === q) return first.map((x, k) => sine * x + cosine * (second[k] as number))
    return row
  })
}
