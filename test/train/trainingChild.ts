/**
 * A process that trains into a folder, to be killed: `node trainingChild.js FOLDER EPOCHS [slow]`. It goes on where the
 * last one stopped, writes a mark per event to stdout (`>` started, `.` step, `s` saved), and at its end the hash of
 * everything that was trained.
 */
import { createHash } from 'node:crypto'
import { writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Executor } from '../../lib/index.js'
import { CheckpointFolder } from '../../lib/train/checkpoint.js'
import { interruptible } from '../../lib/train/interrupt.js'
import { fitLoop, type LoopOptions } from '../../lib/train/loop.js'
import { endOf, smallRun } from './support.js'

const [path = '', epochs = '1', slow] = process.argv.slice(2)
const mark = (text: string) => writeSync(1, text)

const executor = new Executor({ threads: 1 })
const { options } = smallRun(executor)
const folder = await CheckpointFolder.open(path, { keep: 2 })
try {
  await interruptible(async (signal) => {
    const all: LoopOptions = {
      ...options,
      signal,
      epochs: Number(epochs),
      watch: { metric: 'error', direction: 'min' },
      checkpoints: { folder, config: { model: 'small' }, resume: true, every: { steps: 1 } },
      evaluate: async () => {
        // Without a timer of its own, nothing but the signal ends the process.
        if (slow) await setTimeout(60_000)
        return options.evaluate()
      },
      observers: [{ started: () => mark('>'), stepped: () => mark('.'), saved: () => mark('s') }],
    }
    const result = await fitLoop(all)
    if (result.ending === 'interrupted') return mark(`\ninterrupted ${result.step}\n`)
    const hash = createHash('sha256').update(JSON.stringify(await endOf(result, all)))
    return mark(`\nend ${hash.digest('hex')}\n`)
  })
} finally {
  await folder.close()
  await executor.close()
}
