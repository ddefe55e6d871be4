/** Mutants of program files: of the bytes as they stand, and of what they mean. */
import type { Random } from '../../lib/core/random.js'
import { elementwiseTable, kernelTable } from '../../lib/graph/kernelTable.js'
import {
  type AttributeValue,
  decode,
  elementsOf,
  encode,
  type Field,
  type FileBuffer,
  type FileStep,
  LENGTH_AT,
  type ProgramFile,
  Role,
} from './fileFormat.js'

const extremes = [
  -1n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  -(2n ** 63n),
]
const oddFloats = [0, -0, 1, -1, 0.5, 1e-300, 1e300, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
const oddNames = ['', '__proto__', 'constructor', 'x', 'a\0b', '\u{1f600}', 'n'.repeat(300)]
const kernels = Object.keys(kernelTable)
const opcodes = Object.values(elementwiseTable).map(({ opcode }) => BigInt(opcode))

const chance = (random: Random, probability: number) => random.uniform() < probability
const pick = <T>(random: Random, items: readonly T[]): T | undefined =>
  items.length === 0 ? undefined : items[random.int(items.length)]
const indexOf = (random: Random, items: readonly unknown[]) => random.int(Math.max(1, items.length))

/** Small numbers find off-by-one faults and pass many checks; the others find overflows. */
const anInteger = (random: Random): bigint =>
  chance(random, 0.6) ? BigInt(random.int(18)) : (pick(random, extremes) as bigint)

// Bytes --------------------------------------------------------------------------------------------------------------

type ByteMutation = (bytes: Uint8Array, random: Random, donor: Uint8Array, fields: readonly Field[]) => Uint8Array

const spanOf = (bytes: Uint8Array, random: Random) => {
  const begin = random.int(bytes.length)
  return { begin, end: Math.min(bytes.length, begin + 1 + random.int(chance(random, 0.5) ? 16 : 512)) }
}

function overwrite(bytes: Uint8Array, at: number, size: number, value: bigint): Uint8Array {
  for (let i = 0; i < size && at + i < bytes.length; i++)
    bytes[at + i] = Number(BigInt.asUintN(64, value) >> BigInt(8 * i)) & 255
  return bytes
}

const byteMutations: readonly ByteMutation[] = [
  function flipBits(bytes, random) {
    for (let flips = 1 + random.int(4); flips > 0; flips--) {
      const at = random.int(bytes.length)
      bytes[at] = (bytes[at] as number) ^ (1 << random.int(8))
    }
    return bytes
  },
  function changeByte(bytes, random) {
    bytes[random.int(bytes.length)] = random.int(256)
    return bytes
  },
  function overwriteAnywhere(bytes, random) {
    return overwrite(bytes, random.int(bytes.length), chance(random, 0.5) ? 4 : 8, anInteger(random))
  },
  function overwriteField(bytes, random, _, fields) {
    const { at, size } = pick(random, fields) as Field
    return overwrite(bytes, at, size, chance(random, 0.3) ? BigInt(random.uint32()) : anInteger(random))
  },
  function nudgeField(bytes, random, _, fields) {
    const { at, size } = pick(random, fields) as Field
    return overwrite(bytes, at, size, BigInt(bytes[at] as number) + (chance(random, 0.5) ? 1n : -1n))
  },
  function swapFields(bytes, random, _, fields) {
    const a = pick(random, fields) as Field
    const b = pick(
      random,
      fields.filter(({ size }) => size === a.size),
    ) as Field
    const kept = bytes.slice(a.at, a.at + a.size)
    bytes.copyWithin(a.at, b.at, b.at + b.size)
    bytes.set(kept, b.at)
    return bytes
  },
  function truncate(bytes, random) {
    return bytes.slice(0, random.int(bytes.length))
  },
  function duplicateSpan(bytes, random) {
    const { begin, end } = spanOf(bytes, random)
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(begin)])
  },
  function deleteSpan(bytes, random) {
    const { begin, end } = spanOf(bytes, random)
    return Buffer.concat([bytes.subarray(0, begin), bytes.subarray(end)])
  },
  function splice(bytes, random, donor) {
    const { begin, end } = spanOf(donor, random)
    const at = random.int(bytes.length)
    if (chance(random, 0.5)) return Buffer.concat([bytes.subarray(0, at), donor.subarray(begin)])
    return Buffer.concat([bytes.subarray(0, at), donor.subarray(begin, end), bytes.subarray(at)])
  },
]

function mutateBytes(base: Uint8Array, random: Random, donor: Uint8Array): Uint8Array {
  const { fields } = decode(base)
  let bytes: Uint8Array = base.slice()
  for (let left = chance(random, 0.7) ? 1 : 1 + random.int(4); left > 0 && bytes.length > 0; left--) {
    const mutation = pick(random, byteMutations) as ByteMutation
    const present = fields.filter(({ at, size }) => at + size <= bytes.length)
    if (present.length > 0) bytes = mutation(bytes, random, donor, present)
  }
  // Mostly with a true length, or no mutant of another size would get past the header.
  if (bytes.length >= LENGTH_AT + 8 && chance(random, 0.9)) overwrite(bytes, LENGTH_AT, 8, BigInt(bytes.length))
  return bytes
}

// Meaning ------------------------------------------------------------------------------------------------------------

type Mutation = (file: ProgramFile, random: Random, donor: ProgramFile) => void

/** Another buffer, mostly one that looks alike. */
function bufferLike(file: ProgramFile, random: Random, index: number): number {
  const wanted = file.buffers[index]
  const alike = [...file.buffers.keys()].filter((other) => {
    const buffer = file.buffers[other] as FileBuffer
    return wanted && buffer.dtype === wanted.dtype && `${buffer.dims}` === `${wanted.dims}`
  })
  return chance(random, 0.6) && alike.length > 0 ? (pick(random, alike) as number) : indexOf(random, file.buffers)
}

function mutateValue(value: AttributeValue, random: Random): AttributeValue {
  if (typeof value === 'bigint') return chance(random, 0.3) ? value + 1n : anInteger(random)
  if (typeof value === 'number') return pick(random, oddFloats) as number
  if (typeof value === 'string') return pick(random, [...oddNames, 'none', 'relu', 'gelu', 'sigmoid', 'tanh']) as string
  const items = value.slice() as bigint[]
  const at = indexOf(random, items)
  const change = random.int(6)
  if (change === 0) items.splice(at, 1)
  else if (change === 1) items.splice(at, 0, anInteger(random))
  else if (change === 2) items.push(...items.slice(-6))
  else if (change === 3) items[at] = pick(random, opcodes) as bigint
  else if (change === 4) random.shuffle(items)
  else items[at] = anInteger(random)
  return (typeof value[0] === 'number' ? items.map(Number) : items) as AttributeValue
}

const mutations: readonly Mutation[] = [
  function redirect(file, random) {
    const step = pick(random, file.steps)
    const list = step && pick(random, [step.inputs, step.outputs])
    if (!list) return
    const at = indexOf(random, list)
    list[at] = bufferLike(file, random, list[at] as number)
  },
  function changeArity(file, random) {
    const step = pick(random, file.steps)
    const list = step && pick(random, [step.inputs, step.outputs])
    if (chance(random, 0.5)) list?.splice(indexOf(random, list), 1)
    else list?.push(indexOf(random, file.buffers))
  },
  function reorderSteps(file, random) {
    const [step] = file.steps.splice(indexOf(random, file.steps), 1)
    if (step) file.steps.splice(random.int(file.steps.length + 1), 0, step)
  },
  function repeatStep(file, random) {
    const step = pick(random, file.steps)
    if (step) file.steps.splice(indexOf(random, file.steps), 0, structuredClone(step))
    if (chance(random, 0.7)) file.commitStart++
  },
  function dropStep(file, random) {
    file.steps.splice(indexOf(random, file.steps), 1)
    if (chance(random, 0.7)) file.commitStart = Math.max(0, file.commitStart - 1)
  },
  function borrowStep(file, random, donor) {
    const step = structuredClone(pick(random, donor.steps))
    if (!step) return
    const map = (list: number[]) => list.map(() => indexOf(random, file.buffers))
    Object.assign(step, { inputs: map(step.inputs), outputs: map(step.outputs) } satisfies Partial<FileStep>)
    file.steps.splice(indexOf(random, file.steps), 0, step)
  },
  function changeKernel(file, random) {
    const step = pick(random, file.steps)
    const similar = file.steps.filter(
      ({ inputs, outputs }) => inputs.length === step?.inputs.length && outputs.length === step.outputs.length,
    )
    const other = pick(random, similar)
    if (!step) return
    step.op = chance(random, 0.5) ? (pick(random, kernels) as string) : (other as FileStep).op
    if (chance(random, 0.5)) step.attributes = structuredClone((other as FileStep).attributes)
  },
  function changeAttribute(file, random) {
    const attribute = pick(
      random,
      pick(
        random,
        file.steps.filter(({ attributes }) => attributes.length > 0),
      )?.attributes ?? [],
    )
    if (!attribute) return
    if (attribute.type === 0) attribute.value = attribute.value ? 0 : 1
    else attribute.value = mutateValue(attribute.value, random)
  },
  function dropAttribute(file, random) {
    const step = pick(random, file.steps)
    if (chance(random, 0.5)) step?.attributes.splice(indexOf(random, step.attributes), 1)
    else
      step?.attributes.push({
        name: pick(random, ['axis', 'count', 'paddingIndex', 'salt']) as string,
        type: 1,
        value: anInteger(random),
      })
  },
  function changeCoefficient(file, random) {
    const term = pick(random, pick(random, file.dims) ?? [])
    if (term) term.coefficient = anInteger(random)
  },
  function changePolynomial(file, random) {
    const terms = pick(random, file.dims)
    const change = random.int(4)
    if (change === 0) terms?.splice(indexOf(random, terms), 1)
    else if (change === 1)
      terms?.push({
        coefficient: anInteger(random),
        factors: file.symbols.length > 0 ? [indexOf(random, file.symbols)] : [],
      })
    else if (change === 2) pick(random, terms ?? [])?.factors.push(indexOf(random, file.symbols))
    else pick(random, terms ?? [])?.factors.pop()
  },
  function swapDims(file, random) {
    const buffer = pick(random, file.buffers)
    if (buffer && buffer.dims.length > 0) buffer.dims[indexOf(random, buffer.dims)] = indexOf(random, file.dims)
  },
  function changeRank(file, random) {
    const dims = pick(random, file.buffers)?.dims
    if (chance(random, 0.5)) dims?.splice(indexOf(random, dims), 1)
    else dims?.splice(random.int(dims.length + 1), 0, indexOf(random, file.dims))
  },
  function mergeDims(file, random) {
    const [from, to] = [indexOf(random, file.dims), indexOf(random, file.dims)]
    for (const buffer of file.buffers) buffer.dims = buffer.dims.map((dim) => (dim === from ? to : dim))
  },
  function changeDType(file, random) {
    const buffer = pick(random, file.buffers)
    if (buffer) buffer.dtype = random.int(3)
  },
  function changeRole(file, random) {
    const buffer = pick(random, file.buffers)
    if (!buffer) return
    Object.assign(buffer, { role: random.int(4), name: buffer.name || `b${random.int(9)}`, store: 0 })
  },
  function changeStorage(file, random) {
    const buffer = pick(random, file.buffers)
    if (!buffer) return
    buffer.storage = chance(random, 0.8) ? (pick(random, file.buffers) as FileBuffer).storage : file.storageCount++
  },
  function changeStore(file, random) {
    const buffer =
      pick(
        random,
        file.buffers.filter(({ role }) => role === Role.state),
      ) ?? pick(random, file.buffers)
    if (buffer) buffer.store = chance(random, 0.8) ? indexOf(random, file.stores) : random.int(256)
  },
  function changeConstant(file, random) {
    const constant = pick(
      random,
      file.buffers.filter(({ role }) => role === Role.constant),
    )?.constant
    for (let at = 0; at < (constant?.length ?? 0); at++) (constant as Uint8Array)[at] = random.int(256)
  },
  function changeCommit(file, random) {
    file.commitStart = chance(random, 0.8)
      ? random.int(file.steps.length + 1)
      : Number(BigInt.asUintN(32, anInteger(random)))
  },
  function changeOutputs(file, random) {
    const output = pick(random, file.outputs)
    const change = random.int(4)
    if (change === 0) file.outputs.splice(indexOf(random, file.outputs), 1)
    else if (change === 1 && output) output.buffer = indexOf(random, file.buffers)
    else if (change === 2 && output) output.name = pick(random, oddNames) as string
    else file.outputs.push({ name: `more${random.int(4)}`, buffer: indexOf(random, file.buffers) })
  },
  function changeChecks(file, random) {
    const ids = [...file.buffers.keys()].filter(
      (index) => file.buffers[index]?.dtype === 1 && file.buffers[index]?.role === Role.input,
    )
    if (chance(random, 0.3)) file.checks.splice(indexOf(random, file.checks), 1)
    else
      file.checks.push({
        buffer: pick(random, ids) ?? 0,
        dim: indexOf(random, file.dims),
        alsoAllowed: anInteger(random),
        table: 'table',
      })
  },
  function changeComputed(file, random) {
    const change = random.int(4)
    const known = pick(random, file.computed)
    if (change === 0) file.computed.splice(indexOf(random, file.computed), 1)
    else if (change === 1 && known) known.limit = indexOf(random, file.dims)
    else if (change === 2 && known) known.buffer = indexOf(random, file.buffers)
    else {
      const [symbol, limit] = [indexOf(random, file.symbols), indexOf(random, file.dims)]
      file.computed.push({ symbol, limit, buffer: indexOf(random, file.buffers) })
    }
  },
  function changeNames(file, random) {
    const name = pick(random, oddNames) as string
    const change = random.int(4)
    if (change === 0 && file.symbols.length > 0) file.symbols[indexOf(random, file.symbols)] = name
    else if (change === 1) file.symbols.push(name)
    else if (change === 2) file.stores[indexOf(random, file.stores)] = name
    else Object.assign(pick(random, file.buffers) ?? {}, { name })
  },
]

/** Constants that are as long as their shapes again say more than their length was wrong. */
function repairConstants(file: ProgramFile): void {
  for (const buffer of file.buffers) {
    if (
      buffer.role !== Role.constant ||
      !buffer.dims.every((dim) => file.dims[dim]?.every(({ factors }) => factors.length === 0))
    )
      continue
    const bytes = elementsOf(file, buffer, []) * (buffer.dtype === 2 ? 1n : 4n)
    if (bytes < 0n || bytes > 1n << 16n || BigInt(buffer.constant.length) === bytes) continue
    const repaired = new Uint8Array(Number(bytes))
    repaired.set(buffer.constant.subarray(0, repaired.length))
    buffer.constant = repaired
  }
}

function mutateMeaning(base: Uint8Array, random: Random, donor: Uint8Array): Uint8Array {
  const { file } = decode(base)
  const other = decode(donor).file
  for (let left = chance(random, 0.5) ? 1 : 1 + random.int(4); left > 0; left--) {
    const mutation = pick(random, mutations) as Mutation
    mutation(file, random, other)
  }
  if (chance(random, 0.8)) repairConstants(file)
  return encode(file)
}

/** A mutant of one file of the corpus, with parts of another. */
export function mutantOf(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const base = pick(random, corpus) as Uint8Array
  const donor = pick(random, corpus) as Uint8Array
  return chance(random, 0.3) ? mutateBytes(base, random, donor) : mutateMeaning(base, random, donor)
}
