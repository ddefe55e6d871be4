/** Training goes on for as long as it likes in the same room: steps, evaluations, checkpoints, log. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { Executor } from '../../lib/index.js'
import { fitLoop } from '../../lib/train/loop.js'
import { openRunFolder } from '../../lib/train/runFolder.js'
import { generatedSource, smallRun } from './support.js'

const EPOCHS = 40
/** Epochs until caches are warm and the collector has found its pace. */
const WARM_UP = 8
/** Bytes: a kilobyte for each of its 250 steps. Measured are some 30 KiB, and falling. */
const MOST_PER_EPOCH = 250 * 1024

// Garbage that V8 has not yet seen reason to collect is no leak, and hides one.
setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

it('keeps resident memory flat over epochs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-memory-'))
  const executor = new Executor({ threads: 1 })
  const { options } = smallRun(executor)
  const run = await openRunFolder(folder, { title: 'memory', config: {}, executor, keep: 1, stepInterval: 100 })
  const sizes: number[] = []
  try {
    await fitLoop({
      ...options,
      source: generatedSource(2000, 8),
      epochs: EPOCHS,
      watch: { metric: 'error', direction: 'min' },
      checkpoints: { folder: run.checkpoints, config: {} },
      observers: [
        run.observer,
        {
          epochEnded: () => {
            collectGarbage()
            sizes.push(process.memoryUsage.rss())
          },
        },
      ],
    })
  } finally {
    await run.close()
    await executor.close()
    await rm(folder, { recursive: true })
  }
  const slope = slopeOf(sizes.slice(WARM_UP))
  console.log(
    `resident memory: ${(slope / 1024).toFixed(1)} KiB per epoch of 250 steps, at ${Math.round((sizes.at(-1) as number) / 2 ** 20)} MiB`,
  )
  expect(slope).toBeLessThan(MOST_PER_EPOCH)
}, 120_000)

/** Least squares over 0, 1, 2, ... */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  let [above, below] = [0, 0]
  values.forEach((value, i) => {
    above += (i - middle) * (value - mean)
    below += (i - middle) ** 2
  })
  return above / below
}
