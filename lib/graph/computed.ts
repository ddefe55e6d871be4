/** Symbols whose counts a run computes: how many rows a batch touches. Until then they count as their limit. */
import { addDims, type Dim, evaluateDim, multiplyDims, sizeOf, symbolsOf, termsOf } from '../core/dim.js'
import type { Counts } from './counts.js'
import { type Node, specOf, type Value } from './node.js'

export interface ComputedSymbol {
  readonly symbol: string
  /** A size over given symbols that the count never exceeds. */
  readonly limit: Dim
  /** The int32 of rank 0 that holds the count. */
  readonly count: Value
}

export function computedSymbol(node: Node): ComputedSymbol | null {
  const rule = node.op?.computes
  if (!rule) return null
  const { symbol, limit, output } = rule(node.inputs.map(specOf), node.attributes)
  return { symbol, limit, count: { node, index: output } }
}

export const computedSymbols = (nodes: readonly Node[]): readonly ComputedSymbol[] =>
  nodes.flatMap((node) => computedSymbol(node) ?? [])

/** Counts in which the computed symbols have their limits. */
export const withLimits = (nodes: readonly Node[], counts: Counts): Counts => ({
  ...counts,
  ...Object.fromEntries(computedSymbols(nodes).map(({ symbol, limit }) => [symbol, evaluateDim(limit, counts)])),
})

/** How many elements a value has at most, over given symbols: those that a run computes for it stand at their limits. */
export function mostElements(value: Value): Dim {
  const limits = new Map<string, Dim>()
  const seen = new Set<Node>()
  const visit = (node: Node) => {
    if (seen.has(node)) return
    seen.add(node)
    const computed = computedSymbol(node)
    if (computed) limits.set(computed.symbol, computed.limit)
    for (const input of node.inputs) visit(input.node)
  }
  visit(value.node)
  const most = termsOf(sizeOf(specOf(value).shape)).map(({ coefficient, symbols }) =>
    multiplyDims(coefficient, ...symbols.map((symbol) => limits.get(symbol) ?? symbol)),
  )
  return addDims(...most)
}

/** Nodes that must stand before a node: those of its operands, and those that compute its sizes. */
export function predecessors(node: Node, makers: ReadonlyMap<string, Node>): Set<Node> {
  const before = new Set(node.inputs.map((value) => value.node))
  if (makers.size === 0) return before
  for (const symbol of symbolsOf(node.outputs.flatMap(({ shape }) => shape))) {
    const maker = makers.get(symbol)
    if (maker && maker !== node) before.add(maker)
  }
  return before
}

export const makersOf = (nodes: readonly Node[]): ReadonlyMap<string, Node> =>
  new Map(computedSymbols(nodes).map(({ symbol, count }) => [symbol, count.node]))
