/**
 * Pass 6: every elementwise op becomes part of a chain, and connected ops of one shape share one.
 *
 * Groups grow from producers to users as long as the graph of groups stays free of cycles. A broadcast operand is read
 * through its index map and never stored. What only updates variables is kept apart from what other steps read, so
 * that an update can write variables in place after all checks.
 */
import { sameShape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { commitOnly } from './commitOnly.js'
import { erased } from './defineOp.js'
import { bitsOf, type ChainAttributes, elementwiseChain, typeCodes } from './elementwiseChain.js'
import { type Graph, mapValues, usersOf, withInputs } from './graph.js'
import { elementwiseTable, INSTRUCTION_WIDTH } from './kernelTable.js'
import { makeNode, type Node, specOf, type TensorSpec, type Value, valueKey } from './node.js'
import { uniformConstant } from './simplify.js'

/** Limits of the kernel; the last keeps a chain's registers within the first-level cache. */
const MAX_OPERANDS = 32
const MAX_RESULTS = 8
const MAX_REGISTERS = 64
const MAX_NODES = 40

/** Nodes that become one step; `grouped` is false for a node that stays as it is. */
interface Group {
  readonly nodes: readonly Node[]
  readonly grouped: boolean
}

export function fuseElementwise(graph: Graph): Graph {
  const groups = formGroups(graph)
  const replaced = new Map<string, Value>()
  const now = (value: Value): Value => replaced.get(valueKey(value)) ?? value
  const read = externallyRead(graph, groups)
  for (const unit of unitsInOrder(graph, groups)) {
    if (unit.grouped) {
      for (const [key, value] of emit(unit, now, read)) replaced.set(key, value)
      continue
    }
    const [node] = unit.nodes as [Node]
    const rebuilt = withInputs(node, node.inputs.map(now))
    if (rebuilt !== node)
      node.outputs.forEach((_, index) => replaced.set(`${node.id}:${index}`, { node: rebuilt, index }))
  }
  return mapValues(graph, now)
}

// Grouping ---------------------------------------------------------------------------------------------------------

function formGroups(graph: Graph): Map<Node, Group> {
  const groups = new Map<Node, Group>()
  const forCommit = commitOnly(graph)
  const users = usersOf(graph)
  const roots = rootKeys(graph)
  for (const node of graph.nodes) {
    if (!node.op?.elementwise || !(node.op.name in elementwiseTable)) continue
    let own: Group = { nodes: [node], grouped: true }
    groups.set(node, own)
    for (const operand of node.inputs) {
      const other = groups.get(operand.node)
      if (!other || other === own || forCommit.has(operand.node) !== forCommit.has(node)) continue
      if (!sameShape(shapeOf(other), shapeOf(own))) continue
      const merged: Group = { nodes: [...other.nodes, ...own.nodes], grouped: true }
      if (merged.nodes.length > MAX_NODES || !fits(merged, users, roots) || wouldCycle(merged, groups)) continue
      for (const member of merged.nodes) groups.set(member, merged)
      own = merged
    }
  }
  return groups
}

const shapeOf = ({ nodes: [first] }: Group) => ((first as Node).outputs[0] as TensorSpec).shape

const rootKeys = (graph: Graph): Set<string> =>
  new Set([...graph.outputs, ...graph.assignments].map(({ value }) => valueKey(value)))

/** Whether operands and results stay within the kernel's limits. */
function fits({ nodes }: Group, users: ReadonlyMap<string, readonly Node[]>, roots: ReadonlySet<string>): boolean {
  const inside = new Set(nodes)
  const operands = new Set<string>()
  const literals = new Set<string>()
  let results = 0
  for (const node of nodes) {
    for (const value of node.inputs) {
      if (inside.has(value.node)) continue
      const literal = uniformConstant(sourceOf(value))
      if (literal === null) operands.add(valueKey(value))
      else literals.add(literalKey(specOf(value).dtype, literal))
    }
    const key = valueKey({ node, index: 0 })
    if (roots.has(key) || users.get(key)?.some((user) => !inside.has(user))) results++
  }
  const registers = operands.size + literals.size + nodes.length
  return operands.size <= MAX_OPERANDS && results <= MAX_RESULTS && registers <= MAX_REGISTERS
}

/** Literals of one key share a register. */
const literalKey = (dtype: DType, value: number) => `${dtype} ${Object.is(value, -0) ? '-0' : value}`

/** Whether a path leaves the merged group and comes back, going through other groups as wholes. */
function wouldCycle(merged: Group, groups: ReadonlyMap<Node, Group>): boolean {
  const inside = new Set(merged.nodes)
  const seen = new Set<Node>()
  const stack = merged.nodes.flatMap(({ inputs }) => inputs.map(({ node }) => node)).filter((node) => !inside.has(node))
  while (stack.length > 0) {
    const node = stack.pop() as Node
    if (seen.has(node)) continue
    const members = groups.get(node)?.nodes ?? [node]
    for (const member of members) {
      seen.add(member)
      for (const { node: operand } of member.inputs) {
        if (inside.has(operand)) return true
        if (!seen.has(operand)) stack.push(operand)
      }
    }
  }
  return false
}

/** Groups and single nodes, operands before users. */
function unitsInOrder(graph: Graph, groups: ReadonlyMap<Node, Group>): Group[] {
  const order: Group[] = []
  const opened = new Set<Node>()
  const stack: { unit: Group; operands: Node[] }[] = []
  const open = (node: Node) => {
    if (opened.has(node)) return
    const unit = groups.get(node) ?? { nodes: [node], grouped: false }
    const inside = new Set(unit.nodes)
    for (const member of unit.nodes) opened.add(member)
    const operands = unit.nodes.flatMap(({ inputs }) => inputs.map((value) => value.node))
    stack.push({ unit, operands: operands.filter((operand) => !inside.has(operand)).reverse() })
  }
  for (const node of graph.nodes) {
    open(node)
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const operand = top.operands.pop()
      if (operand) open(operand)
      else order.push((stack.pop() as { unit: Group }).unit)
    }
  }
  return order
}

// Emission ---------------------------------------------------------------------------------------------------------

/** Values that something outside their group reads. */
function externallyRead(graph: Graph, groups: ReadonlyMap<Node, Group>): Set<string> {
  const read = new Set<string>()
  for (const node of graph.nodes) {
    const group = groups.get(node)
    for (const value of node.inputs) if (!group || groups.get(value.node) !== group) read.add(valueKey(value))
  }
  for (const key of rootKeys(graph)) read.add(key)
  return read
}

/** Looks through broadcasts: the value that is stored. */
function sourceOf(value: Value): Value {
  return value.node.op?.broadcasts ? (value.node.inputs[0] as Value) : value
}

function emit(group: Group, now: (value: Value) => Value, read: ReadonlySet<string>): [string, Value][] {
  const shape = shapeOf(group)
  const builder = new ChainBuilder(shape.length)
  const members = new Set(group.nodes)
  const inOrder = topological(group.nodes, members)
  for (const node of inOrder) {
    for (const value of node.inputs) if (!members.has(value.node)) builder.load(value, now)
  }
  const uses = lastUses(inOrder, members, read)
  inOrder.forEach((node, position) => {
    builder.instruction(node)
    builder.release(uses.get(position) ?? [])
  })
  const results = inOrder.filter((node) => read.has(valueKey({ node, index: 0 })))
  const outputs = results.map((node) => node.outputs[0] as TensorSpec)
  const attributes: ChainAttributes = {
    code: builder.code,
    operands: builder.maps,
    results: results.map((node) => builder.registerOf({ node, index: 0 })),
    shape,
    resultTypes: outputs.map(({ dtype }) => typeCodes[dtype]),
  }
  const source = (inOrder.at(-1) as Node).source
  const chain = makeNode({
    op: erased(elementwiseChain),
    leaf: null,
    inputs: builder.inputs,
    attributes,
    outputs,
    source,
  })
  return results.map((node, index) => [valueKey({ node, index: 0 }), { node: chain, index }])
}

/** Members, operands first. */
function topological(nodes: readonly Node[], members: ReadonlySet<Node>): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>()
  const visit = (node: Node) => {
    if (seen.has(node)) return
    seen.add(node)
    for (const { node: operand } of node.inputs) if (members.has(operand)) visit(operand)
    order.push(node)
  }
  for (const node of nodes) visit(node)
  return order
}

/** Position in the chain -> members whose register is free afterwards. Results keep theirs. */
function lastUses(order: readonly Node[], members: ReadonlySet<Node>, read: ReadonlySet<string>): Map<number, Node[]> {
  const lastUse = new Map<Node, number>()
  order.forEach((node, position) => {
    for (const { node: operand } of node.inputs) if (members.has(operand)) lastUse.set(operand, position)
  })
  const freed = new Map<number, Node[]>()
  for (const [node, position] of lastUse) {
    if (read.has(valueKey({ node, index: 0 }))) continue
    freed.set(position, [...(freed.get(position) ?? []), node])
  }
  return freed
}

class ChainBuilder {
  readonly code: number[] = []
  readonly inputs: Value[] = []
  readonly maps: number[] = []
  private readonly registers = new Map<string, number>()
  private readonly literals = new Map<string, number>()
  private readonly free: number[] = []
  private pending: { literal: string; dtype: TensorSpec['dtype']; value: number }[] = []
  private next = 0

  constructor(private readonly rank: number) {}

  /** Gives an outside value a register: an operand with its index map, or a literal. */
  load(value: Value, now: (value: Value) => Value): void {
    if (this.registers.has(valueKey(value))) return
    const source = sourceOf(value)
    const literal = uniformConstant(source)
    const { dtype } = specOf(source)
    if (literal !== null) {
      this.pending.push({ literal: valueKey(value), dtype, value: literal })
      return
    }
    const map = this.indexMap(value)
    const stored = now(source)
    const existing = this.inputs.findIndex(
      (other, i) =>
        valueKey(other) === valueKey(stored) && this.maps[2 * i] === map[0] && this.maps[2 * i + 1] === map[1],
    )
    const register = existing >= 0 ? existing : this.inputs.push(stored) - 1
    if (existing < 0) this.maps.push(...map)
    this.registers.set(valueKey(value), register)
    this.next = this.inputs.length
  }

  private indexMap(value: Value): readonly [number, number] {
    if (value.node.op?.broadcasts) {
      return [value.node.attributes.axis as number, value.node.attributes.count as number]
    }
    return specOf(value).shape.length === 0 ? [0, this.rank] : [0, 0]
  }

  instruction(node: Node): void {
    this.flushLiterals()
    const name = node.op?.name as keyof typeof elementwiseTable
    const sources = node.inputs.map((value) => this.registerOf(value))
    // The type of an instruction is that of its data operands; a select's condition is always bool.
    const typed = (name === 'select' ? node.inputs[1] : node.inputs[0]) as Value
    const destination = this.take()
    this.registers.set(valueKey({ node, index: 0 }), destination)
    const type = typeCodes[specOf(typed).dtype]
    this.emit([elementwiseTable[name].opcode, type, destination, ...sources, 0, 0, 0].slice(0, INSTRUCTION_WIDTH))
  }

  registerOf(value: Value): number {
    return this.registers.get(valueKey(value)) as number
  }

  release(nodes: readonly Node[]): void {
    for (const node of nodes) this.free.push(this.registerOf({ node, index: 0 }))
  }

  private flushLiterals(): void {
    for (const { literal, dtype, value } of this.pending) {
      const key = literalKey(dtype, value)
      let register = this.literals.get(key)
      if (register === undefined) {
        register = this.take()
        this.literals.set(key, register)
        this.emit([elementwiseTable.constant.opcode, typeCodes[dtype], register, bitsOf(value, dtype), 0, 0])
      }
      this.registers.set(literal, register)
    }
    this.pending = []
  }

  private take(): number {
    return this.free.pop() ?? this.next++
  }

  private emit(instruction: readonly number[]): void {
    this.code.push(...instruction)
  }
}
