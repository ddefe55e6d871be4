import { evaluateOptions } from '../train/runOptions.js'
import { flagsOf, optionsFrom } from './flags.js'

export const evaluate = {
  meta: { name: 'evaluate', description: 'Measures a finished run again, alone or against another' },
  args: flagsOf(evaluateOptions),
  async run({ args }: { args: Record<string, unknown> }) {
    const { evaluateRun } = await import('../train/evaluateRun.js')
    await evaluateRun(optionsFrom(evaluateOptions, 'evaluate', args))
  },
}
