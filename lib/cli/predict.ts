import { predictOptions } from '../train/runOptions.js'
import { flagsOf, optionsFrom } from './flags.js'

export const predict = {
  meta: {
    name: 'predict',
    description: 'Writes what a finished run says of new rows: items for users, or probabilities',
  },
  args: flagsOf(predictOptions),
  async run({ args }: { args: Record<string, unknown> }) {
    const { predictRun } = await import('../train/predictRun.js')
    await predictRun(optionsFrom(predictOptions, 'predict', args))
  },
}
