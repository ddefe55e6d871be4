/**
 * Runs tests on another device than the processor: what needs a kernel that the device lacks is skipped, by the name of
 * the op. Used where KAIROS_DEVICE says so; test/cuda/kernels.test.ts compares with the list of what may be lacking.
 */
import { type RunnerTestCase, TestRunner } from 'vitest'

/** As native/runtime/device_executable.cc says it. */
const NO_KERNEL = /(\w+): \w+ should be a kernel for this device/

/** The op, also where an assertion about an error holds it. */
function lacking(error: unknown): string | undefined {
  if (typeof error === 'string') return NO_KERNEL.exec(error)?.[1]
  const { code, message, cause, actual } = (error ?? {}) as Record<string, unknown>
  // What `toMatchObject` keeps of an error has no text.
  if (code === 'KAIROS_UNSUPPORTED' && message === undefined) return 'an op'
  for (const part of [message, cause, actual]) {
    const found = part === undefined ? undefined : lacking(part)
    if (found !== undefined) return found
  }
  return undefined
}

export default class DeviceRunner extends TestRunner {
  async runTask(test: RunnerTestCase): Promise<void> {
    try {
      await TestRunner.getTestFn(test as never)()
    } catch (error) {
      const op = lacking(error)
      if (op === undefined) throw error
      test.context.skip(`no kernel for ${op}`)
    }
  }
}
