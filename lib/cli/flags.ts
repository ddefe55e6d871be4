/** Flags made from the schema of a command's options, so that a flag, its help and its check are one declaration. */
import type { ArgsDef } from 'citty'
import type { z } from 'zod'
import { isKairosError } from '../core/errors.js'
import { type OptionProperty, type OptionsSchema, optionProperties, parseOptions } from '../train/options.js'
import { nearest, UsageError } from './usage.js'

/** 'popularityCounts' -> 'popularity-counts' */
export const flagOf = (option: string): string => option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Definitions for citty; a name in `positional` is a word and not a flag. */
export function flagsOf(schema: OptionsSchema, positional: readonly string[] = []): ArgsDef {
  const definitions: ArgsDef = {}
  for (const [option, property] of Object.entries(optionProperties(schema))) {
    const description = property.description ?? ''
    const value = property.default === undefined ? {} : { default: String(property.default) }
    // Not required as far as citty is concerned: what is missing is reported in our words.
    if (positional.includes(option)) definitions[flagOf(option)] = { type: 'positional', description, required: false }
    else if (property.type === 'boolean') definitions[flagOf(option)] = { type: 'boolean', description }
    else definitions[flagOf(option)] = { type: 'string', description, ...value, valueHint: hintOf(property) }
  }
  return definitions
}

/** Parsed flags as options: numbers from their text, then the schema's checks. */
export function optionsFrom<S extends OptionsSchema>(
  schema: S,
  command: string,
  args: Readonly<Record<string, unknown>>,
  positional: readonly string[] = [],
): z.output<S> {
  const raw: Record<string, unknown> = {}
  for (const [option, { type }] of Object.entries(optionProperties(schema))) {
    const value = args[flagOf(option)]
    if (value === undefined) continue
    raw[option] = type === 'integer' || type === 'number' ? numberFrom(String(value)) : value
  }
  const nameOf = (option: string) => (positional.includes(option) ? option : `--${flagOf(option)}`)
  try {
    return parseOptions(schema, raw, `kairos ${command}`, nameOf)
  } catch (error) {
    if (!isKairosError(error)) throw error
    const option = Object.keys(raw).find((name) => nameOf(name) === error.details.argument)
    const near = option && nearest(String(raw[option]), optionProperties(schema)[option]?.enum ?? [])
    throw new UsageError(near ? `kairos ${command}: '${raw[option]}' should be '${near}'.` : `${error.message}.`)
  }
}

/** A decimal number, or the text as it stands for the schema to refuse: Number('') is 0 and Number('0x10') 16. */
const numberFrom = (text: string): number | string =>
  /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text

/** `train|all`, `1..64`, `file` */
function hintOf(property: OptionProperty): string {
  if (property.enum) return property.enum.join('|')
  if (property.type !== 'integer' && property.type !== 'number') return 'file'
  const least = property.minimum ?? property.exclusiveMinimum
  const most = property.maximum ?? property.exclusiveMaximum
  return `${least}..${most}`
}
