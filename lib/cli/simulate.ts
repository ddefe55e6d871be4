import type { ArgsDef } from 'citty'
import { type PresetName, presets } from '../data/simulator/index.js'
import { parseOptions } from '../train/options.js'
import { type SimulateRunOptions, simulateOptions } from '../train/simulateOptions.js'
import { readConfigFile } from './configFile.js'
import { asUsage, flagOf, flagsOf, rawOptions } from './flags.js'
import { nearest, UsageError } from './usage.js'

const names = Object.keys(presets) as PresetName[]

/** Flags of all presets. Where only some have one, or it differs between them, the help says which. */
function flagsOfAll(): ArgsDef {
  const flags: ArgsDef = {
    preset: { type: 'positional', description: 'which platform', valueHint: names.join('|'), required: false },
  }
  const texts = new Map<string, Map<string, PresetName[]>>()
  for (const name of names) {
    for (const [flag, definition] of Object.entries(flagsOf(simulateOptions(name)))) {
      flags[flag] ??= definition
      const owners = texts.get(flag) ?? new Map<string, PresetName[]>()
      const text = definition.description ?? ''
      texts.set(flag, owners.set(text, [...(owners.get(text) ?? []), name]))
    }
  }
  for (const [flag, owners] of texts) {
    if ([...owners.values()].some((all) => all.length === names.length)) continue
    const each = [...owners].map(([text, of]) => `${of.join(', ')}: ${text}`)
    ;(flags[flag] as { description: string }).description = each.join('; ')
  }
  const file = 'knobs from a YAML or JSON file; flags count more'
  return { ...flags, config: { type: 'string', description: file, valueHint: 'file' } }
}

/** What was typed for any preset; knobs of others than this one are refused by name. */
function typed(preset: PresetName, args: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const own = rawOptions(simulateOptions(preset), args)
  for (const other of names) {
    const foreign = Object.keys(rawOptions(simulateOptions(other), args)).find((option) => !Object.hasOwn(own, option))
    if (foreign !== undefined)
      throw new UsageError(`kairos simulate: --${flagOf(foreign)} is a knob of ${other}, not of ${preset}.`)
  }
  return own
}

function requirePreset(word: unknown): PresetName {
  if (typeof word === 'string' && Object.hasOwn(presets, word)) return word as PresetName
  const near = typeof word === 'string' ? nearest(word, names) : undefined
  if (near) throw new UsageError(`kairos simulate: '${word}' should be '${near}'.`)
  const known = names.map((name) => `'${name}'`).join(' or ')
  throw new UsageError(
    `kairos simulate: preset should be ${known} but got ${word === undefined ? 'nothing' : `'${word}'`}.`,
  )
}

export const simulate = {
  meta: { name: 'simulate', description: 'Writes the events of a platform with known truth' },
  args: flagsOfAll(),
  async run({ args }: { args: Record<string, unknown> }) {
    const preset = requirePreset(args.preset)
    const schema = simulateOptions(preset)
    const file = args.config === undefined ? {} : await readConfigFile('simulate', String(args.config))
    const raw = { ...file, ...typed(preset, args) }
    const options = asUsage('simulate', raw, schema, (op, nameOf) => parseOptions(schema, raw, op, nameOf))
    const { runSimulate } = await import('../train/runSimulate.js')
    await runSimulate({ ...options, preset } as SimulateRunOptions)
  },
}
