/**
 * The kernels that a program file may name: the one declaration that TypeScript and C++ share.
 *
 * `npm run generate` writes it to `native/runtime/kernel_table.inc`; a test fails when the two differ. A program names
 * its kernels and attributes by these strings, so a file stays readable when the table grows.
 */

export type AttributeType = 'bool' | 'int' | 'float' | 'string' | 'ints' | 'floats'

export interface KernelDeclaration {
  /** Least and greatest number of operands. */
  readonly inputs: readonly [number, number]
  /** Least and greatest number of results. */
  readonly outputs: readonly [number, number]
  /** Name and type; a trailing `?` on the name marks an optional attribute. */
  readonly attributes: Readonly<Record<string, AttributeType>>
  /** A result may be written over an operand of the same size that nobody reads later: over any, or over that one. */
  readonly inPlace?: boolean | number
  /** The result, an int32 of rank 0, that is the first size of the other results: only so many rows are written. */
  readonly computes?: number
  /** May find a bad id, or a gradient that is not finite, while running, so it stands before the commit steps. */
  readonly raisesIdFault?: boolean
}

const kernel = (
  inputs: number | readonly [number, number],
  outputs: number | readonly [number, number],
  attributes: Record<string, AttributeType> = {},
  properties: Pick<KernelDeclaration, 'inPlace' | 'computes' | 'raisesIdFault'> = {},
): KernelDeclaration => ({
  inputs: typeof inputs === 'number' ? [inputs, inputs] : inputs,
  outputs: typeof outputs === 'number' ? [outputs, outputs] : outputs,
  attributes,
  ...properties,
})

const attentionAttributes = {
  scale: 'float',
  causal: 'bool',
  range: 'bool',
  bias: 'bool',
  rate: 'float',
  salt: 'int',
} as const

export const kernelTable = {
  // Elementwise chains. `code`: instructions of six ints; `operands`: two ints per operand; see elementwiseTable.
  elementwise: kernel([0, 32], [1, 8], { code: 'ints', operands: 'ints', results: 'ints' }, { inPlace: true }),

  // The same on rows of tables, in place: the operands that `tables` lists, one per result, are read at the slots that
  // the last operand names, each once, and these rows are replaced.
  elementwiseRows: kernel(
    [2, 33],
    [1, 8],
    { code: 'ints', operands: 'ints', results: 'ints', tables: 'ints' },
    { inPlace: 0 },
  ),

  // Movement
  copy: kernel(1, 1, {}, { inPlace: true }),
  broadcast: kernel(1, 1, { axis: 'int', count: 'int' }),
  transpose: kernel(1, 1, { permutation: 'ints' }),
  concat: kernel([1, 64], 1, { axis: 'int' }),
  slice: kernel(1, 1, { axis: 'int', start: 'int' }),
  pad: kernel(1, 1, { axis: 'int', before: 'int' }),
  size: kernel(1, 1, { axis: 'int', count: 'int' }),

  // Reduction over axes [axis, axis + count)
  sum: kernel(1, 1, { axis: 'int', count: 'int' }),
  max: kernel(1, 1, { axis: 'int', count: 'int' }),

  // Products
  matmul: kernel([2, 3], 1, { transposeA: 'bool', transposeB: 'bool', activation: 'string' }),
  gram: kernel(1, 1),
  // J in pieces: operand part * rows + row is a part of a row
  gramOfParts: kernel([1, 4096], 1, { rows: 'int' }),

  // Weights of task gradients, from their Gram matrix. `tasks`: names, one a line, for errors
  minNormWeights: kernel(1, 2, { 'tasks?': 'string' }, { raisesIdFault: true }),
  pcGradWeights: kernel(2, 1, { 'tasks?': 'string', salt: 'int' }, { raisesIdFault: true }),
  caGradWeights: kernel(1, 1, { 'tasks?': 'string', radius: 'float' }, { raisesIdFault: true }),
  imtlGWeights: kernel(1, 1, { 'tasks?': 'string' }, { raisesIdFault: true }),
  nashMtlWeights: kernel(1, 1, { 'tasks?': 'string' }, { raisesIdFault: true }),
  upGradWeights: kernel(1, 1, { 'tasks?': 'string' }, { raisesIdFault: true }),
  alignedMtlWeights: kernel(1, 1, { 'tasks?': 'string' }, { raisesIdFault: true }),

  // Normalisation over the last axis
  softmax: kernel(1, 1, {}, { inPlace: true }),
  softmaxBackward: kernel(2, 1, {}, { inPlace: true }),
  layerNorm: kernel(3, 3, { epsilon: 'float' }),
  layerNormBackward: kernel(5, 3),
  rmsNorm: kernel(2, 2, { epsilon: 'float' }),
  rmsNormBackward: kernel(4, 2),

  // Attention. `range` and `bias` say which operands are there; a rate above 0 that `random` is.
  attention: kernel([3, 6], 2, attentionAttributes, { raisesIdFault: true }),
  attentionBackward: kernel([6, 10], [3, 4], { ...attentionAttributes, dlogSumExp: 'bool' }, { raisesIdFault: true }),
  targetAttention: kernel(4, 2, { scale: 'float' }, { raisesIdFault: true }),
  targetAttentionBackward: kernel([7, 8], 3, { scale: 'float' }, { raisesIdFault: true }),

  // Embedding
  gather: kernel(2, 1, {}, { raisesIdFault: true }),
  gatherBackward: kernel(3, 1, { 'paddingIndex?': 'int' }, { raisesIdFault: true }),
  embeddingBag: kernel(3, 1, { mode: 'string' }, { raisesIdFault: true }),
  embeddingBagBackward: kernel(4, 1, { mode: 'string' }, { raisesIdFault: true }),
  embeddingBags: kernel([3, 63], 1, { rows: 'ints', mode: 'string' }, { raisesIdFault: true }),
  // One or several dy of one shape: further rows stand behind the count
  coalesce: kernel([3, 67], [3, 66], { mode: 'string', 'paddingIndex?': 'int' }, { raisesIdFault: true, computes: 2 }),
  updateRows: kernel(3, 1, {}, { inPlace: 0 }),
  tableSlots: kernel([1, 64], 1, { rows: 'ints' }, { raisesIdFault: true }),
  tableBags: kernel([2, 64], 2, { rows: 'ints' }, { raisesIdFault: true }),

  // Padding
  packPadded: kernel(1, 5, { time: 'int' }, { raisesIdFault: true, computes: 2 }),
  pickRows: kernel(3, 1, {}, { raisesIdFault: true }),

  // Randomness
  dropout: kernel(2, 1, { rate: 'float', salt: 'int' }, { inPlace: true }),
  sampleNegatives: kernel(1, 1, { classes: 'int', octaves: 'float', salt: 'int' }),

  // Losses
  softmaxCrossEntropy: kernel(2, 2, { ignoreIndex: 'int' }, { raisesIdFault: true }),
  softmaxCrossEntropyBackward: kernel(4, 1, { ignoreIndex: 'int' }, { raisesIdFault: true }),

  linearCrossEntropy: kernel([3, 4], 2, { ignoreIndex: 'int', labelSmoothing: 'float' }, { raisesIdFault: true }),
  linearCrossEntropyBackward: kernel(
    [6, 7],
    [2, 3],
    { ignoreIndex: 'int', labelSmoothing: 'float' },
    { raisesIdFault: true },
  ),

  // Fourier transforms along the last but one axis
  rfft: kernel(1, 1),
  irfft: kernel(1, 1),
  frequencyFilter: kernel(2, 1),
  frequencyFilterBackward: kernel(3, 2),
  bandMix: kernel(2, 1, { cutoff: 'int' }),
  bandMixBackward: kernel(3, 2, { cutoff: 'int' }),
  // The last operand, a range, may be there or not
  bandGains: kernel([3, 4], 1, { cutoff: 'int' }, { raisesIdFault: true }),
  bandGainsBackward: kernel([4, 5], 3, { cutoff: 'int' }, { raisesIdFault: true }),

  // Ranking
  targetRank: kernel(3, 1, {}, { raisesIdFault: true }),
  topK: kernel(1, 2, { k: 'int' }),
  topKBackward: kernel(2, 1, {}, { raisesIdFault: true }),
} as const satisfies Record<string, KernelDeclaration>

export type KernelName = keyof typeof kernelTable

/**
 * Instructions of the elementwise kernel. One instruction is six ints:
 *
 *     [opcode, type, destination, a, b, c]
 *
 * Registers hold one 32-bit lane per element. Registers 0..inputs-1 are the operands as loaded; a bool operand is
 * loaded as int32 0 or 1. `type` is that of the instruction's operands: 0 float32, 1 int32, 2 bool (in int32 lanes).
 * Comparisons and logical instructions give 0 or 1. `constant` puts the 32 bits of `a` into every lane.
 * `results` names the register stored to each output. `operands` holds (axis, count) per operand: the operand lacks
 * the output's axes [axis, axis + count) and is repeated along them; count 0 is a full operand.
 */
export const elementwiseTable = {
  constant: { opcode: 0, operands: 0, types: ['float32', 'int32', 'bool'], result: 'same' },
  // Arithmetic
  negate: { opcode: 1, operands: 1, types: ['float32', 'int32'], result: 'same' },
  abs: { opcode: 2, operands: 1, types: ['float32', 'int32'], result: 'same' },
  sign: { opcode: 3, operands: 1, types: ['float32'], result: 'same' },
  floor: { opcode: 4, operands: 1, types: ['float32'], result: 'same' },
  reciprocal: { opcode: 5, operands: 1, types: ['float32'], result: 'same' },
  sqrt: { opcode: 6, operands: 1, types: ['float32'], result: 'same' },
  rsqrt: { opcode: 7, operands: 1, types: ['float32'], result: 'same' },
  square: { opcode: 8, operands: 1, types: ['float32'], result: 'same' },
  add: { opcode: 10, operands: 2, types: ['float32', 'int32'], result: 'same' },
  subtract: { opcode: 11, operands: 2, types: ['float32', 'int32'], result: 'same' },
  multiply: { opcode: 12, operands: 2, types: ['float32', 'int32'], result: 'same' },
  divide: { opcode: 13, operands: 2, types: ['float32'], result: 'same' },
  maximum: { opcode: 14, operands: 2, types: ['float32', 'int32'], result: 'same' },
  minimum: { opcode: 15, operands: 2, types: ['float32', 'int32'], result: 'same' },
  power: { opcode: 16, operands: 2, types: ['float32'], result: 'same' },
  // Transcendental
  exp: { opcode: 20, operands: 1, types: ['float32'], result: 'same' },
  log: { opcode: 21, operands: 1, types: ['float32'], result: 'same' },
  log1p: { opcode: 22, operands: 1, types: ['float32'], result: 'same' },
  tanh: { opcode: 23, operands: 1, types: ['float32'], result: 'same' },
  sigmoid: { opcode: 24, operands: 1, types: ['float32'], result: 'same' },
  erf: { opcode: 25, operands: 1, types: ['float32'], result: 'same' },
  sin: { opcode: 26, operands: 1, types: ['float32'], result: 'same' },
  cos: { opcode: 27, operands: 1, types: ['float32'], result: 'same' },
  // Activations
  relu: { opcode: 30, operands: 1, types: ['float32'], result: 'same' },
  gelu: { opcode: 31, operands: 1, types: ['float32'], result: 'same' },
  geluGradient: { opcode: 32, operands: 1, types: ['float32'], result: 'same' },
  softplus: { opcode: 33, operands: 1, types: ['float32'], result: 'same' },
  // Comparison
  equal: { opcode: 40, operands: 2, types: ['float32', 'int32', 'bool'], result: 'bool' },
  notEqual: { opcode: 41, operands: 2, types: ['float32', 'int32', 'bool'], result: 'bool' },
  less: { opcode: 42, operands: 2, types: ['float32', 'int32'], result: 'bool' },
  lessEqual: { opcode: 43, operands: 2, types: ['float32', 'int32'], result: 'bool' },
  greater: { opcode: 44, operands: 2, types: ['float32', 'int32'], result: 'bool' },
  greaterEqual: { opcode: 45, operands: 2, types: ['float32', 'int32'], result: 'bool' },
  // Logic
  logicalAnd: { opcode: 50, operands: 2, types: ['bool'], result: 'bool' },
  logicalOr: { opcode: 51, operands: 2, types: ['bool'], result: 'bool' },
  logicalNot: { opcode: 52, operands: 1, types: ['bool'], result: 'bool' },
  // Choice: a is the bool condition, b and c have the instruction's type
  select: { opcode: 60, operands: 3, types: ['float32', 'int32', 'bool'], result: 'same' },
  // Conversion: truncates toward zero, NaN becomes 0, out of range saturates
  castFloat32: { opcode: 70, operands: 1, types: ['int32', 'bool'], result: 'float32' },
  castInt32: { opcode: 71, operands: 1, types: ['float32', 'bool'], result: 'int32' },
} as const

export type ElementwiseName = Exclude<keyof typeof elementwiseTable, 'constant'>

/** Ints of one instruction. */
export const INSTRUCTION_WIDTH = 6
