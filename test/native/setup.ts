import { fileURLToPath } from 'node:url'
import { Executor, type NativeArray, ParameterSet } from '../../lib/runtime/index.js'
import { encodeFile, type ProgramFile, stepFile } from './programFile.js'

export const addonPath =
  process.env.KAIROS_ADDON ?? fileURLToPath(new URL('../../build/Release/kairos.node', import.meta.url))

export const weights = (): Float32Array => Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)

export const makeParameters = (data: Float32Array = weights()): ParameterSet =>
  ParameterSet.create([{ name: 'weight', dtype: 'float32', shape: [4, 2], data }])

export const bindStep = async (
  { threads = 2, capacity = 4, poison = false, profile = false } = {},
  edit: (file: ProgramFile) => void = () => {},
) => {
  const executor = new Executor({ threads })
  const file = stepFile()
  edit(file)
  const program = await executor.loadProgram(encodeFile(file))
  const executable = await program.bind({ batch: capacity }, { poison, profile })
  return { executor, program, executable }
}

export const feedsOf = (ids: number[], other: number[] = ids): Record<string, NativeArray> => ({
  ids: Int32Array.from(ids),
  other: Int32Array.from(other),
  x: Float32Array.from(ids.flatMap((_, row) => [row + 1, 10 * (row + 1)])),
})

export const weightOf = async (store: ParameterSet): Promise<number[]> => [
  ...((await store.read(['weight'])).weight as Float32Array),
]

/** What a promise was rejected with. */
export const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => {
      throw new Error('should have been refused')
    },
    (error: unknown) => error,
  )
