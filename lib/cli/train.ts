import { nearest } from '../core/nearest.js'
import { rankingSystems, sequenceSystems, systems } from '../systems/index.js'
import { modelOptions, parseOptions, refuseForeign, trainOptions } from '../train/options.js'
import { parseRankingOptions, rankingTrainOptions } from '../train/rankingOptions.js'
import { readConfigFile } from './configFile.js'
import { asUsage, flagsOf, rawOptions } from './flags.js'
import { UsageError } from './usage.js'

const names = Object.keys(systems)

function requireSystem(system: unknown): string {
  if (typeof system === 'string' && Object.hasOwn(systems, system)) return system
  const near = typeof system === 'string' ? nearest(system, names) : undefined
  if (near) throw new UsageError(`kairos train: '${system}' should be '${near}'.`)
  const known = names.map((name) => `'${name}'`).join(' or ')
  const got = system === undefined ? 'nothing' : `'${system}'`
  throw new UsageError(`kairos train: --system should be ${known} but got ${got}.`)
}

export const train = {
  meta: { name: 'train', description: 'Trains a system and measures it on what was held out' },
  args: {
    ...flagsOf(rankingTrainOptions),
    ...flagsOf(trainOptions),
    system: { type: 'string', description: 'what to train', valueHint: names.join('|') },
    data: {
      type: 'string',
      description: 'lines of `user item item ...`, or CSV, Parquet, JSON Lines',
      valueHint: 'file',
    },
    config: { type: 'string', description: 'options from a YAML or JSON file; flags count more', valueHint: 'file' },
  } as const,
  async run({ args }: { args: Record<string, unknown> }) {
    const file = args.config === undefined ? {} : await readConfigFile('train', String(args.config))
    const system = requireSystem(args.system ?? file.system)
    if (Object.hasOwn(rankingSystems, system)) {
      const raw = {
        ...file,
        ...rawOptions(rankingTrainOptions, args),
        ...foreign(trainOptions, rankingTrainOptions, args),
      }
      const options = asUsage('train', raw, rankingTrainOptions, (op, nameOf) => parseRankingOptions(raw, op, nameOf))
      const { trainRanking } = await import('../train/trainRanking.js')
      await trainRanking(options)
      return
    }
    const raw = { ...file, ...rawOptions(trainOptions, args), ...foreign(rankingTrainOptions, trainOptions, args) }
    const options = asUsage('train', raw, trainOptions, (op, nameOf) => {
      const parsed = parseOptions(trainOptions, raw, op, nameOf)
      refuseForeign(raw, sequenceSystems[parsed.system], modelOptions, op, nameOf)
      return parsed
    })
    const { trainSystem } = await import('../train/trainSystem.js')
    await trainSystem(options)
  },
}

/** Flags of the other kind of system: handed on, so that they are refused by name. */
function foreign(
  theirs: typeof trainOptions | typeof rankingTrainOptions,
  own: typeof trainOptions | typeof rankingTrainOptions,
  args: Record<string, unknown>,
): Record<string, unknown> {
  const known = new Set(Object.keys(own.shape))
  return Object.fromEntries(Object.entries(rawOptions(theirs, args)).filter(([option]) => !known.has(option)))
}
