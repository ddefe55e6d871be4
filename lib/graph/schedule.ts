/**
 * Pass 8: the order of steps, and how variables are written.
 *
 *     compute steps ... | checks | commit steps ...
 *
 * Compute steps write temporaries only. Commit steps are elementwise, copies or row updates, cannot fail, and alone write variables:
 * a step that fails before them has changed nothing. A chain that gives a variable's new value writes it in place
 * where no other step still needs the old one; otherwise the value is copied at the end.
 */
import type { Dim } from '../core/dim.js'
import { multiplyDims, termsOf } from '../core/dim.js'
import { bytesOf } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { commitOnly } from './commitOnly.js'
import { makersOf, predecessors } from './computed.js'
import { applyOp, registry } from './defineOp.js'
import { type Graph, makeGraph } from './graph.js'
import { type Node, specOf, tensorOf, type Value, valueKey } from './node.js'

export interface Schedule {
  readonly graph: Graph
  /** Every node that has an op, in order of execution; aliases included where their operand stands. */
  readonly steps: readonly Node[]
  readonly commitStart: number
  /** Results that are stored straight into a variable: value key -> variable's leaf. */
  readonly writes: ReadonlyMap<string, Value>
  /** Nodes of alias ops that must really copy. */
  readonly copies: ReadonlySet<Node>
}

/** The value whose memory a value shares, through ops that only change the view. */
export function aliasRoot(value: Value, copies: ReadonlySet<Node>): Value {
  let root = value
  while (root.node.op?.alias && !copies.has(root.node)) root = root.node.inputs[0] as Value
  return root
}

export function schedule(graph: Graph): Schedule {
  const copies = new Set<Node>()
  const copyOf = (value: Value): Value => {
    const copy = applyOp(
      registry.get('reshape') as never,
      [tensorOf(value)],
      { shape: specOf(value).shape },
      value.node.source,
    )[0]?.value as Value
    copies.add(copy.node)
    return copy
  }
  const isLeaf = (value: Value) => aliasRoot(value, copies).node.leaf !== null

  // Results live in memory of their own, so a leaf handed out is copied; two names of one result are two copies.
  const given = new Set<string>()
  const outputs = graph.outputs.map(({ name, value }) => {
    const key = valueKey(aliasRoot(value, copies))
    const own = isLeaf(value) || given.has(key) ? copyOf(value) : value
    given.add(valueKey(aliasRoot(own, copies)))
    return { name, value: own }
  })
  // A variable's old value assigned to another variable is saved before the first write.
  const assignments = graph.assignments.map(({ target, value }) => ({
    target,
    value: aliasRoot(value, copies).node.leaf?.kind === 'state' ? copyOf(value) : value,
  }))
  const settled = makeGraph({ outputs, updates: [], assignments })

  const commit = commitOnly(settled)
  const direct = directWrites(settled, commit, copies)
  const order = orderCommit(settled, commit, direct, copies)
  const finalCopies: Value[] = []
  const writes = new Map<string, Value>()
  for (const { target, value } of assignments) {
    if (direct.get(valueKey(value)) === target) writes.set(valueKey(value), target)
    else {
      const copy = copyOf(value)
      writes.set(valueKey(copy), target)
      finalCopies.push(copy)
    }
  }
  const compute = orderCompute(
    settled.nodes.filter((node) => node.op && !commit.has(node)),
    settled,
  )
  return {
    graph: settled,
    steps: [...compute, ...order, ...finalCopies.map(({ node }) => node)],
    commitStart: compute.length,
    writes,
    copies,
  }
}

/** Assignments whose chain may write the variable itself: value key -> target. */
function directWrites(graph: Graph, commit: ReadonlySet<Node>, copies: ReadonlySet<Node>): Map<string, Value> {
  const direct = new Map<string, Value>()
  for (const { target, value } of graph.assignments) {
    const key = valueKey(value)
    if (commit.has(value.node) && !direct.has(key) && readsInStep(value.node, target, copies)) direct.set(key, target)
  }
  return direct
}

/** A chain may overwrite a variable that it reads only element by element, at the same place. */
function readsInStep(node: Node, target: Value, copies: ReadonlySet<Node>): boolean {
  const maps = node.attributes.operands as readonly number[] | undefined
  return node.inputs.every(
    (operand, index) =>
      aliasRoot(operand, copies).node !== target.node ||
      (maps !== undefined && maps[2 * index + 1] === 0) ||
      (node.op?.commits === true && index === 0),
  )
}

/**
 * Commit steps in an order in which every variable is read before it is overwritten. Where two updates need each
 * other's old values no order exists: one of them then goes through a copy.
 */
function orderCommit(
  graph: Graph,
  commit: ReadonlySet<Node>,
  direct: Map<string, Value>,
  copies: ReadonlySet<Node>,
): Node[] {
  const nodes = graph.nodes.filter((node) => commit.has(node))
  for (;;) {
    const before = new Map<Node, Set<Node>>(nodes.map((node) => [node, new Set()]))
    const writerOf = new Map<Node, Node>()
    for (const node of nodes) {
      node.outputs.forEach((_, index) => {
        const target = direct.get(valueKey({ node, index }))
        if (target) writerOf.set(target.node, node)
      })
    }
    for (const node of nodes) {
      for (const operand of node.inputs) {
        if (before.has(operand.node)) before.get(node)?.add(operand.node)
        const writer = writerOf.get(aliasRoot(operand, copies).node)
        if (writer && writer !== node) before.get(writer)?.add(node)
      }
    }
    const order: Node[] = []
    const placed = new Set<Node>()
    for (let progress = true; progress; ) {
      progress = false
      for (const node of nodes) {
        if (placed.has(node) || [...(before.get(node) as Set<Node>)].some((earlier) => !placed.has(earlier))) continue
        placed.add(node)
        order.push(node)
        progress = true
      }
    }
    if (order.length === nodes.length) return order
    const stuck = nodes.find(
      (node) => !placed.has(node) && node.outputs.some((_, index) => direct.has(valueKey({ node, index }))),
    )
    if (!stuck) throw new KairosError('KAIROS_INTERNAL', { op: 'schedule', got: 'a cycle among commit steps' })
    stuck.outputs.forEach((_, index) => {
      direct.delete(valueKey({ node: stuck, index }))
    })
  }
}

/** A size for comparing memory before any run: every symbol counts the same. */
const NOMINAL_COUNT = 256

export function nominalBytes(value: Value): number {
  const { dtype, shape } = specOf(value)
  const nominal = (dim: Dim): number =>
    termsOf(dim).reduce((sum, term) => sum + term.coefficient * NOMINAL_COUNT ** term.symbols.length, 0)
  return nominal(multiplyDims(...shape)) * bytesOf[dtype]
}

/**
 * Compute steps: of all steps whose operands stand, the one that leaves least memory in use comes next; among equals
 * the earliest traced. The depth-first order is kept where it needs no more.
 */
function orderCompute(nodes: readonly Node[], graph: Graph): readonly Node[] {
  const makers = makersOf(nodes)
  const greedy = greedyOrder(nodes, graph, makers)
  const usable = respects(nodes, makers)
  return !usable || peakOf(greedy, graph) < peakOf(nodes, graph) ? greedy : nodes
}

/** Whether every size is computed before something has it. */
function respects(nodes: readonly Node[], makers: ReadonlyMap<string, Node>): boolean {
  const inside = new Set(nodes)
  const done = new Set<Node>()
  return nodes.every((node) => {
    done.add(node)
    return [...predecessors(node, makers)].every((before) => done.has(before) || !inside.has(before))
  })
}

function readersLeft(graph: Graph): Map<string, number> {
  const left = new Map<string, number>()
  const add = (value: Value) => left.set(valueKey(value), (left.get(valueKey(value)) ?? 0) + 1)
  for (const node of graph.nodes) for (const value of uniqueValues(node.inputs)) add(value)
  for (const { value } of [...graph.outputs, ...graph.assignments]) add(value)
  return left
}

const uniqueValues = (values: readonly Value[]): readonly Value[] => [
  ...new Map(values.map((v) => [valueKey(v), v])).values(),
]

/** Growth of memory in use when a step runs: its results come, operands that it reads last go. */
function growth(node: Node, left: ReadonlyMap<string, number>): number {
  if (node.op?.alias) return 0
  const made = node.outputs.reduce((sum, _, index) => sum + nominalBytes({ node, index }), 0)
  const freed = uniqueValues(node.inputs)
    .filter((value) => value.node.op && left.get(valueKey(value)) === 1)
    .reduce((sum, value) => sum + nominalBytes(value), 0)
  return made - freed
}

function greedyOrder(nodes: readonly Node[], graph: Graph, makers: ReadonlyMap<string, Node>): readonly Node[] {
  const left = readersLeft(graph)
  const inside = new Set(nodes)
  const position = new Map(nodes.map((node, index) => [node, index]))
  const users = new Map<Node, Node[]>()
  const waiting = new Map<Node, number>()
  for (const node of nodes) {
    const operands = new Set([...predecessors(node, makers)].filter((operand) => inside.has(operand)))
    waiting.set(node, operands.size)
    for (const operand of operands) users.set(operand, [...(users.get(operand) ?? []), node])
  }
  const ready = new Set(nodes.filter((node) => waiting.get(node) === 0))
  const order: Node[] = []
  while (ready.size > 0) {
    let best: Node | null = null
    let least = Number.POSITIVE_INFINITY
    for (const node of ready) {
      const cost = growth(node, left)
      const earlier = best && (position.get(node) as number) < (position.get(best) as number)
      if (cost < least || (cost === least && earlier)) [best, least] = [node, cost]
    }
    const next = best as Node
    ready.delete(next)
    order.push(next)
    for (const value of uniqueValues(next.inputs)) left.set(valueKey(value), (left.get(valueKey(value)) as number) - 1)
    for (const user of users.get(next) ?? []) {
      waiting.set(user, (waiting.get(user) as number) - 1)
      if (waiting.get(user) === 0) ready.add(user)
    }
  }
  return order
}

function peakOf(nodes: readonly Node[], graph: Graph): number {
  const left = readersLeft(graph)
  let inUse = 0
  let peak = 0
  for (const node of nodes) {
    const made = node.op?.alias ? 0 : node.outputs.reduce((sum, _, index) => sum + nominalBytes({ node, index }), 0)
    peak = Math.max(peak, inUse + made)
    inUse += growth(node, left)
    for (const value of uniqueValues(node.inputs)) left.set(valueKey(value), (left.get(valueKey(value)) as number) - 1)
  }
  return peak
}
