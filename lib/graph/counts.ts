/** Live counts of symbols, from what was fed, and the capacities that a program is bound to. */
import { type Dim, formatShape, type Shape, termsOf } from '../core/dim.js'
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
  const isOpen = () => symbols.some((symbol) => counts[symbol] === undefined)
  for (let progress = true; progress && isOpen(); ) {
    progress = false
    for (const { name, shape } of inputs) {
      if (!isOpen()) break
      const length = lengths[name]
      const unknown = length === undefined ? null : unknownFactor(shape, counts)
      if (length === undefined || !unknown) continue
      const { times, slope, rest } = unknown
      const count = times === 0 ? 0 : (length / times - rest) / slope
      if (!Number.isInteger(count) || count < 0) {
        throw new KairosError('KAIROS_SHAPE', {
          op: 'run',
          argument: `feeds.${name}`,
          expected:
            rest === 0
              ? `a multiple of ${times * slope} elements for shape ${formatShape(shape)}`
              : `${times * rest} elements more than a multiple of ${times * slope} for shape ${formatShape(shape)}`,
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

/**
 * The only symbol of a shape whose count is not known, when one dim is slope * symbol + rest; `times` is the product of
 * the other dims.
 */
function unknownFactor(
  shape: Shape,
  counts: Counts,
): { symbol: string; times: number; slope: number; rest: number } | null {
  let found: { symbol: string; slope: number; rest: number } | null = null
  let times = 1
  for (const dim of shape) {
    const linear = linearIn(dim, counts)
    if (linear === null || (linear.symbol !== null && found)) return null
    if (linear.symbol === null) times *= linear.rest
    else found = { ...linear, symbol: linear.symbol }
  }
  return found && { ...found, times }
}

/** A dim as slope * symbol + rest; null when it has several unknown symbols, or products with one. */
function linearIn(dim: Dim, counts: Counts): { symbol: string | null; slope: number; rest: number } | null {
  let symbol: string | null = null
  let slope = 0
  let rest = 0
  for (const { coefficient, symbols } of termsOf(dim)) {
    const unknown = symbols.filter((name) => !(name in counts))
    const known = symbols.filter((name) => name in counts)
    const factor = known.reduce((product, name) => product * (counts[name] as number), coefficient)
    const [name] = unknown
    if (name === undefined) rest += factor
    else if (unknown.length > 1 || (symbol !== null && symbol !== name)) return null
    else {
      symbol = name
      slope += factor
    }
  }
  return slope === 0 && symbol !== null ? null : { symbol, slope, rest }
}

const GROWTH = 1.5

/** Capacities that hold the counts: those there are (the same object), grown by half where one is too small. */
export function growCapacities(present: Counts | null, counts: Counts, asked: Counts = {}): Counts {
  const fits = (symbol: string, count = 0) => (present?.[symbol] ?? -1) >= Math.max(count, asked[symbol] ?? 0)
  if (present && Object.keys(counts).every((symbol) => fits(symbol, counts[symbol]))) return present
  return Object.fromEntries(
    Object.entries(counts).map(([symbol, count]) => {
      const before = present?.[symbol]
      const least = Math.max(count, asked[symbol] ?? 0)
      if (before !== undefined && least <= before) return [symbol, before]
      return [symbol, before === undefined ? least : Math.max(least, Math.ceil(before * GROWTH))]
    }),
  )
}
