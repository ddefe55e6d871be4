import { defineConfig } from 'vitest/config'

/** On another device some kernels may be lacking yet. */
const elsewhere = (process.env.KAIROS_DEVICE || 'cpu') !== 'cpu'

export default defineConfig({
  test: {
    ...(elsewhere ? { runner: './test/cuda/runner.ts' } : {}),
    include: ['test/**/*.test.ts'],
    exclude: ['test/**/fixtures/**'],
    // Processes, not worker threads: a crash in native code then names its file, and sanitizers see one world each.
    pool: 'forks',
    // Every graph that a test lowers is checked after every pass.
    env: { KAIROS_CHECK: '1' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
