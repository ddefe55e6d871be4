/**
 * A sum of float64 numbers without rounding, until it is asked for: partial sums that do not overlap hold it exactly,
 * so order and grouping do not matter. Source: Shewchuk, "Adaptive precision floating-point arithmetic and fast robust
 * geometric predicates", 1997, grow-expansion.
 */
export class ExactSum {
  /** Ascending in magnitude; few, since each covers 53 bits of its own. */
  private readonly partials: number[] = []
  /** Infinities and NaN, which have no error term. */
  private special = 0

  add(value: number): void {
    if (!Number.isFinite(value)) {
      this.special += value
      return
    }
    const { partials } = this
    let kept = 0
    let rest = value
    for (let i = 0; i < partials.length; i++) {
      const other = partials[i] as number
      const sum = rest + other
      const error = Math.abs(rest) < Math.abs(other) ? rest - (sum - other) : other - (sum - rest)
      if (error !== 0) partials[kept++] = error
      rest = sum
    }
    partials[kept] = rest
    partials.length = kept + 1
  }

  merge(other: ExactSum): void {
    for (const partial of [...other.partials]) this.add(partial)
    this.special += other.special
  }

  /** The float64 nearest to the sum; ties go to the even one. */
  get value(): number {
    if (this.special !== 0) return this.special
    const { partials } = this
    let i = partials.length - 1
    let high = partials[i] ?? 0
    let low = 0
    while (i > 0 && low === 0) {
      const before = high
      const next = partials[--i] as number
      high = before + next
      low = next - (high - before)
    }
    // `low` may be half a unit: what lies below it decides the rounding.
    if (i > 0 && Math.sign(low) === Math.sign(partials[i - 1] as number)) {
      const doubled = 2 * low
      const up = high + doubled
      if (up - high === doubled) high = up
    }
    return high
  }
}
