/** Commands that take any system: which options it has, from flags and a config file. */
import type { ArgsDef } from 'citty'
import type { z } from 'zod'
import { nearest } from '../core/nearest.js'
import { rankingSystems, systems } from '../systems/index.js'
import { modelOptions, type OptionsSchema, optionProperties, parseOptions, refuseForeign } from '../train/options.js'
import { rankingModelOptions } from '../train/rankingOptions.js'
import { readConfigFile } from './configFile.js'
import { asUsage, flagOf, flagsOf, rawOptions } from './flags.js'
import { UsageError } from './usage.js'

const names = Object.keys(systems)

/** The options of a command, for systems that learn from sequences and for those that learn from rows. */
export interface OptionsOfBoth<S extends OptionsSchema, R extends OptionsSchema> {
  readonly sequence: S
  readonly ranking: R
}

/** Flags of both kinds of system; a default that differs is told for each. */
export function flagsOfBoth(
  { sequence, ranking }: OptionsOfBoth<OptionsSchema, OptionsSchema>,
  words: readonly string[] = [],
): ArgsDef {
  const flags: ArgsDef = flagsOf(sequence, words)
  for (const [flag, definition] of Object.entries(flagsOf(ranking, words))) {
    if (!flags[flag])
      flags[flag] = { ...definition, description: `of rows: ${definition.description}` } as ArgsDef[string]
  }
  const others = optionProperties(ranking)
  for (const [option, { default: value }] of Object.entries(optionProperties(sequence))) {
    const other = others[option]?.default
    const flag = flags[flagOf(option)]
    if (!flag || other === undefined || other === value) continue
    flag.description = `${flag.description?.replace(/\)$/, '')}; ${other} for rows)`
  }
  const system = { description: 'which system', valueHint: names.join('|') }
  const file = 'lines of `user item item ...`, or CSV, Parquet, JSON Lines'
  return {
    ...flags,
    system: words.includes('system')
      ? { ...system, type: 'positional', required: false }
      : { ...system, type: 'string' },
    data: { type: 'string', description: file, valueHint: 'file' },
    config: { type: 'string', description: 'options from a YAML or JSON file; flags count more', valueHint: 'file' },
    ...(flags.split ? { split: splitFlag(sequence, ranking) } : {}),
  }
}

const splitFlag = (...schemas: readonly OptionsSchema[]) =>
  ({
    type: 'string',
    description: 'how what is held out is chosen; leave-one-out for sequences, in-order unless told for rows',
    valueHint: schemas.flatMap((schema) => optionProperties(schema).split?.enum ?? []).join('|'),
  }) as const

export type SystemOptions<S extends OptionsSchema, R extends OptionsSchema> =
  | { readonly kind: 'sequence'; readonly options: z.output<S> }
  | { readonly kind: 'ranking'; readonly options: z.output<R> }

/** Options of the system that was named. Throws UsageError, in the words of the command line. */
export async function systemOptions<S extends OptionsSchema, R extends OptionsSchema>(
  command: string,
  { sequence, ranking }: OptionsOfBoth<S, R>,
  args: Readonly<Record<string, unknown>>,
  words: readonly string[] = [],
): Promise<SystemOptions<S, R>> {
  const file = args.config === undefined ? {} : await readConfigFile(command, String(args.config))
  const system = requireSystem(command, args.system ?? file.system, words)
  const read = <O extends OptionsSchema>(own: O, theirs: OptionsSchema, ownModel: readonly string[]): z.output<O> => {
    const raw = { ...file, ...foreign(theirs, own, args), ...rawOptions(own, args) }
    return asUsage(
      command,
      raw,
      own,
      (op, nameOf) => {
        const options = parseOptions(own, raw, op, nameOf)
        refuseForeign(raw, systems[system], ownModel, op, nameOf)
        return options
      },
      words,
    )
  }
  return Object.hasOwn(rankingSystems, system)
    ? { kind: 'ranking', options: read(ranking, sequence, rankingModelOptions) }
    : { kind: 'sequence', options: read(sequence, ranking, modelOptions) }
}

function requireSystem(command: string, system: unknown, words: readonly string[]): keyof typeof systems {
  if (typeof system === 'string' && Object.hasOwn(systems, system)) return system as keyof typeof systems
  const near = typeof system === 'string' ? nearest(system, names) : undefined
  if (near) throw new UsageError(`kairos ${command}: '${system}' should be '${near}'.`)
  const known = names.map((name) => `'${name}'`).join(' or ')
  const got = system === undefined ? 'nothing' : `'${system}'`
  throw new UsageError(
    `kairos ${command}: ${words.includes('system') ? '' : '--'}system should be ${known} but got ${got}.`,
  )
}

/** Flags of the other kind of system: handed on, so that they are refused by name. */
function foreign(
  theirs: OptionsSchema,
  own: OptionsSchema,
  args: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const known = new Set(Object.keys(own.shape))
  return Object.fromEntries(Object.entries(rawOptions(theirs, args)).filter(([option]) => !known.has(option)))
}
