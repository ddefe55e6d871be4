/**
 * Shapes beyond one tile, one block and one thread's share, which the records' own cases stay below: finite differences
 * walk those. Here results and gradients are only compared with the references.
 */
import { createRandom } from '../../lib/core/random.js'
import type { OpCase, OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import * as attention from '../../lib/ops/attention.js'
import { array, bools, floats, ints, typed } from '../../lib/ops/support.js'
import * as targetAttention from '../../lib/ops/targetAttention.js'

const random = createRandom(11)

const float = (...shape: number[]): ReferenceArray => floats(random, shape)
const positive = (...shape: number[]): ReferenceArray => floats(random, shape, 0.5, 2)
const ids = (limit: number, ...shape: number[]): ReferenceArray => ints(random, shape, 0, limit)
/** Offsets of bags of random length, empty ones among them. */
const bags = (count: number, values: number): ReferenceArray => {
  const cuts = Array.from({ length: count - 1 }, () => random.int(values + 1)).sort((a, b) => a - b)
  return typed('int32', [count + 1], (index) => [0, ...cuts, values][index] as number)
}
/** Where each of many positions finds its row, or -1, and each row its position. */
const spread = (rows: number, positions: number): [picked: ReferenceArray, inverse: ReferenceArray] => {
  const places = Array.from({ length: rows }, (_, row) => Math.floor((row * positions) / rows))
  const rowOf = new Map(places.map((place, row) => [place, row]))
  return [
    typed('int32', [positions], (place) => rowOf.get(place) ?? -1),
    typed('int32', [rows], (row) => places[row] as number),
  ]
}
/** Positions [start, end) of each sequence. */
const ranges = (count: number, time: number): ReferenceArray => {
  const bounds = Array.from({ length: count }, () => [random.int(time + 1), random.int(time + 1)].sort((a, b) => a - b))
  return typed('int32', [count, 2], (index) => bounds.flat()[index] as number)
}
const seed = typed('int32', [2], (index) => 1234 + index)
const plain = { transposeA: false, transposeB: false, activation: 'none' }

const smoothed = (labelSmoothing: number) => ({ ignoreIndex: -100, labelSmoothing })
/** Beyond one tile of keys, one block and one chunk of queries. */
const attended: attention.AttentionSetting[] = [
  { batch: 3, queries: 50, keys: 50, heads: 2, width: 32, causal: true, range: 'left', rate: 0.3 },
  { batch: 2, queries: 150, keys: 300, heads: 2, groups: 1, width: 16, causal: true, bias: 'shared' },
  { batch: 1, queries: 260, keys: 270, heads: 1, width: 70, valueWidth: 20, range: 'both', rate: 0.5, bias: 'each' },
]
const targeted = [
  { lengths: [300, 0, 17, 128, 129], targets: 1, heads: 2, width: 32 },
  { lengths: [140], targets: 250, heads: 1, width: 24, valueWidth: 72 },
]

const solvers = ['minNorm', 'pcGrad', 'caGrad', 'imtlG', 'nashMtl', 'upGrad', 'alignedMtl']

/** Lazily, so that an op pays for its own only; from its own cases, where attributes are to be as there. */
const byName: Readonly<Record<string, (own: readonly OpCase[]) => OpCase[]>> = {
  ...Object.fromEntries(solvers.map((name) => [`${name}Weights`, ([model]) => [manyTasks(model as OpCase)]])),
  // What every elementwise op runs as: theirs are its large cases.
  elementwise: () => [],
  reshape: () => [{ inputs: [float(300, 700)], attributes: { shape: [700, 300] } }],
  broadcast: () => [
    { inputs: [float(300, 5)], attributes: { axis: 1, count: 1, dims: [200] } },
    { inputs: [float(517)], attributes: { axis: 0, count: 1, dims: [300] } },
  ],
  transpose: () => [
    { inputs: [float(301, 517)], attributes: { permutation: [1, 0] } },
    { inputs: [float(16, 50, 4, 33)], attributes: { permutation: [0, 2, 1, 3] } },
  ],
  concat: () => [{ inputs: [float(700, 100), float(700, 33), float(700, 130)], attributes: { axis: 1 } }],
  slice: () => [{ inputs: [float(60, 70, 50)], attributes: { axis: 1, start: 3, dims: [61] } }],
  pad: () => [{ inputs: [float(60, 61, 50)], attributes: { axis: 1, before: 3, dims: [70] } }],
  size: () => [{ inputs: [float(300, 700)], attributes: { axis: 0, count: 2 } }],
  sum: () => [
    { inputs: [float(300, 700)], attributes: { axis: 1, count: 1 } },
    { inputs: [float(700, 300)], attributes: { axis: 0, count: 1 } },
    { inputs: [float(7, 30000)], attributes: { axis: 0, count: 2 } },
    { inputs: [ids(99, 30, 70, 50)], attributes: { axis: 1, count: 1 } },
  ],
  max: () => [
    { inputs: [float(300, 700)], attributes: { axis: 1, count: 1 } },
    { inputs: [float(700, 300)], attributes: { axis: 0, count: 1 } },
  ],
  matmul: () => [
    { inputs: [float(130, 600), float(600, 90)], attributes: plain },
    { inputs: [float(70, 64), float(900, 64)], attributes: { ...plain, transposeB: true } },
    {
      inputs: [float(7, 601), float(901, 601), float(901)],
      attributes: { ...plain, transposeB: true, activation: 'gelu' },
    },
    { inputs: [float(4, 1, 512), float(4, 250, 512)], attributes: { ...plain, transposeB: true } },
    { inputs: [float(600, 70), float(600, 90)], attributes: { ...plain, transposeA: true } },
    { inputs: [float(40, 50, 64), float(64, 64), float(64)], attributes: { ...plain, activation: 'gelu' } },
    { inputs: [float(30, 50, 16), float(30, 50, 16)], attributes: { ...plain, transposeB: true } },
    { inputs: [float(30, 50, 50), float(30, 50, 16)], attributes: plain },
  ],
  gram: () => [
    { inputs: [float(5, 40000)], attributes: {} },
    { inputs: [float(64, 3001)], attributes: {} },
  ],
  gramOfParts: () => [
    {
      inputs: [float(20000), float(20000), float(20000), float(70, 300), float(70, 300), float(70, 300)],
      attributes: { rows: 3 },
    },
  ],
  softmax: () => [
    { inputs: [float(40, 3647)], attributes: {} },
    { inputs: [float(2000, 50)], attributes: {} },
  ],
  softmaxBackward: () => [{ inputs: [positive(40, 3647), float(40, 3647)], attributes: {} }],
  layerNorm: () => [{ inputs: [float(1500, 64), float(64), float(64)], attributes: { epsilon: 1e-12 } }],
  layerNormBackward: () => [
    { inputs: [float(1500, 64), float(64), float(1500), positive(1500), float(1500, 64)], attributes: {} },
  ],
  rmsNorm: () => [{ inputs: [float(1500, 64), float(64)], attributes: { epsilon: 1e-6 } }],
  rmsNormBackward: () => [{ inputs: [float(1500, 64), float(64), positive(1500), float(1500, 64)], attributes: {} }],
  attention: () => attended.map((setting) => attention.makeCase(random, setting) as unknown as OpCase),
  attentionBackward: () => attended.map((setting) => attention.makeBackwardCase(random, setting) as unknown as OpCase),
  targetAttention: () => targeted.map((setting) => targetAttention.makeCase(random, setting)),
  targetAttentionBackward: () => targeted.map((setting) => targetAttention.makeBackwardCase(random, setting)),
  gather: () => [{ inputs: [float(400, 64), ids(400, 100, 50)], attributes: { paddingIndex: 0 } }],
  gatherBackward: () => [
    { inputs: [float(50, 8), ids(50, 30000), float(30000, 8)], attributes: {} },
    { inputs: [float(9000, 16), ids(9000, 20000), float(20000, 16)], attributes: { paddingIndex: 0 } },
  ],
  embeddingBag: () => [
    { inputs: [float(400, 64), ids(400, 5000), bags(700, 5000)], attributes: { mode: 'mean' } },
    { inputs: [float(400, 100), ids(400, 9000), bags(30, 9000)], attributes: { mode: 'sum' } },
  ],
  embeddingBagBackward: () => [
    { inputs: [float(5000, 17), ids(5000, 30000), bags(700, 30000), float(700, 17)], attributes: { mode: 'mean' } },
  ],
  coalesce: () => [
    { inputs: [float(50, 8), ids(50, 30000), float(30000, 8)], attributes: { symbol: 'unique', mode: 'sum' } },
    {
      inputs: [float(90_000, 16), ids(90_000, 40, 500), float(40, 500, 16)],
      attributes: { symbol: 'unique', mode: 'sum', paddingIndex: 0 },
    },
    {
      inputs: [float(5000, 70), ids(5000, 30000), float(700, 70), bags(700, 30000)],
      attributes: { symbol: 'unique', mode: 'mean' },
    },
  ],
  elementwiseRows: () => [
    {
      inputs: [float(9000, 33), float(5000, 33), typed('int32', [5000], (i) => 1 + Math.floor(i * 1.7))],
      attributes: {
        code: [12, 0, 2, 0, 1, 0, 11, 0, 2, 2, 1, 0],
        operands: [0, 0, 0, 0],
        results: [2],
        tables: [0],
        shape: [5000, 33],
        resultTypes: [0],
      },
    },
  ],
  updateRows: () => [{ inputs: [float(9000, 33), ids(9000, 5000), float(5000, 33)], attributes: {} }],
  packPadded: () => [
    {
      inputs: [typed('int32', [3000, 2], (i) => (i % 2 === 0 ? (i * 7) % 60 : 50))],
      attributes: { time: 60, symbol: 'packed' },
    },
  ],
  pickRows: () => [
    {
      inputs: [float(9000, 64), ...spread(9000, 20_000)],
      attributes: {},
    },
  ],
  tableBags: () => [
    {
      inputs: [ids(7, 30000), ids(100, 20000), bags(5000, 30000), bags(5000, 20000)],
      attributes: { rows: [7, 100] },
    },
  ],
  embeddingBags: () => [
    {
      inputs: [float(500, 40), ids(7, 9000), ids(400, 5000), bags(700, 9000), bags(700, 5000)],
      attributes: { rows: [7, 400], mode: 'mean' },
    },
  ],
  tableSlots: () => [{ inputs: [ids(7, 30000), ids(100, 30000), ids(9, 30000)], attributes: { rows: [7, 100, 9] } }],
  dropout: () => [{ inputs: [float(200, 1037), seed], attributes: { rate: 0.3, salt: 5 } }],
  sampleNegatives: () => [
    { inputs: [seed], attributes: { dims: [100, 501], classes: 1_000_000, octaves: Math.log2(1_000_001), salt: 3 } },
    { inputs: [seed], attributes: { dims: [20001], classes: 3647, octaves: 0, salt: 5 } },
  ],
  softmaxCrossEntropy: () => [{ inputs: [float(60, 3647), ids(3647, 60)], attributes: { ignoreIndex: -100 } }],
  softmaxCrossEntropyBackward: () => [
    {
      inputs: [float(60, 3647), ids(3647, 60), array([60], () => 9), float(60)],
      attributes: { ignoreIndex: -100 },
    },
  ],
  linearCrossEntropy: () => [
    { inputs: [float(130, 64), float(900, 64), ids(900, 130)], attributes: smoothed(0) },
    { inputs: [float(7, 20), float(9001, 20), ids(9001, 7), float(9001)], attributes: smoothed(0.1) },
  ],
  linearCrossEntropyBackward: () => [
    {
      inputs: [float(600, 16), float(1100, 16), ids(1100, 600), array([600], () => 9), float(600), float(600)],
      attributes: smoothed(0),
    },
    {
      inputs: [float(70, 40), float(2500, 40), ids(2500, 70), array([70], () => 12), float(70), float(70), float(2500)],
      attributes: smoothed(0.1),
    },
  ],
  rfft: () => [
    { inputs: [float(8, 200, 16)], attributes: {} },
    { inputs: [float(2, 509, 3)], attributes: {} },
  ],
  irfft: () => [{ inputs: [float(8, 101, 16, 2)], attributes: { length: 200 } }],
  frequencyFilter: () => [
    { inputs: [float(24, 50, 64), float(26, 64, 2)], attributes: {} },
    { inputs: [float(3, 211, 20), float(106, 20, 2)], attributes: {} },
  ],
  frequencyFilterBackward: () => [
    { inputs: [float(24, 50, 64), float(26, 64, 2), float(24, 50, 64)], attributes: {} },
    { inputs: [float(3, 211, 20), float(106, 20, 2), float(3, 211, 20)], attributes: {} },
  ],
  bandMix: () => [
    { inputs: [float(24, 50, 64), float(64)], attributes: { cutoff: 3 } },
    { inputs: [float(3, 210, 40), float(40)], attributes: { cutoff: 7 } },
  ],
  bandMixBackward: () => [
    { inputs: [float(24, 50, 64), float(64), float(24, 50, 64)], attributes: { cutoff: 3 } },
    { inputs: [float(3, 210, 40), float(40), float(3, 210, 40)], attributes: { cutoff: 7 } },
  ],
  bandGains: () => [
    { inputs: [float(24, 50, 64), float(24, 1), float(24, 1)], attributes: { cutoff: 3 } },
    { inputs: [float(9, 210, 40), float(9, 40), float(9, 40), ranges(9, 210)], attributes: { cutoff: 7 } },
  ],
  bandGainsBackward: () => [
    { inputs: [float(24, 50, 64), float(24, 1), float(24, 1), float(24, 50, 64)], attributes: { cutoff: 3 } },
    {
      inputs: [float(9, 210, 40), float(9, 40), float(9, 40), float(9, 210, 40), ranges(9, 210)],
      attributes: { cutoff: 7 },
    },
  ],
  targetRank: () => [{ inputs: [float(100, 3647), ids(3647, 100), ids(3647, 100, 50)], attributes: {} }],
  topK: () => [
    { inputs: [float(60, 3647)], attributes: { k: 10 } },
    { inputs: [float(3, 30000)], attributes: { k: 700 } },
  ],
  topKBackward: () => [{ inputs: [ids(3647, 100, 50), float(100, 50)], attributes: { dims: [3647] } }],
}

/** Large cases of an op; elementwise ones take the shape of their first case over. */
export function largeCases(op: OpDefinition, own: readonly OpCase[]): OpCase[] {
  const made = byName[op.name]
  if (made) return made(own)
  const model = own.find(({ inputs }) => inputs.every(({ data }) => data.length > 0))
  return model && op.elementwise ? [enlarged(model)] : []
}

/** The Gram matrix of many tasks' gradients. */
function manyTasks({ inputs: [, ...rest], attributes }: OpCase): OpCase {
  const [tasks, width] = [24, 300]
  const rows = Array.from({ length: tasks }, () => float(width).data)
  const gram = array([tasks, tasks], (index) => {
    const [a, b] = [rows[Math.floor(index / tasks)], rows[index % tasks]] as [Float64Array, Float64Array]
    return Math.fround(a.reduce((sum, value, i) => sum + value * (b[i] as number), 0))
  })
  return { attributes, inputs: [gram, ...rest] }
}

/** Elements of the model, drawn again and again: they lie where the op is smooth. */
function enlarged({ inputs, attributes }: OpCase): OpCase {
  const shape = [311, 1021]
  return {
    attributes,
    inputs: inputs.map(({ dtype, data }) =>
      dtype === 'bool' ? bools(random, shape) : typed(dtype, shape, () => data[random.int(data.length)] as number),
    ),
  }
}
