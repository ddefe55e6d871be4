/** What makes scores have the moments that knobs ask for: mixing, intercepts, and the laws of popularity. */

/** Lower triangle L of a symmetric positive definite matrix A = L L^T, row by row [n, n]. */
export function cholesky(matrix: ArrayLike<number>, n: number): Float64Array {
  const lower = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j] as number
      for (let k = 0; k < j; k++) sum -= (lower[i * n + k] as number) * (lower[j * n + k] as number)
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / (lower[j * n + j] as number)
    }
  }
  return lower
}

/** Inverse of a lower triangle. */
export function invertLower(lower: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n)
  for (let column = 0; column < n; column++) {
    for (let i = column; i < n; i++) {
      let sum = i === column ? 1 : 0
      for (let k = column; k < i; k++) sum -= (lower[i * n + k] as number) * (inverse[k * n + column] as number)
      inverse[i * n + column] = sum / (lower[i * n + i] as number)
    }
  }
  return inverse
}

export interface Moments {
  readonly mean: Float64Array
  /** [n, n] */
  readonly covariance: Float64Array
}

/** Moments of samples [count, n]. */
export function momentsOf(samples: Float64Array, n: number): Moments {
  const count = samples.length / n
  const mean = new Float64Array(n)
  const covariance = new Float64Array(n * n)
  for (let i = 0; i < samples.length; i++) mean[i % n] = (mean[i % n] as number) + (samples[i] as number) / count
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < n; i++) {
      const a = (samples[row * n + i] as number) - (mean[i] as number)
      for (let j = 0; j <= i; j++) {
        const product = a * ((samples[row * n + j] as number) - (mean[j] as number))
        covariance[i * n + j] = (covariance[i * n + j] as number) + product / count
      }
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) covariance[j * n + i] = covariance[i * n + j] as number
  }
  return { mean, covariance }
}

/**
 * The lower triangle M for which f = M (g - mean) has the correlations asked for and variance 1, where g has these
 * moments: M = chol(R) chol(C)^-1. Score k depends on g_0 .. g_k alone.
 */
export function mixing({ covariance }: Moments, correlations: ArrayLike<number>, n: number): Float64Array {
  const target = cholesky(correlations, n)
  const whiten = invertLower(cholesky(covariance, n), n)
  const mix = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let k = j; k <= i; k++) sum += (target[i * n + k] as number) * (whiten[k * n + j] as number)
      mix[i * n + j] = sum
    }
  }
  return mix
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/**
 * The intercept at which the mean of weight * sigmoid(intercept + logit) is `rate`; by bisection, to 1e-9. Where the
 * weights leave too little room it is the greatest that is searched.
 */
export function interceptFor(rate: number, logits: Float64Array, weights?: Float64Array): number {
  let low = -40
  let high = 40
  while (high - low > 1e-9) {
    const middle = (low + high) / 2
    let sum = 0
    for (let i = 0; i < logits.length; i++) {
      sum += (weights ? (weights[i] as number) : 1) * sigmoid(middle + (logits[i] as number))
    }
    if (sum / logits.length < rate) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** Running sums of (rank + 1)^-exponent, scaled to end at 1: a Zipf law, to draw from by `firstAbove`. */
export function zipf(count: number, exponent: number): Float64Array {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += (rank + 1) ** -exponent
    sums[rank] = sum
  }
  return sums.map((value) => value / sum)
}

/** A vector of length 1 in the direction of out[begin .. begin + width). */
export function normalise(out: Float32Array | Float64Array, begin: number, width: number): void {
  let sum = 0
  for (let i = begin; i < begin + width; i++) sum += (out[i] as number) ** 2
  const factor = 1 / Math.sqrt(Math.max(sum, 1e-30))
  for (let i = begin; i < begin + width; i++) out[i] = (out[i] as number) * factor
}

export function dot(
  a: Float32Array | Float64Array,
  aBegin: number,
  b: Float32Array | Float64Array,
  bBegin: number,
  width: number,
): number {
  let sum = 0
  for (let i = 0; i < width; i++) sum += (a[aBegin + i] as number) * (b[bBegin + i] as number)
  return sum
}
