/**
 * Sizes of axes: literal numbers, symbols that get a size when a step runs ('batch'), or polynomials over symbols.
 *
 * A polynomial is kept as its canonical text (`'2*batch*time+1'`), so that two sizes are equal exactly when the values
 * are `===`, and a shape prints as itself.
 */
import { KairosError } from './errors.js'

export type Dim = number | string
export type Shape = readonly Dim[]

/** One summand: coefficient times the product of its symbols, sorted, repeated for powers. */
export interface Term {
  readonly coefficient: number
  readonly symbols: readonly string[]
}

const SYMBOL = /^[A-Za-z_][A-Za-z0-9_]*$/

/** True for a plain symbol name such as 'batch'. */
export const isSymbol = (dim: Dim): dim is string => typeof dim === 'string' && SYMBOL.test(dim)

/** What was parsed already: each run asks for the same few sizes again. */
const parsed = new Map<string, readonly Term[]>()
const MOST_PARSED = 4096

/** The summands of a size, in canonical order. Throws KAIROS_SHAPE on text that is no polynomial. */
export function termsOf(dim: Dim): readonly Term[] {
  if (typeof dim === 'number') return dim === 0 ? [] : [{ coefficient: dim, symbols: [] }]
  const known = parsed.get(dim)
  if (known) return known
  const terms = parse(dim)
  if (parsed.size === MOST_PARSED) parsed.clear()
  parsed.set(dim, terms)
  return terms
}

function parse(dim: string): readonly Term[] {
  return dim
    .replaceAll('-', '+-')
    .split('+')
    .filter((text) => text !== '')
    .map((text) => {
      let coefficient = 1
      const symbols: string[] = []
      const negative = text.startsWith('-')
      for (const factor of (negative ? text.slice(1) : text).split('*')) {
        if (/^\d+$/.test(factor)) coefficient *= Number(factor)
        else if (SYMBOL.test(factor)) symbols.push(factor)
        else
          throw new KairosError('KAIROS_SHAPE', {
            op: 'shape',
            argument: `dim '${dim}'`,
            expected: "a size, a name such as 'batch', or a sum of products of both",
            got: `'${factor}'`,
          })
      }
      return { coefficient: negative ? -coefficient : coefficient, symbols: symbols.sort() }
    })
}

function canonical(terms: readonly Term[]): Dim {
  const sums = new Map<string, number>()
  for (const { coefficient, symbols } of terms) {
    const key = [...symbols].sort().join('*')
    sums.set(key, (sums.get(key) ?? 0) + coefficient)
  }
  // Longest products first, then by name; the constant comes last because its key is empty.
  const keys = [...sums.keys()].filter((key) => sums.get(key) !== 0)
  keys.sort((a, b) => b.split('*').length - a.split('*').length || (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))
  if (keys.length === 0) return 0
  if (keys.length === 1 && keys[0] === '') return sums.get('') as number
  return keys
    .map((key) => {
      const coefficient = sums.get(key) as number
      if (key === '') return `${coefficient}`
      return coefficient === 1 ? key : coefficient === -1 ? `-${key}` : `${coefficient}*${key}`
    })
    .join('+')
    .replaceAll('+-', '-')
}

/** The canonical form of a size written by hand. */
export const normalizeDim = (dim: Dim): Dim => (typeof dim === 'number' ? dim : canonical(termsOf(dim)))

export const addDims = (...dims: readonly Dim[]): Dim => canonical(dims.flatMap(termsOf))

export const subtractDims = (a: Dim, b: Dim): Dim =>
  canonical([...termsOf(a), ...termsOf(b).map(({ coefficient, symbols }) => ({ coefficient: -coefficient, symbols }))])

export function multiplyDims(...dims: readonly Dim[]): Dim {
  return canonical(
    dims
      .map(termsOf)
      .reduce<readonly Term[]>(
        (left, right) =>
          left.flatMap((a) =>
            right.map((b) => ({ coefficient: a.coefficient * b.coefficient, symbols: [...a.symbols, ...b.symbols] })),
          ),
        [{ coefficient: 1, symbols: [] }],
      ),
  )
}

/** The size under given counts of symbols. */
export function evaluateDim(dim: Dim, counts: Readonly<Record<string, number>>): number {
  if (typeof dim === 'number') return dim
  return termsOf(dim).reduce((sum, { coefficient, symbols }) => {
    return (
      sum +
      symbols.reduce((product, symbol) => {
        const count = counts[symbol]
        if (count === undefined) {
          throw new KairosError('KAIROS_MISSING', { op: 'shape', argument: `symbol '${symbol}'`, got: 'no count' })
        }
        return product * count
      }, coefficient)
    )
  }, 0)
}

/** Symbols that occur in a shape. */
export const symbolsOf = (shape: Shape): readonly string[] => [
  ...new Set(shape.flatMap((dim) => termsOf(dim).flatMap((term) => term.symbols))),
]

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, axis) => dim === b[axis])

/** `[batch, 50, 64]` */
export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`

export const sizeOf = (shape: Shape): Dim => multiplyDims(...shape)
