/** CUDA's registry beside the processor's: the same families stand behind `cuda` and `emulated`. */
import { describe, expect, it } from 'vitest'
import { describe as describeAddon, Executor } from '../../lib/runtime/index.js'
import { lacking } from './lacking.js'

describe.skipIf(process.platform !== 'linux' || process.env.KAIROS_ADDON)('the kernels of CUDA', () => {
  it('are those of the processor but for a written list', async () => {
    const executor = new Executor({ device: 'emulated' })
    const known = new Set(executor.kernels)
    await executor.close()
    const { kernels } = describeAddon()
    expect([...known].filter((name) => !kernels.includes(name))).toEqual([])
    expect(kernels.filter((name) => !known.has(name)).toSorted()).toEqual(lacking)
  })
})
