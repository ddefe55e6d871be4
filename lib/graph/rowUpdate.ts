/**
 * Pass 7: the update of a sparse table, which reads rows, moves them by a chain and writes them back, becomes one step
 * that holds a few rows at a time in the first-level cache:
 *
 *     gather(table, slots) -> elementwise -> updateRows(table, slots, ...)      elementwiseRows(table, ..., slots)
 */
import type { Random } from '../core/random.js'
import { defineOp, erased, type OpCase, type ReferenceArray, refuse, requireDtype } from './defineOp.js'
import { type ChainAttributes, elementwiseChain } from './elementwiseChain.js'
import { type Graph, rewrite, usersOf } from './graph.js'
import { elementwiseTable } from './kernelTable.js'
import { makeNode, type Node, specOf, type TensorSpec, type Value, valueKey } from './node.js'

interface RowsAttributes extends ChainAttributes {
  /** Per result: the operand that is the table whose rows it replaces. */
  readonly tables: readonly number[]
}

const chain = elementwiseChain.definition

const widthOf = ({ shape }: ReferenceArray) => shape.slice(1).reduce((product, dim) => product * dim, 1)

/** The table's rows at `slots`. */
function rowsAt(table: ReferenceArray, slots: ReferenceArray): ReferenceArray {
  const width = widthOf(table)
  const data = new Float64Array(slots.data.length * width)
  for (let i = 0; i < data.length; i++) {
    data[i] = table.data[(slots.data[Math.floor(i / width)] as number) * width + (i % width)] as number
  }
  return { dtype: table.dtype, shape: [slots.data.length, ...table.shape.slice(1)], data }
}

function replaced(table: ReferenceArray, slots: ReferenceArray, rows: ReferenceArray): ReferenceArray {
  const width = widthOf(table)
  const data = Float64Array.from(table.data)
  rows.data.forEach((value, i) => {
    data[(slots.data[Math.floor(i / width)] as number) * width + (i % width)] = value
  })
  return { ...table, data }
}

export const elementwiseRows = defineOp<RowsAttributes>({
  name: 'elementwiseRows',
  commits: true,
  partial: (operands, { tables }) => ({ tables, rows: operands - 1 }),
  infer(inputs, attributes) {
    const { shape, tables } = attributes
    const slots = inputs.at(-1) as TensorSpec
    requireDtype('elementwiseRows', 'slots', slots, 'int32')
    const operands = inputs.slice(0, -1).map((spec, index) => (tables.includes(index) ? { ...spec, shape } : spec))
    chain.infer(operands, attributes)
    return tables.map((table) => {
      const spec = inputs[table]
      if (spec) return spec
      return refuse('elementwiseRows', 'tables', `below ${inputs.length - 1}`, `${table}`)
    })
  },
  vjp: 'it exists only after differentiation, when updates are fused',
  reference(inputs, attributes) {
    const slots = inputs.at(-1) as ReferenceArray
    const operands = inputs
      .slice(0, -1)
      .map((operand, index) => (attributes.tables.includes(index) ? rowsAt(operand, slots) : operand))
    const rows = chain.reference(operands, attributes)
    return attributes.tables.map((table, result) =>
      replaced(inputs[table] as ReferenceArray, slots, rows[result] as ReferenceArray),
    )
  },
  flops: (inputs, _, { code, shape }) =>
    chain.flops?.([], [[inputs.at(-1)?.[0] ?? 0, ...(shape.slice(1) as number[])]], { code } as never) ?? 0,
  cases: (random) => ({
    valid: [
      rowsCase(random, random.int(60), 1 + random.int(40)),
      { ...rowsCase(random, LIVE, 7), live: LIVE },
      rowsCase(random, 0, 5),
    ],
    invalid: [
      {
        inputs: [
          { dtype: 'float32', shape: [3, 4] },
          { dtype: 'float32', shape: [2] },
        ],
        attributes: { code: [], operands: [0, 0], results: [0], shape: [2, 4], resultTypes: [0], tables: [0] },
        message: /elementwiseRows: slots should be dtype int32 but got float32/,
      },
    ],
  }),
})

/** A number of slots that no other size of its case equals. */
const LIVE = 6

/** Two tables and the rows that move them: `t <- t * row + scalar`, `u <- u - t * row`. */
function rowsCase(random: Random, count: number, width: number): OpCase<RowsAttributes> {
  const floats = (...shape: number[]): ReferenceArray => ({
    dtype: 'float32',
    shape,
    data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(random.normal())),
  })
  const slots = Float64Array.from({ length: count }, (_, position) => 2 * position + random.int(2))
  const { multiply, add, subtract } = elementwiseTable
  return {
    inputs: [
      floats(count, width),
      floats(2 * count, width),
      floats(),
      floats(2 * count, width),
      { dtype: 'int32', shape: [count], data: slots },
    ],
    attributes: {
      code: [...[multiply.opcode, 0, 4, 1, 0, 0], ...[subtract.opcode, 0, 5, 3, 4, 0], ...[add.opcode, 0, 4, 4, 2, 0]],
      operands: [0, 0, 0, 0, 0, 2, 0, 0],
      results: [4, 5],
      tables: [1, 3],
      shape: [count, width],
      resultTypes: [0, 0],
    },
    differentiable: [],
  }
}

// The pass ---------------------------------------------------------------------------------------------------------

export function fuseRowUpdates(graph: Graph): Graph {
  const users = usersOf(graph)
  const kept = new Set(graph.outputs.map(({ value }) => valueKey(value)))
  const fused = new Map<Node, Node | null>()
  return rewrite(graph, (node) => {
    const rows = node.op?.name === 'updateRows' ? node.inputs[2] : undefined
    if (rows?.node.op?.name !== 'elementwise') return null
    const update = fused.get(rows.node) ?? fuse(rows.node, users, kept)
    fused.set(rows.node, update)
    return update && [{ node: update, index: rows.index }]
  })
}

/** One step for a chain whose results all replace rows that it reads; null where something else needs them. */
function fuse(moved: Node, users: ReadonlyMap<string, readonly Node[]>, kept: ReadonlySet<string>): Node | null {
  const onlyUser = (value: Value): Node | null => {
    const [user, ...others] = users.get(valueKey(value)) ?? []
    return user && others.length === 0 && !kept.has(valueKey(value)) ? user : null
  }
  const updates = moved.outputs.map((_, index) => onlyUser({ node: moved, index }))
  const slots = updates[0]?.inputs[1]
  // Rows of one gradient come once each: a row of a table belongs to one tile of the chain.
  if (slots?.node.op?.name !== 'coalesce') return null
  const inputs = [...moved.inputs]
  const tables: number[] = []
  for (const update of updates) {
    const table = update?.inputs[0]
    if (update?.op?.name !== 'updateRows' || !table || !same(update.inputs[1] as Value, slots)) return null
    const operand = moved.inputs.findIndex(
      (value, index) =>
        value.node.op?.name === 'gather' &&
        same(value.node.inputs[0] as Value, table) &&
        same(value.node.inputs[1] as Value, slots) &&
        onlyUser(value) === moved &&
        (moved.attributes.operands as readonly number[])[2 * index + 1] === 0,
    )
    if (operand < 0 || table.node.leaf?.kind !== 'state' || tables.includes(operand)) return null
    tables.push(operand)
    inputs[operand] = table
  }
  return makeNode({
    op: erased(elementwiseRows),
    leaf: null,
    inputs: [...inputs, slots],
    attributes: { ...moved.attributes, tables },
    outputs: tables.map((table) => specOf(inputs[table] as Value)),
    source: moved.source,
  })
}

const same = (a: Value, b: Value): boolean => a.node === b.node && a.index === b.index
