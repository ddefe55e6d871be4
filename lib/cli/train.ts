import { trainOptions } from '../train/options.js'
import { flagsOf, optionsFrom } from './flags.js'

export const train = {
  meta: { name: 'train', description: 'Trains a system on interaction sequences and ranks the held-out items' },
  args: flagsOf(trainOptions),
  async run({ args }: { args: Record<string, unknown> }) {
    const options = optionsFrom(trainOptions, 'train', args)
    const { trainSystem } = await import('../train/trainSystem.js')
    await trainSystem(options)
  },
}
