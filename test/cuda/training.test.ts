/** Training on the emulated GPU beside the processor: the same losses, and one state that either may go on with. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  adam,
  all,
  assign,
  type Batch,
  binaryCrossEntropy,
  compile,
  createParameters,
  createState,
  Dropout,
  Executor,
  field,
  LayerNorm,
  Linear,
  MMoE,
  normal,
  state,
  type Tensor,
} from '../../lib/index.js'
import { add, broadcast, gelu, mean, merge, square, subtract } from '../../lib/ops/index.js'
import type { Loose } from '../../lib/ops/support.js'
import type { NativeArray, Store } from '../../lib/runtime/index.js'
import { CheckpointFolder } from '../../lib/train/checkpoint.js'

const WIDTH = 6
const schema = { x: field('float32', 'batch', WIDTH), target: field('float32', 'batch') }

class Mlp {
  readonly hidden = new Linear(WIDTH, 16, normal(0.4))
  readonly norm = new LayerNorm(16, 1e-5)
  readonly drop = new Dropout(0.2)
  readonly head = new Linear(16, 1, normal(0.4))
  readonly seen = state([])

  loss(b: Batch<typeof schema>): Tensor<readonly [], 'float32'> {
    const hidden = this.drop.forward(this.norm.forward(gelu(this.hidden.forward(b.x))))
    const score = merge(this.head.forward(hidden) as Loose, 0, 2, 'batch') as Loose
    return mean(square(subtract(score, b.target))) as never
  }
}

class Experts {
  readonly mmoe = new MMoE({ inputs: WIDTH, experts: 3, hidden: [8], tasks: 2, towers: [4, 1] })
  readonly seen = state([])

  loss(b: Batch<typeof schema>): Tensor<readonly [], 'float32'> {
    return binaryCrossEntropy(this.mmoe.logits(b.x as never) as Loose, pair(b.target as Loose)) as never
  }
}

/** The target for both tasks: [batch] -> [batch, 2]. */
const pair = (target: Loose): Loose => broadcast(target, 1, [2]) as Loose

function batchOf(count: number, seed: number) {
  const x = Float32Array.from({ length: count * WIDTH }, (_, i) => Math.sin(12.9898 * (i + seed * 977)))
  return { x, target: Float32Array.from({ length: count }, (_, i) => Number((x[i * WIDTH] as number) > 0)) }
}

type Model = Mlp | Experts

function programOn(model: Model, executor: Executor) {
  return compile(
    model,
    (m, b) => {
      assign(m.seen, add(m.seen, mean(b.x)))
      return { loss: m.loss(b as never) }
    },
    { schema, seed: 5, executor, check: true, updates: [{ loss: 'loss', parameters: all, optimizer: adam() }] },
  )
}

function handlesOf(model: Model, program: ReturnType<typeof programOn>) {
  return {
    parameters: createParameters(model, 2),
    optimizer: program.createOptimizerState(),
    state: createState(model),
  }
}
type Handles = ReturnType<typeof handlesOf>

const bits = ({ buffer, byteOffset, byteLength }: NativeArray) =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('hex')
const bitsOf = async (store: Store) =>
  Object.fromEntries(Object.entries(await store.read()).map(([name, array]) => [name, bits(array)]))
const allBits = async ({ parameters, optimizer, state }: Handles) => [
  await bitsOf(parameters),
  await bitsOf(optimizer),
  await bitsOf(state),
]

async function expectClose(a: Store, b: Store, allowed: number) {
  const [left, right] = [await a.read(), await b.read()]
  for (const [name, array] of Object.entries(left)) {
    const other = right[name] as NativeArray
    array.forEach((x, i) => expect(Math.abs(x - (other[i] as number)), `${name}[${i}]`).toBeLessThanOrEqual(allowed))
  }
}

/** Live counts below, at and beyond the first capacity. */
const SIZES = [8, 3, 1, 8, 13, 5, 13, 8, 2, 16]

describe.skipIf(process.platform !== 'linux' || process.env.KAIROS_ADDON)('training on the emulated GPU', () => {
  let gpu: Executor
  let cpu: Executor
  let folder = ''
  beforeAll(async () => {
    gpu = new Executor({ device: 'emulated' })
    cpu = new Executor({ device: 'cpu', threads: 1 })
    folder = await mkdtemp(join(tmpdir(), 'kairos-device-'))
  })
  afterAll(async () => {
    await gpu.close()
    await cpu.close()
    await rm(folder, { recursive: true })
  })

  const train = async (model: Model, executors: readonly Executor[]) => {
    const programs = executors.map((executor) => programOn(model, executor))
    const handles = handlesOf(model, programs[0] as (typeof programs)[0])
    const losses: number[] = []
    for (const [step, size] of SIZES.entries()) {
      const program = programs[step % programs.length] as (typeof programs)[0]
      program.stepCount = step
      const { loss } = await program.step(batchOf(size, step), { lr: 0.01 }, handles)
      losses.push(loss)
    }
    return { losses, handles, programs }
  }

  it.each([
    ['a perceptron with dropout', () => new Mlp()],
    ['MMoE', () => new Experts()],
  ] as const)('%s learns the same as on the processor, and by turns on both', async (_, build) => {
    const onCpu = await train(build(), [cpu])
    for (const executors of [[gpu], [gpu, cpu], [cpu, cpu, gpu]]) {
      const there = await train(build(), executors)
      // Adam's first steps are the signs of gradients, those of roundings too: 2e-5 was seen.
      there.losses.forEach((loss, step) => expect(Math.abs(loss - (onCpu.losses[step] as number))).toBeLessThan(1e-4))
      await expectClose(there.handles.parameters, onCpu.handles.parameters, 1e-3)
      await expectClose(there.handles.state, onCpu.handles.state, 1e-5)
    }
  })

  it('gives the same bits again', async () => {
    const [first, second] = [await train(new Mlp(), [gpu]), await train(new Mlp(), [gpu])]
    expect(await allBits(second.handles)).toEqual(await allBits(first.handles))
    expect(second.losses).toEqual(first.losses)
  })

  it('saves what the device has, and a run goes on from it on either', async () => {
    const model = new Mlp()
    const { handles, programs } = await train(model, [gpu])
    const saved = await allBits(handles)
    const checkpoints = await CheckpointFolder.open(join(folder, 'saved'))
    await checkpoints.save({
      step: SIZES.length,
      cursor: { epoch: 1, batch: 0 },
      random: { seed: 5, draws: SIZES.length },
      metrics: {},
      best: false,
      config: {},
      schema: {},
      progress: {},
      stores: handles,
      program: programs[0]?.runner.programFile as Uint8Array,
    })
    const { checkpoint } = await checkpoints.latest()
    const next = async (executor: Executor) => {
      const program = programOn(model, executor)
      const restored = handlesOf(model, program)
      await checkpoint?.restore(restored, executor)
      expect(await allBits(restored)).toEqual(saved)
      program.stepCount = SIZES.length
      const { loss } = await program.step(batchOf(8, 99), { lr: 0.01 }, restored)
      return { loss, restored }
    }
    const [there, here] = [await next(gpu), await next(cpu)]
    expect(Math.abs(there.loss - here.loss)).toBeLessThan(1e-5)
    const program = programs[0] as (typeof programs)[0]
    const { loss } = await program.step(batchOf(8, 99), { lr: 0.01 }, handles)
    expect(loss).toBe(there.loss)
    expect(await allBits(handles)).toEqual(await allBits(there.restored))
  })

  it('a step that fails changes no bit of any state', async () => {
    const { handles, programs } = await train(new Mlp(), [gpu])
    const program = programs[0] as (typeof programs)[0]
    const before = await allBits(handles)
    const poisoned = batchOf(8, 1)
    poisoned.x[3] = Number.NaN
    const draws = program.stepCount
    await expect(program.step(poisoned, { lr: 0.01 }, { ...handles, requireFinite: ['loss'] })).rejects.toMatchObject({
      code: 'KAIROS_NON_FINITE',
    })
    expect(await allBits(handles)).toEqual(before)
    program.stepCount = draws
    await program.step(batchOf(8, 1), { lr: 0.01 }, { ...handles, requireFinite: ['loss'] })
    expect(await allBits(handles)).not.toEqual(before)
  })

  it('knows which copy of a buffer is the newest', async () => {
    const model = new Mlp()
    const { handles, programs } = await train(model, [gpu])
    const program = programs[0] as (typeof programs)[0]
    const step = (own: Handles) => program.step(batchOf(8, 1), { lr: 0.01 }, own)

    // A clone shares what the device wrote, and parts with it when either is written.
    const clone = { ...handles, parameters: await handles.parameters.clone(gpu) }
    const before = await bitsOf(handles.parameters)
    expect(await bitsOf(clone.parameters)).toEqual(before)
    await step(handles)
    expect(await bitsOf(clone.parameters)).toEqual(before)
    expect(await bitsOf(handles.parameters)).not.toEqual(before)

    // What the host writes is what the device reads next.
    const written = await clone.parameters.read()
    await handles.parameters.write(written)
    expect(await bitsOf(handles.parameters)).toEqual(before)
    const name = Object.keys(written)[0] as string
    await step(handles)
    const old = await handles.parameters.readRange(name, 1, 3)
    await handles.parameters.writeRange(name, 1, old.map((x) => x + 1) as NativeArray)
    expect(await handles.parameters.readRange(name, 1, 3)).toEqual(old.map((x) => x + 1))
    const rest = (await handles.parameters.read())[name] as NativeArray
    await step(handles)
    const after = (await handles.parameters.read())[name] as NativeArray
    expect(Math.abs((after[1] as number) - (rest[1] as number))).toBeLessThan(0.1)

    // An average of stores that are newest on the device.
    const ema = await handles.parameters.clone(gpu)
    await step(handles)
    await ema.average([ema, handles.parameters], [0.5, 0.5])
    const [mixed, newest] = [(await ema.read())[name] as NativeArray, (await handles.parameters.read())[name]]
    expect(mixed[1]).toBeCloseTo(((after[1] as number) + (newest?.[1] as number)) / 2, 5)
  })
})
