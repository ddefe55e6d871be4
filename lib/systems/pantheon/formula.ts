/** The hand-written sort that a learned one replaces: score = prod_k (1 + p_k)^alpha_k, its exponents by random search. */
import { createRandom } from '../../core/random.js'
import { createTimeSlice, inSlices } from '../../core/timeSlice.js'

/** Trials of the search, as the specification has them. */
export const TRIALS = 500
/** Exponents are drawn log-uniformly within this factor of 1 / rate, at which all objectives move the score alike. */
const RANGE = 20

/** log(1 + p) by row, K values each. */
export async function logsOf(logits: Float32Array): Promise<Float32Array> {
  const logs = new Float32Array(logits.length)
  await inSlices(logs.length, createTimeSlice(), (begin, end) => {
    for (let i = begin; i < end; i++) logs[i] = Math.log1p(1 / (1 + Math.exp(-(logits[i] as number))))
  })
  return logs
}

/** The log of the formula's score: the same order. */
export async function formulaScores(logs: Float32Array, exponents: readonly number[]): Promise<Float32Array> {
  const K = exponents.length
  const scores = new Float32Array(logs.length / K)
  await inSlices(scores.length, createTimeSlice(), (begin, end) => {
    for (let row = begin; row < end; row++) {
      let sum = 0
      for (let k = 0; k < K; k++) sum += (exponents[k] as number) * (logs[row * K + k] as number)
      scores[row] = sum
    }
  })
  return scores
}

/** The best of `trials` draws of exponents by `value`, the first being 1 / rate itself. */
export async function searchFormula(
  logs: Float32Array,
  rates: readonly number[],
  value: (scores: Float32Array) => Promise<number>,
  { seed, trials = TRIALS }: { readonly seed: number; readonly trials?: number },
): Promise<{ readonly exponents: readonly number[]; readonly value: number }> {
  const random = createRandom(seed).fork('formula')
  let best = { exponents: rates.map((rate) => 1 / rate), value: Number.NEGATIVE_INFINITY }
  for (let trial = 0; trial < trials; trial++) {
    const exponents = rates.map((rate) => (trial === 0 ? 1 : RANGE ** (2 * random.uniform() - 1)) / rate)
    const found = await value(await formulaScores(logs, exponents))
    if (found > best.value) best = { exponents, value: found }
  }
  return best
}
