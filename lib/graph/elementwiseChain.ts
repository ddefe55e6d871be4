/**
 * The op that chains of elementwise ops become: a few instructions run over tiles that stay in the first-level cache,
 * so that a chain reads its operands once and writes its results once.
 */
import { type Dim, formatShape, sameShape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import type { Random } from '../core/random.js'
import { defineOp, type OpCase, type ReferenceArray, refuse, registry } from './defineOp.js'
import { elementwiseTable, INSTRUCTION_WIDTH } from './kernelTable.js'
import type { Attributes, TensorSpec } from './node.js'

export interface ChainAttributes extends Attributes {
  /** Instructions, as the kernel table describes them. */
  readonly code: readonly number[]
  /** (axis, count) per operand. */
  readonly operands: readonly number[]
  /** Register per result. */
  readonly results: readonly number[]
  /** Shape of every result, and their dtypes as type codes. */
  readonly shape: readonly Dim[]
  readonly resultTypes: readonly number[]
}

export const typeCodes = { float32: 0, int32: 1, bool: 2 } as const satisfies Record<DType, number>
const typeNames = ['float32', 'int32', 'bool'] as const satisfies readonly DType[]

/** The elementwise op that an instruction's opcode stands for. */
export const nameOfOpcode = new Map<number, string>(
  Object.entries(elementwiseTable).map(([name, { opcode }]) => [opcode, name]),
)

/** The bits of a float as an int, and back: how `constant` carries its value. */
const bits = new DataView(new ArrayBuffer(4))
export function bitsOf(value: number, dtype: DType): number {
  if (dtype !== 'float32') return value
  bits.setFloat32(0, value)
  return bits.getInt32(0)
}
function valueOfBits(pattern: number, dtype: DType): number {
  if (dtype !== 'float32') return pattern
  bits.setInt32(0, pattern)
  return bits.getFloat32(0)
}

/** The shape that an operand must have: the result's without the axes along which it is repeated. */
export const operandShape = (shape: readonly Dim[], axis: number, count: number): readonly Dim[] => [
  ...shape.slice(0, axis),
  ...shape.slice(axis + count),
]

function infer(inputs: readonly TensorSpec[], attributes: ChainAttributes): readonly TensorSpec[] {
  const { shape, operands, resultTypes } = attributes
  inputs.forEach((spec, index) => {
    const expected = operandShape(shape, operands[2 * index] as number, operands[2 * index + 1] as number)
    if (!sameShape(spec.shape, expected)) {
      refuse('elementwise', `operand ${index}`, `shape ${formatShape(expected)}`, formatShape(spec.shape))
    }
  })
  return resultTypes.map((type) => ({ dtype: typeNames[type] as DType, shape }))
}

/** Repeats an operand along the axes that it lacks. */
function spread(array: ReferenceArray, shape: readonly number[], axis: number, count: number): ReferenceArray {
  const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
  const middle = product(shape.slice(axis, axis + count))
  const inner = product(shape.slice(axis + count))
  const data = new Float64Array(product(shape))
  for (let i = 0; i < data.length; i++) {
    const outer = Math.floor(i / (middle * inner))
    data[i] = array.data[outer * inner + (i % inner)] as number
  }
  return { dtype: array.dtype, shape, data }
}

function reference(inputs: readonly ReferenceArray[], attributes: ChainAttributes): readonly ReferenceArray[] {
  const { code, operands, results } = attributes
  const shape = attributes.shape as readonly number[]
  const count = shape.reduce((a, b) => a * b, 1)
  const registers = inputs.map((array, index) =>
    spread(array, shape, operands[2 * index] as number, operands[2 * index + 1] as number),
  )
  for (let at = 0; at < code.length; at += INSTRUCTION_WIDTH) {
    const [opcode, type, destination, ...sources] = code.slice(at, at + INSTRUCTION_WIDTH) as [
      number,
      number,
      number,
      ...number[],
    ]
    const name = nameOfOpcode.get(opcode) as keyof typeof elementwiseTable
    if (name === 'constant') {
      const dtype = typeNames[type] as DType
      registers[destination] = {
        dtype,
        shape,
        data: new Float64Array(count).fill(valueOfBits(sources[0] as number, dtype)),
      }
      continue
    }
    const operandsOfStep = sources.slice(0, elementwiseTable[name].operands).map((r) => registers[r] as ReferenceArray)
    registers[destination] = registry.get(name)?.reference(operandsOfStep, {})[0] as ReferenceArray
  }
  return results.map((register) => registers[register] as ReferenceArray)
}

export const elementwiseChain = defineOp<ChainAttributes>({
  name: 'elementwise',
  kernel: 'elementwise',
  elementwise: true,
  infer,
  vjp: 'it exists only after differentiation, when chains are fused',
  reference,
  flops: (_, outputs, { code }) =>
    (code.length / INSTRUCTION_WIDTH) * (outputs[0] as readonly number[]).reduce((a, b) => a * b, 1),
  cases: (random) => ({
    valid: [
      chainCase(random, [random.int(4), 1 + random.int(5), random.int(40)]),
      { ...chainCase(random, [LIVE, 5, 17]), live: LIVE },
    ],
    invalid: [
      {
        inputs: [{ dtype: 'float32', shape: [3, 4] }],
        attributes: { code: [], operands: [0, 1], results: [0], shape: [2, 3, 5], resultTypes: [0] },
        message: /elementwise: operand 0 should be shape \[3, 5\] but got \[3, 4\]/,
      },
    ],
  }),
})

/** A size that no other size of its case equals. */
const LIVE = 6

/** (x * row + scalar), its square, and whether it is positive: full, suffix, prefix and scalar operands, two results. */
function chainCase(random: Random, shape: readonly number[]): OpCase<ChainAttributes> {
  const array = (dims: readonly number[]): ReferenceArray => ({
    dtype: 'float32',
    shape: dims,
    data: Float64Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => Math.fround(random.normal())),
  })
  const { multiply, add, square, constant, greater } = elementwiseTable
  return {
    inputs: [array(shape), array(shape.slice(2)), array(shape.slice(0, 2)), array([])],
    attributes: {
      code: [
        ...[multiply.opcode, 0, 4, 0, 1, 0],
        ...[add.opcode, 0, 4, 4, 2, 0],
        ...[add.opcode, 0, 4, 4, 3, 0],
        ...[square.opcode, 0, 5, 4, 0, 0],
        ...[constant.opcode, 0, 6, bitsOf(0.25, 'float32'), 0, 0],
        ...[greater.opcode, 0, 6, 4, 6, 0],
      ],
      operands: [0, 0, 0, 2, 2, 1, 0, 3],
      results: [5, 6],
      shape,
      resultTypes: [0, 2],
    },
    differentiable: [],
  }
}
