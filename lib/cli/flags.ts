/** Flags made from the schema of a command's options, so that a flag, its help and its check are one declaration. */
import type { ArgsDef } from 'citty'
import type { z } from 'zod'
import { isKairosError } from '../core/errors.js'
import { type OptionProperty, type OptionsSchema, optionProperties, parseOptions } from '../train/options.js'
import { nearest, UsageError } from './usage.js'

/** 'popularityCounts' -> 'popularity-counts' */
export const flagOf = (option: string): string => option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Definitions for citty; a name in `positional` is a word and not a flag. What holds objects has no flag. */
export function flagsOf(schema: OptionsSchema, positional: readonly string[] = []): ArgsDef {
  const definitions: ArgsDef = {}
  for (const [option, property] of Object.entries(optionProperties(schema))) {
    if (property.type === 'object') continue
    const description = [property.description ?? '', defaultOf(property)].filter((text) => text !== '').join(' ')
    // Neither required nor filled in by citty: what is missing is reported in our words, and what was typed is known.
    if (positional.includes(option)) definitions[flagOf(option)] = { type: 'positional', description, required: false }
    else if (property.type === 'boolean') definitions[flagOf(option)] = { type: 'boolean', description }
    else definitions[flagOf(option)] = { type: 'string', description, valueHint: hintOf(property) }
  }
  return definitions
}

const defaultOf = ({ default: value, type }: OptionProperty): string =>
  value === undefined || type === 'boolean' ? '' : `(default ${Array.isArray(value) ? value.join(',') : value})`

/** What was typed, by option: numbers and lists from their text. */
export function rawOptions(schema: OptionsSchema, args: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const raw: Record<string, unknown> = {}
  for (const [option, { type, items }] of Object.entries(optionProperties(schema))) {
    const value = args[flagOf(option)]
    if (value === undefined) continue
    if (type === 'integer' || type === 'number') raw[option] = numberFrom(String(value))
    else if (type === 'array') {
      const parts = String(value).split(',')
      raw[option] = items?.type === 'integer' || items?.type === 'number' ? parts.map(numberFrom) : parts
    } else raw[option] = value
  }
  return raw
}

/** How a command writes an option. */
export const namer =
  (positional: readonly string[] = []) =>
  (option: string): string =>
    positional.includes(option) ? option : `--${flagOf(option)}`

/** Runs the checks of options, with what they refuse in the words of a command line. */
export function asUsage<T>(
  command: string,
  raw: Readonly<Record<string, unknown>>,
  schema: OptionsSchema,
  check: (op: string, nameOf: (option: string) => string) => T,
  positional: readonly string[] = [],
): T {
  const nameOf = namer(positional)
  try {
    return check(`kairos ${command}`, nameOf)
  } catch (error) {
    if (!isKairosError(error)) throw error
    const properties = optionProperties(schema)
    const option = Object.keys(raw).find((name) => nameOf(name) === error.details.argument)
    const near = option && nearest(String(raw[option]), properties[option]?.enum ?? [])
    if (near) throw new UsageError(`kairos ${command}: '${raw[option]}' should be '${near}'.`)
    const known = option && !(option in properties) && nearest(option, Object.keys(properties))
    if (known) throw new UsageError(`kairos ${command}: '${option}' should be '${known}'.`)
    throw new UsageError(`${error.message}.`)
  }
}

/** Parsed flags as options: numbers from their text, then the schema's checks. */
export function optionsFrom<S extends OptionsSchema>(
  schema: S,
  command: string,
  args: Readonly<Record<string, unknown>>,
  positional: readonly string[] = [],
): z.output<S> {
  const raw = rawOptions(schema, args)
  return asUsage(command, raw, schema, (op, nameOf) => parseOptions(schema, raw, op, nameOf), positional)
}

/** A decimal number, or the text as it stands for the schema to refuse: Number('') is 0 and Number('0x10') 16. */
const numberFrom = (text: string): number | string =>
  /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text

/** Texts that name a file or a folder say so. */
const FILES = /file|folder|run\b/

/** `train|all`, `1..64`, `file` */
function hintOf(property: OptionProperty): string {
  if (property.enum) return property.enum.join('|')
  if (property.type === 'array') return 'a,b,...'
  if (property.type !== 'integer' && property.type !== 'number')
    return FILES.test(property.description ?? '') ? 'file' : 'text'
  const least = property.minimum ?? property.exclusiveMinimum
  const most = property.maximum ?? property.exclusiveMaximum
  return `${least}..${most ?? ''}`
}
