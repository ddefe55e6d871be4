/**
 * The error function in float64, which JavaScript lacks.
 *
 * erf(x) = 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (1 * 3 * ... * (2n+1)) has positive terms only, so nothing cancels;
 * beyond 6 the result is 1 in float64. Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.6.
 */
export function erf64(x: number): number {
  if (Number.isNaN(x)) return x
  if (Math.abs(x) > 6) return Math.sign(x)
  let term = x
  let total = x
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1)
    total += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total
}
