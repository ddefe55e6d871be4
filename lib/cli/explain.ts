import { explainOptions } from '../train/options.js'
import { rankingExplainOptions } from '../train/rankingOptions.js'
import { flagsOfBoth, systemOptions } from './systemOptions.js'

const schemas = { sequence: explainOptions, ranking: rankingExplainOptions }
const words = ['system']

export const explain = {
  meta: { name: 'explain', description: 'Prints a model, its parameters and the program that it compiles to' },
  args: flagsOfBoth(schemas, words),
  async run({ args }: { args: Record<string, unknown> }) {
    const { kind, options } = await systemOptions('explain', schemas, args, words)
    const explaining = await import('../train/explainSystem.js')
    if (kind === 'sequence') await explaining.explainSystem(options)
    else await explaining.explainRanking(options)
  },
}
