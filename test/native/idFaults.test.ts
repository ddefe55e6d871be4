/** A kernel that can find a bad id while it runs must say so in the table, or a file could put it among commit steps. */
import { afterAll, describe, expect, it } from 'vitest'
import { type KernelDeclaration, type KernelName, kernelTable } from '../../lib/graph/kernelTable.js'
import { Executor, isKairosError } from '../../lib/index.js'
import { encodeFile, type FileAttribute, type FileBuffer, INPUT, TEMPORARY } from './programFile.js'

type Spec = readonly [dtype: number, sizes: readonly number[]]
const [FLOAT, INT] = [0, 1]

const smoothed: FileAttribute[] = [
  { name: 'ignoreIndex', type: 1, value: -100 },
  { name: 'labelSmoothing', type: 2, value: 0 },
]

const attentionAttributes: FileAttribute[] = [
  { name: 'scale', type: 2, value: 1 },
  { name: 'causal', type: 0, value: 0 },
  { name: 'range', type: 0, value: 1 },
  { name: 'bias', type: 0, value: 0 },
  { name: 'rate', type: 2, value: 0 },
  { name: 'salt', type: 1, value: 0 },
]

/** Every kernel that takes ids, over tables of three rows. */
const cases: readonly [KernelName, readonly Spec[], readonly Spec[], FileAttribute[]][] = [
  [
    'gather',
    [
      [FLOAT, [3, 2]],
      [INT, [2]],
    ],
    [[FLOAT, [2, 2]]],
    [],
  ],
  [
    'gatherBackward',
    [
      [FLOAT, [3, 2]],
      [INT, [2]],
      [FLOAT, [2, 2]],
    ],
    [[FLOAT, [3, 2]]],
    [],
  ],
  [
    'linearCrossEntropy',
    [
      [FLOAT, [2, 1]],
      [FLOAT, [3, 1]],
      [INT, [2]],
    ],
    [
      [FLOAT, [2]],
      [FLOAT, [2]],
    ],
    smoothed,
  ],
  [
    'linearCrossEntropyBackward',
    [
      [FLOAT, [2, 1]],
      [FLOAT, [3, 1]],
      [INT, [2]],
      [FLOAT, [2]],
      [FLOAT, [2]],
      [FLOAT, [2]],
    ],
    [
      [FLOAT, [2, 1]],
      [FLOAT, [3, 1]],
    ],
    smoothed,
  ],
  [
    'attention',
    [
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [INT, [2, 2]],
    ],
    [
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 1, 3]],
    ],
    attentionAttributes,
  ],
  [
    'attentionBackward',
    [
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 1, 3]],
      [FLOAT, [2, 3, 1, 4]],
      [INT, [2, 2]],
    ],
    [
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
      [FLOAT, [2, 3, 1, 4]],
    ],
    [...attentionAttributes, { name: 'dlogSumExp', type: 0, value: 0 }],
  ],
  [
    'targetAttention',
    [
      [FLOAT, [2, 1, 3, 4]],
      [FLOAT, [3, 3, 4]],
      [FLOAT, [3, 3, 4]],
      [INT, [3]],
    ],
    [
      [FLOAT, [2, 1, 3, 4]],
      [FLOAT, [2, 3, 1]],
    ],
    [{ name: 'scale', type: 2, value: 1 }],
  ],
  [
    'targetAttentionBackward',
    [
      [FLOAT, [2, 1, 3, 4]],
      [FLOAT, [3, 3, 4]],
      [FLOAT, [3, 3, 4]],
      [INT, [3]],
      [FLOAT, [2, 1, 3, 4]],
      [FLOAT, [2, 3, 1]],
      [FLOAT, [2, 1, 3, 4]],
    ],
    [
      [FLOAT, [2, 1, 3, 4]],
      [FLOAT, [3, 3, 4]],
      [FLOAT, [3, 3, 4]],
    ],
    [{ name: 'scale', type: 2, value: 1 }],
  ],
  [
    'softmaxCrossEntropy',
    [
      [FLOAT, [2, 3]],
      [INT, [2]],
    ],
    [
      [FLOAT, [2]],
      [FLOAT, [2]],
    ],
    [{ name: 'ignoreIndex', type: 1, value: -100 }],
  ],
  [
    'softmaxCrossEntropyBackward',
    [
      [FLOAT, [2, 3]],
      [INT, [2]],
      [FLOAT, [2]],
      [FLOAT, [2]],
    ],
    [[FLOAT, [2, 3]]],
    [{ name: 'ignoreIndex', type: 1, value: -100 }],
  ],
  [
    'targetRank',
    [
      [FLOAT, [2, 3]],
      [INT, [2]],
      [INT, [2, 1]],
    ],
    [[INT, [2]]],
    [],
  ],
  [
    'topKBackward',
    [
      [INT, [2, 1]],
      [FLOAT, [2, 1]],
    ],
    [[FLOAT, [2, 3]]],
    [],
  ],
]

function fileOf(
  op: string,
  inputs: readonly Spec[],
  outputs: readonly Spec[],
  attributes: FileAttribute[],
): Uint8Array {
  const specs = [...inputs, ...outputs]
  const sizes = [...new Set(specs.flatMap(([, dims]) => dims))]
  const buffers = specs.map(([dtype, dims], index): FileBuffer => {
    const role = index < inputs.length ? INPUT : TEMPORARY
    const name = role === INPUT ? `i${index}` : ''
    return { name, role, dtype, store: 0, dims: dims.map((size) => sizes.indexOf(size)), storage: index }
  })
  return encodeFile({
    magic: 'KAIROSPG',
    version: 2,
    symbols: [],
    dims: sizes.map((size) => [{ coefficient: size, factors: [] }]),
    storageCount: buffers.length,
    stores: [],
    buffers,
    steps: [
      {
        op,
        inputs: inputs.map((_, i) => i),
        outputs: outputs.map((_, i) => inputs.length + i),
        attributes,
        source: '',
      },
    ],
    commitStart: 1,
    outputs: outputs.map((_, i) => ({ name: `o${i}`, buffer: inputs.length + i })),
    checks: [],
    computed: [],
    trailing: [],
  })
}

describe('ids out of range', () => {
  const executor = new Executor({ threads: 2 })
  afterAll(() => executor.close())

  it.each(cases)('%s raises exactly when its declaration says so', async (op, inputs, outputs, attributes) => {
    const executable = await (await executor.loadProgram(fileOf(op, inputs, outputs, attributes))).bind({})
    const feeds = Object.fromEntries(
      inputs.map(([dtype, dims], index) => {
        const length = dims.reduce((product, size) => product * size, 1)
        return [`i${index}`, dtype === INT ? new Int32Array(length).fill(-(2 ** 31)) : new Float32Array(length)]
      }),
    )
    const error: unknown = await executable.run({ counts: {}, feeds }).catch((reason: unknown) => reason)
    expect(isKairosError(error, 'KAIROS_ID_RANGE')).toBe((kernelTable[op] as KernelDeclaration).raisesIdFault === true)
  })
})
