import { explainOptions } from '../train/options.js'
import { flagsOf, optionsFrom } from './flags.js'

const words = ['system']

export const explain = {
  meta: { name: 'explain', description: 'Prints a model, its parameters and the program that it compiles to' },
  args: flagsOf(explainOptions, words),
  async run({ args }: { args: Record<string, unknown> }) {
    const options = optionsFrom(explainOptions, 'explain', args, words)
    const { explainSystem } = await import('../train/explainSystem.js')
    await explainSystem(options)
  },
}
