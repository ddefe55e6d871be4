/**
 * What is timed on a GPU: programs whose large arrays are made from rules on the machine that times them, so that a
 * recording of all of them is small. Answers are not compared here: the registry walk does that.
 */
import { namedVariables } from '../../lib/graph/module.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import {
  adam,
  all,
  attention,
  compile,
  type Executor,
  field,
  frequencyFilter,
  gradients,
  gram,
  input,
  matmul,
  normal,
  parameter,
  rowWiseAdagrad,
  sum,
  targetAttention,
} from '../../lib/index.js'
import { embeddingBag, multiply, reshape, slice } from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'
import type { Store } from '../../lib/runtime/index.js'
import type { Contents, RecordedCase, RecordedEntry } from '../../test/cuda/recording.js'
import { large } from '../kernelTime.js'
import { buildMmoe, compileMmoe, FEATURES, LENGTH, ROWS, TASKS } from '../mmoe.js'

export interface GpuCase extends RecordedCase {
  /** The roof that `bytes` or `flops` is measured against. */
  readonly roof?: 'copy' | 'read' | 'gather' | 'matrix'
  /** Share of the roof to reach. */
  readonly share?: number
  /** Names of the peer's variants, and how many times faster than each this must be. */
  readonly peers?: Readonly<Record<string, number>>
}

const UNIT: Contents = { uniform: [-1, 1] }
const FLOAT = 4
const countOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)

/** One element of each, so that results stay on the device. */
const glimpses = (outputs: readonly Loose[]) =>
  new GraphRunner(
    Object.fromEntries(
      outputs.map((y, i) => [`y${i}`, slice(reshape(y, [countOf(y.shape)]) as Loose, 0, 0, 1) as Loose]),
    ),
  )

/** A case over feeds that are all uniform, or what `feeds` says. */
function ofGraph(
  rest: Omit<GpuCase, 'runner' | 'capacities' | 'runs'>,
  outputs: readonly Loose[],
  feeds: Readonly<Record<string, Contents>> = {},
): GpuCase {
  const runner = glimpses(outputs)
  const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, feeds[name] ?? UNIT]))
  return { ...rest, runner, capacities: {}, runs: [{ counts: {}, feeds: given }] }
}

const entriesOf = (store: Store, floats: Contents): RecordedEntry[] =>
  store.entries.map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    contents: dtype === 'float32' ? floats : dtype === 'int32' ? { ramp: 0 } : new Uint8Array(countOf(shape)),
  }))

// The cases ----------------------------------------------------------------------------------------------------------

function filters(tiny: boolean): GpuCase[] {
  const shapes = [50, 64, 100, 128].map((length) => [65536, length] as const)
  const long = [200, 256].map((length) => [16384, length] as const)
  return [...shapes, ...long].map(([batch, length]) => {
    const shape = [tiny ? 64 : batch, length, 64]
    const x = large('x', shape)
    const w = input('w', [Math.floor(length / 2) + 1, 64, 2])
    const bytes = 2 * FLOAT * countOf(shape)
    const name = `frequencyFilter [${shape}]`
    const rest = { name, bytes, timed: ['frequencyFilter'], roof: 'copy', share: 0.7 } as const
    return ofGraph({ ...rest, peers: { 'torch.fft': 2.5 } }, [frequencyFilter(x as never, w as never) as Loose])
  })
}

function attentions(tiny: boolean): GpuCase[] {
  const shapes = [
    { batch: 4096, heads: 2, length: 50, width: 32, factor: 1.2 },
    { batch: 1024, heads: 4, length: 200, width: 64, factor: 1.2 },
    { batch: 16, heads: 8, length: 1024, width: 64, factor: 0.7 },
  ]
  return shapes.flatMap(({ batch, heads, length, width, factor }) => {
    const shape = tiny ? [2, Math.min(length, 70), heads, width] : [batch, length, heads, width]
    const [q, k, v] = ['q', 'k', 'v'].map((name) => large(name, shape)) as [Loose, Loose, Loose]
    const y = attention(q, k, v) as Loose
    const [dq, dk, dv] = gradients(sum(multiply(y, large('dy', shape)) as Loose) as never, [q, k, v]) as Loose[]
    const [b, l, h, d] = shape as [number, number, number, number]
    const flops = 4 * b * h * l * l * d
    const peers = { scaled_dot_product_attention: factor }
    return [
      ofGraph({ name: `attention [${shape}] forward`, flops, timed: ['attention'], roof: 'matrix', peers }, [y]),
      ofGraph(
        {
          name: `attention [${shape}] forward and backward`,
          flops: 3.5 * flops,
          timed: ['attention', 'attentionBackward'],
          roof: 'matrix',
          peers,
        },
        [dq, dk, dv] as Loose[],
      ),
    ]
  })
}

/** Histories of 0 to 1000 rows. */
function targets(tiny: boolean): GpuCase[] {
  const [users, heads, width] = tiny ? [4, 2, 8] : [8192, 2, 32]
  const lengths = Array.from({ length: users }, (_, user) => (user * 677) % (tiny ? 20 : 1001))
  const offsets = Int32Array.from({ length: users + 1 }, (_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0))
  const rows = offsets[users] as number
  const [k, v] = ['k', 'v'].map((name) => large(name, [rows, heads, width])) as [Loose, Loose]
  const q = input('q', [users, 1, heads, width]) as Loose
  const y = targetAttention(q as never, k as never, v as never, input('offsets', [users + 1], 'int32')) as Loose
  const bytes = 2 * FLOAT * rows * heads * width
  const name = `target attention, ${users} users, ${rows} rows of histories`
  return [ofGraph({ name, bytes, timed: ['targetAttention'], roof: 'read', share: 0.75 }, [y], { offsets })]
}

function bags(tiny: boolean, executor: Executor): GpuCase[] {
  const [rows, count, size] = tiny ? [1000, 16, 5] : [50_000_000, 65_536, 50]
  const draws = { uniform: 1, zipf: 8 }
  const schema = { ids: field('int32', count * size), offsets: field('int32', count + 1) }
  const table = () => ({ table: parameter([rows, 64], normal(0.01), { sparse: true }) })
  return Object.entries(draws).flatMap(([draw, power]) => {
    const feeds = { ids: { skewed: [0, rows, power] }, offsets: { ramp: size }, lr: Float32Array.of(0.01) } as const
    const run = { counts: {}, feeds }
    const parameters = [{ name: 'table', dtype: 'float32', shape: [rows, 64], contents: UNIT } as const]
    const looked = 256 * count * size
    const pooled = (m: ReturnType<typeof table>, b: { ids: Loose; offsets: Loose }) =>
      embeddingBag(m.table as never, b.ids, b.offsets) as Loose
    const forward = compile(table(), (m, b) => ({ y: sum(pooled(m, b as never)) as Loose }), { schema, executor })
    const training = compile(table(), (m, b) => ({ loss: sum(pooled(m, b as never)) as never }), {
      schema,
      executor,
      updates: [{ loss: 'loss', parameters: all, optimizer: rowWiseAdagrad({ lr: 0.01 }) }],
    })
    using state = training.createOptimizerState()
    const rest = { capacities: {}, runs: [run], roof: 'gather', peers: { EmbeddingBag: 4 } } as const
    const name = `embedding bag ${rows} x 64, ${count} bags of ${size}, ${draw}`
    return [
      {
        ...rest,
        name: `${name}: forward`,
        runner: forward.runner,
        stores: { parameters },
        bytes: looked + 256 * count,
        timed: ['embeddingBag'],
        share: 0.85,
      },
      {
        ...rest,
        name: `${name}: forward, backward, row-wise Adagrad`,
        runner: training.runner,
        stores: { parameters, optimizer: entriesOf(state, { uniform: [0, 1e-3] }) },
        // Each looked-up row is read forward; each distinct one is read and written once more.
        bytes: looked + 256 * count,
      },
    ]
  })
}

function grams(tiny: boolean): GpuCase[] {
  const [tasks, columns] = [8, tiny ? 1000 : 100_000_000]
  const j = large('j', [tasks, columns], 1)
  const bytes = FLOAT * tasks * columns
  return [
    ofGraph({ name: `gram [${j.shape}]`, bytes, timed: ['gram'], roof: 'read', share: 0.85 }, [
      gram(j as never) as Loose,
    ]),
  ]
}

/** The combination of eight gradients and Adam's step with it. */
function combination(tiny: boolean, executor: Executor): GpuCase {
  const [tasks, columns] = [8, tiny ? 1024 : 100_000_000]
  const model = { w: parameter([columns], normal(0.01)) }
  const program = compile(
    model,
    (m, b) => {
      const combined = reshape(matmul(b.alpha as never, large('j', [tasks, columns], 1) as never) as Loose, [columns])
      return { loss: sum(multiply(m.w, combined as never) as Loose) as never }
    },
    {
      schema: { alpha: field('float32', 1, tasks) },
      executor,
      updates: [{ loss: 'loss', parameters: all, optimizer: adam() }],
    },
  )
  using state = program.createOptimizerState()
  const feeds = Object.fromEntries(program.runner.inputs.map(({ name }) => [name, UNIT]))
  return {
    name: `combine [${tasks},${columns}] and Adam`,
    runner: program.runner,
    capacities: {},
    stores: {
      parameters: [{ name: 'w', dtype: 'float32', shape: [columns], contents: UNIT }],
      optimizer: entriesOf(state, { uniform: [0, 1e-3] }),
    },
    runs: [{ counts: {}, feeds }],
    timed: ['matmul', 'elementwise'],
    // Rows once, the combination written and read, the parameter and two moments read and written.
    bytes: FLOAT * columns * (tasks + 2 + 6),
    roof: 'copy',
    share: 0.85,
  }
}

function mmoeStep(tiny: boolean, executor: Executor): GpuCase {
  const batch = tiny ? 8 : 8192
  const model = buildMmoe()
  const program = compileMmoe(model, executor)
  const ids: Contents = { skewed: [0, ROWS, 4] }
  const feeds: Record<string, Contents> = {
    ...Object.fromEntries(program.runner.inputs.map(({ name }) => [name, ids])),
    history: ids,
    'history.length': { skewed: [1, LENGTH + 1, 1] },
    label: { uniform: [0, 1] },
    lr: Float32Array.of(1e-3),
  }
  const parameters = namedVariables(model).map(
    ({ name, variable: { dtype, shape } }): RecordedEntry => ({
      name,
      dtype,
      shape,
      contents: { uniform: [-0.05, 0.05] },
    }),
  )
  using state = program.createOptimizerState()
  return {
    name: `MMoE training step, batch ${batch}, ${FEATURES} ids, ${TASKS} tasks`,
    runner: program.runner,
    capacities: { batch },
    stores: { parameters, optimizer: entriesOf(state, { uniform: [0, 1e-6] }) },
    runs: [{ counts: { batch }, feeds }],
    peers: { 'MMoE eager': 2, 'MMoE compiled': 1.2 },
  }
}

function products(tiny: boolean): GpuCase {
  const size = tiny ? 64 : 8192
  const [a, b] = [large('a', [size, size]), large('b', [size, size])]
  const rest = { timed: ['matmul'], flops: 2 * size ** 3, roof: 'matrix', peers: { matmul: 1 } } as const
  return ofGraph({ name: `matmul [${size},${size},${size}]`, ...rest }, [matmul(a as never, b as never) as Loose])
}

/** All cases; tiny ones take the same path in little time. */
export const gpuCases = (tiny: boolean, executor: Executor): GpuCase[] => [
  ...filters(tiny),
  ...attentions(tiny),
  ...targets(tiny),
  ...bags(tiny, executor),
  ...grams(tiny),
  combination(tiny, executor),
  mmoeStep(tiny, executor),
  products(tiny),
]
