/** The standard normal distribution. */
import { erf64 } from '../core/erf.js'

export const normalDistribution = (z: number): number => 0.5 * (1 + erf64(z / Math.SQRT2))

/** The z below which a share of the distribution lies, by Newton's method on the distribution. */
export function normalQuantile(share: number): number {
  if (!(share > 0 && share < 1)) return share === 0 ? -Infinity : share === 1 ? Infinity : Number.NaN
  // The distribution is convex below 0, so from the far side of the root each step stays on it.
  if (share > 0.5) return -normalQuantile(1 - share)
  let z = 0
  for (let i = 0; i < 100; i++) {
    const step = (normalDistribution(z) - share) / (Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI))
    z -= step
    if (Math.abs(step) < 1e-14) break
  }
  return z
}

/** Half the width of an interval that holds the given share, in standard errors: 1.96 for 0.95. */
export const criticalValue = (confidence: number): number => normalQuantile((1 + confidence) / 2)
