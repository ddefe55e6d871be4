/** Memory of a GPU that is too small at every point where something is asked of it, and work that is left unharmed. */
import { afterEach, describe, expect, it } from 'vitest'
import {
  adam,
  all,
  compile,
  createParameters,
  Executor,
  field,
  matmul,
  mean,
  normal,
  parameter,
} from '../../lib/index.js'
import { square } from '../../lib/ops/index.js'
import type { NativeArray, Store } from '../../lib/runtime/index.js'

const schema = { x: field('float32', 'batch', 64) }

function modelOn(executor: Executor, width: number) {
  const model = { weight: parameter([64, width], normal(0.1)) }
  const program = compile(model, (m, b) => ({ loss: mean(square(matmul(b.x, m.weight))) }), {
    schema,
    executor,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }) }],
  })
  return { program, handles: { parameters: createParameters(model), optimizer: program.createOptimizerState() } }
}

const x = Float32Array.from({ length: 4 * 64 }, (_, i) => Math.sin(i))
const bitsOf = async (store: Store) =>
  Object.entries(await store.read()).map(([name, array]: [string, NativeArray]) => `${name} ${[...array]}`)

async function withMemory<T>(bytes: number, body: (executor: Executor) => Promise<T>): Promise<T> {
  process.env.KAIROS_EMULATED_MEMORY = `${bytes}`
  const executor = new Executor({ device: 'emulated' })
  try {
    return await body(executor)
  } finally {
    await executor.close()
  }
}

describe.skipIf(process.platform !== 'linux' || process.env.KAIROS_ADDON)('a GPU whose memory is exhausted', () => {
  afterEach(() => {
    delete process.env.KAIROS_EMULATED_MEMORY
  })

  it('says what asked for how much, whatever it is; nothing has changed, and less still works', async () => {
    const refused = new Set<string>()
    let done = false
    for (let bytes = 40_000; !done; bytes = Math.floor(1.15 * bytes)) {
      expect(bytes).toBeLessThan(1e7)
      await withMemory(bytes, async (executor) => {
        const small = modelOn(executor, 1)
        const less = () => small.program.step({ x: x.subarray(0, 64) }, {}, small.handles)
        await less()
        const { program, handles } = modelOn(executor, 256)
        const before = [await bitsOf(handles.parameters), await bitsOf(handles.optimizer)]
        const error = await program.step({ x }, {}, handles).then(
          () => undefined,
          (reason: unknown) => reason as Error & { argument: string },
        )
        done = error === undefined
        if (error === undefined) return
        expect(error).toMatchObject({ code: 'KAIROS_OUT_OF_MEMORY' })
        expect(error.message).toMatch(/should be \d+ bytes on the device but got none: an emulated GPU, .* MiB free/)
        refused.add(error.message.replace(/ should .*/s, ''))
        expect([await bitsOf(handles.parameters), await bitsOf(handles.optimizer)]).toEqual(before)
        expect(Number.isFinite((await less()).loss)).toBe(true)
      })
    }
    expect([...refused].filter((text) => /arena/.test(text))).toHaveLength(1)
    expect([...refused].some((text) => /stores\.parameters\.weight/.test(text))).toBe(true)
    expect([...refused].some((text) => /stores\.optimizer\./.test(text))).toBe(true)
  })

  it('gives memory back with executors and stores', async () => {
    await withMemory(4e6, async (executor) => {
      for (let i = 0; i < 20; i++) {
        const { program, handles } = modelOn(executor, 512)
        await program.step({ x }, {}, handles)
        handles.parameters[Symbol.dispose]()
        handles.optimizer[Symbol.dispose]()
        const executable = await program.runner.prepare({ batch: 4 })
        executable[Symbol.dispose]()
      }
    })
  })
})
