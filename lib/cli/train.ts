import type { ArgsDef } from 'citty'
import { nearest } from '../core/nearest.js'
import { rankingSystems, sequenceSystems, systems } from '../systems/index.js'
import { modelOptions, optionProperties, parseOptions, refuseForeign, trainOptions } from '../train/options.js'
import { parseRankingOptions, rankingTrainOptions } from '../train/rankingOptions.js'
import { readConfigFile } from './configFile.js'
import { asUsage, flagOf, flagsOf, rawOptions } from './flags.js'
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
    ...flagsOfBoth(),
    split: {
      type: 'string',
      description: 'how what is held out is chosen; leave-one-out for sequences, in-order unless told for rows',
      valueHint: [trainOptions, rankingTrainOptions]
        .flatMap((schema) => optionProperties(schema).split?.enum ?? [])
        .join('|'),
    },
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

/** Flags of sequence systems, then of ranking systems; those of both with both defaults. */
function flagsOfBoth(): ArgsDef {
  const [sequence, ranking] = [optionProperties(trainOptions), optionProperties(rankingTrainOptions)]
  const flags: ArgsDef = flagsOf(trainOptions)
  for (const [flag, definition] of Object.entries(flagsOf(rankingTrainOptions))) {
    const known = flags[flag]
    if (!known) flags[flag] = { ...definition, description: `of rows: ${definition.description}` } as ArgsDef[string]
  }
  for (const [option, { default: value }] of Object.entries(sequence)) {
    const other = ranking[option]?.default
    const flag = flags[flagOf(option)]
    if (!flag || other === undefined || other === value) continue
    flag.description = `${flag.description?.replace(/\)$/, '')}; ${other} for rows)`
  }
  return flags
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
