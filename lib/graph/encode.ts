/**
 * Pass 10: the program file, version 2. Little-endian, no padding; a string is its byte length and its UTF-8 bytes.
 *
 *     "KAIROSPG" version flags length
 *     symbols  dims  storageCount  stores  buffers  steps  commitStart  outputs  checks  computed
 *
 * `native/runtime/program.h` reads it back and checks all of it before anything runs.
 */
import { type Dim, symbolsOf, termsOf } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { variableName, variableOf } from './autodiff.js'
import { ByteWriter } from './byteWriter.js'
import { computedSymbols } from './computed.js'
import { idRules } from './defineOp.js'
import { kernelOf } from './kernelOf.js'
import { type AttributeType, type KernelDeclaration, kernelTable } from './kernelTable.js'
import { type AttributeValue, type Node, type StoreSlot, specOf, tensorOf, type Value, valueKey } from './node.js'
import type { Plan, PlannedBuffer } from './plan.js'

export const PROGRAM_MAGIC = 'KAIROSPG'
export const PROGRAM_VERSION = 2

/** Store slots in the order in which every program lists them. */
export const storeSlots = ['parameters', 'optimizer', 'state'] as const satisfies readonly StoreSlot[]

const roleCodes = { temporary: 0, input: 1, state: 2, constant: 3 } as const
const dtypeCodes = { float32: 0, int32: 1, bool: 2 } as const
const attributeCodes = { bool: 0, int: 1, float: 2, string: 3, ints: 4, floats: 5 } as const satisfies Record<
  AttributeType,
  number
>

export interface EncodeOptions {
  /** Leave out source lines: equal graphs then have equal bytes. */
  readonly sources?: boolean
}

export function encode(plan: Plan, { sources = true }: EncodeOptions = {}): Uint8Array {
  const writer = new ByteWriter()
  writer.ascii(PROGRAM_MAGIC).u32(PROGRAM_VERSION).u32(0)
  const lengthAt = writer.length
  writer.u64(0)

  const { graph, buffers, kernelSteps } = plan
  const dims = new Map<Dim, number>()
  const dimIndex = (dim: Dim): number => {
    if (!dims.has(dim)) dims.set(dim, dims.size)
    return dims.get(dim) as number
  }
  const indexOf = new Map(buffers.map(({ value }, index) => [valueKey(value), index]))
  const bufferOf = (value: Value): number => {
    const index = indexOf.get(valueKey(plan.writes.get(valueKey(value)) ?? value))
    if (index !== undefined) return index
    throw new KairosError('KAIROS_INTERNAL', { op: 'encode', got: 'a value without memory', source: value.node.source })
  }
  const checks = checksOf(graph.nodes)
  for (const { value } of buffers) specOf(value).shape.forEach(dimIndex)
  for (const { limit } of checks) dimIndex(limit)
  const computed = computedSymbols(kernelSteps)
  for (const { limit } of computed) dimIndex(limit)

  const symbols = symbolsOf([...dims.keys()])
  writer.list(symbols, (symbol) => writer.string(symbol))
  writer.list([...dims.keys()], (dim) => {
    writer.list(termsOf(dim), ({ coefficient, symbols: factors }) => {
      writer.i64(coefficient).list(factors, (symbol) => writer.u32(symbols.indexOf(symbol)))
    })
  })
  writer.u32(plan.storageCount)
  writer.list(storeSlots, (slot) => writer.string(slot))
  writer.list(buffers, (buffer) => writeBuffer(writer, buffer, dimIndex))
  writer.list(kernelSteps, (node) => {
    writer.string(kernelOf(node))
    writer.list(node.inputs, (value) => writer.u32(bufferOf(value)))
    writer.list(node.outputs, (_, index) => writer.u32(bufferOf({ node, index })))
    writeAttributes(writer, node)
    writer.string(sources ? node.source : '')
  })
  writer.u32(plan.kernelCommitStart)
  writer.list(graph.outputs, ({ name, value }) => writer.string(name).u32(bufferOf(value)))
  writer.list(checks, ({ ids, limit, alsoAllowed, table }) => {
    writer.u32(bufferOf(ids)).u32(dimIndex(limit)).i64(alsoAllowed).string(table)
  })
  writer.list(computed, ({ symbol, limit, count }) => {
    writer.u32(symbols.indexOf(symbol)).u32(dimIndex(limit)).u32(bufferOf(count))
  })
  return writer.finish(lengthAt)
}

function writeBuffer(
  writer: ByteWriter,
  { value, role, storage }: PlannedBuffer,
  dimIndex: (dim: Dim) => number,
): void {
  const { dtype, shape } = specOf(value)
  const { leaf } = value.node
  const slot = leaf?.kind === 'state' ? storeSlots.indexOf(leaf.store) : 0
  const name = leaf?.kind === 'state' ? variableName(leaf.variable) : leaf?.kind === 'input' ? leaf.name : ''
  writer.string(name).u8(roleCodes[role]).u8(dtypeCodes[dtype]).u8(slot).u8(shape.length)
  for (const dim of shape) writer.u32(dimIndex(dim))
  writer.u32(storage)
  if (leaf?.kind === 'constant' && role === 'constant') {
    const { buffer, byteOffset, byteLength } = leaf.data
    writer.u64(byteLength).bytes(new Uint8Array(buffer, byteOffset, byteLength))
  }
}

function writeAttributes(writer: ByteWriter, node: Node): void {
  const declared = (kernelTable[kernelOf(node)] as KernelDeclaration).attributes
  const present = Object.entries(declared).flatMap(([key, type]) => {
    const name = key.replace('?', '')
    const value = node.attributes[name]
    if (value === undefined && !key.endsWith('?') && kernelOf(node) === node.op?.name) {
      throw new KairosError('KAIROS_INTERNAL', {
        op: node.op.name,
        argument: `attribute '${name}'`,
        got: 'nothing',
        source: node.source,
      })
    }
    return value === undefined ? [] : [{ name, type, value }]
  })
  writer.list(present, ({ name, type, value }) => {
    writer.string(name).u8(attributeCodes[type])
    writeAttribute(writer, type, value)
  })
}

function writeAttribute(writer: ByteWriter, kind: AttributeType, value: AttributeValue): void {
  switch (kind) {
    case 'bool':
      writer.u8(value ? 1 : 0)
      break
    case 'int':
      writer.i64(value as number)
      break
    case 'float':
      writer.f64(value as number)
      break
    case 'string':
      writer.string(value as string)
      break
    case 'ints':
      writer.list(value as readonly number[], (item) => writer.i64(item))
      break
    case 'floats':
      writer.list(value as readonly number[], (item) => writer.f64(item))
      break
    default:
      kind satisfies never
  }
}

interface Check {
  readonly ids: Value
  readonly limit: Dim
  readonly alsoAllowed: number
  readonly table: string
}

/** Range checks of fed ids, found through views and transposes, which keep every element. */
function checksOf(nodes: readonly Node[]): Check[] {
  const checks = new Map<string, Check>()
  for (const node of nodes) {
    for (const rule of idRules(node)) {
      let ids = node.inputs[rule.operand] as Value
      while (ids.node.op && (ids.node.op.alias || ids.node.op.permutes)) ids = ids.node.inputs[0] as Value
      if (ids.node.leaf?.kind !== 'input') continue
      const limit = rule.limit(node.inputs.map(specOf))
      const alsoAllowed = rule.alsoAllowed === undefined ? -1 : (node.attributes[rule.alsoAllowed] as number)
      const table = rule.table === undefined ? (node.op?.name ?? '') : tableName(node.inputs[rule.table] as Value)
      checks.set(`${valueKey(ids)} ${limit} ${alsoAllowed}`, { ids, limit, alsoAllowed, table })
    }
  }
  return [...checks.values()]
}

function tableName(value: Value): string {
  const variable = variableOf(tensorOf(value))
  return variable ? variableName(variable) : (value.node.op?.name ?? 'table')
}
