import { proveOptions } from '../prove/options.js'
import { flagsOf, optionsFrom } from './flags.js'

const words = ['system']

export const prove = {
  meta: {
    name: 'prove',
    description: 'Trains a system, its ablations and baselines where the truth is known, and judges its claims',
  },
  args: flagsOf(proveOptions, words),
  async run({ args }: { args: Record<string, unknown> }) {
    const options = optionsFrom(proveOptions, 'prove', args, words)
    await (await import('../prove/proveSystem.js')).proveSystem(options)
  },
}
