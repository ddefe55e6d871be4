import { demoOptions } from '../train/options.js'
import { flagsOf, optionsFrom } from './flags.js'

export const demo = {
  meta: { name: 'demo', description: 'Compares popularity, no-frequency and frequency on generated data' },
  args: flagsOf(demoOptions),
  async run({ args }: { args: Record<string, unknown> }) {
    const options = optionsFrom(demoOptions, 'demo', args)
    const { runDemo } = await import('../train/runDemo.js')
    await runDemo(options)
  },
}
