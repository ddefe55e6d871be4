/** A whole training step of the frequency system: samples per second, with the share of each kernel in the note. */
import { profileByKernel } from '../lib/graph/explain.js'
import { Executor } from '../lib/index.js'
import { systems } from '../lib/systems/index.js'
import { compileTraining } from '../lib/train/sequenceTrainer.js'
import { alternate, type BenchResult, median, quantile } from './support.js'

const ITEMS = 3646
const BATCH = 256
const LENGTH = 50

export async function trainingStepBench(threads: number): Promise<BenchResult[]> {
  const executor = new Executor({ threads })
  const model = systems.frequency.build(ITEMS, systems.frequency.config.parse({}))
  const program = compileTraining(model, { maxLength: LENGTH, seed: 1, executor, profile: true })
  const history = Int32Array.from({ length: BATCH * LENGTH }, (_, i) => (i * 7919) % (ITEMS + 1))
  const target = Int32Array.from({ length: BATCH }, (_, i) => 1 + ((i * 31) % ITEMS))
  let nanoseconds: Float64Array | undefined
  const step = async () => {
    const { milliseconds, profile } = await program.run({ history, target } as never, { lr: 0.001 })
    nanoseconds = profile
    return milliseconds
  }
  const [times = []] = await alternate([{ name: 'step', run: step }], 15)
  await executor.close()
  const shares = profileByKernel(program.runner.plan, nanoseconds ?? [])
  const top = shares.slice(0, 3).map(({ kernel, share }) => `${kernel} ${Math.round(100 * share)} %`)
  return [
    {
      name: 'frequency, training step',
      shape: `batch ${BATCH}, length ${LENGTH}, 64 channels, ${ITEMS} items`,
      threads,
      ours: median(times),
      spread: [quantile(times, 0.25), quantile(times, 0.75)],
      note: `${Math.round((1000 * BATCH) / median(times)).toLocaleString('en-US')} samples/s; ${top.join(', ')}`,
    },
  ]
}
