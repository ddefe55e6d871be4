/** Live counts of symbols, from what was fed, and the capacities that a program is bound to. */
import { evaluateDim, formatShape, type Shape, termsOf } from '../core/dim.js'
import { KairosError } from '../core/errors.js'

export interface SymbolicInput {
  readonly name: string
  readonly shape: Shape
}

export type Counts = Readonly<Record<string, number>>

/**
 * Finds every symbol's count. Given counts win; others follow from inputs in which they are the only unknown.
 *
 * Throws KAIROS_SHAPE when a length fits no count, KAIROS_MISSING when a symbol stays unknown.
 */
export function inferCounts(
  inputs: readonly SymbolicInput[],
  lengths: Readonly<Record<string, number>>,
  symbols: readonly string[],
  given: Counts = {},
): Counts {
  const counts: Record<string, number> = { ...given }
  for (let progress = true; progress; ) {
    progress = false
    for (const { name, shape } of inputs) {
      const length = lengths[name]
      const unknown = unknownFactor(shape, counts)
      if (length === undefined || !unknown || unknown.symbol in counts) continue
      const count = unknown.times === 0 ? 0 : length / unknown.times
      if (!Number.isInteger(count)) {
        throw new KairosError('KAIROS_SHAPE', {
          op: 'run',
          argument: `feeds.${name}`,
          expected: `a multiple of ${unknown.times} elements for shape ${formatShape(shape)}`,
          got: `${length}`,
        })
      }
      counts[unknown.symbol] = count
      progress = true
    }
  }
  for (const symbol of symbols) {
    if (counts[symbol] === undefined) {
      throw new KairosError('KAIROS_MISSING', {
        op: 'run',
        argument: `counts.${symbol}`,
        expected: 'a number',
        got: 'nothing, and no fed array tells it',
        hint: `Pass { counts: { ${symbol}: ... } }`,
      })
    }
  }
  return counts
}

/** The only symbol of a shape whose count is not known, when it stands alone as a dim, and the product of the rest. */
function unknownFactor(shape: Shape, counts: Counts): { symbol: string; times: number } | null {
  let symbol: string | null = null
  let times = 1
  for (const dim of shape) {
    const unknown = termsOf(dim).flatMap((term) => term.symbols.filter((name) => !(name in counts)))
    if (unknown.length === 0) times *= evaluateDim(dim, counts)
    else if (symbol === null && unknown[0] === dim) symbol = dim
    else return null
  }
  return symbol === null ? null : { symbol, times }
}

const GROWTH = 1.5

/** Capacities that hold the counts: those there are, grown by half where one is too small. */
export function growCapacities(present: Counts | null, counts: Counts, asked: Counts = {}): Counts {
  return Object.fromEntries(
    Object.entries(counts).map(([symbol, count]) => {
      const before = present?.[symbol]
      const least = Math.max(count, asked[symbol] ?? 0)
      if (before !== undefined && least <= before) return [symbol, before]
      return [symbol, before === undefined ? least : Math.max(least, Math.ceil(before * GROWTH))]
    }),
  )
}
