import { trainOptions } from '../train/options.js'
import { rankingTrainOptions } from '../train/rankingOptions.js'
import { flagsOfBoth, systemOptions } from './systemOptions.js'

const schemas = { sequence: trainOptions, ranking: rankingTrainOptions }

export const train = {
  meta: { name: 'train', description: 'Trains a system and measures it on what was held out' },
  args: flagsOfBoth(schemas),
  async run({ args }: { args: Record<string, unknown> }) {
    const { kind, options } = await systemOptions('train', schemas, args)
    if (kind === 'sequence') await (await import('../train/trainSystem.js')).trainSystem(options)
    else await (await import('../train/trainRanking.js')).trainRanking(options)
  },
}
