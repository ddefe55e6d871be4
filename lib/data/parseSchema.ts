/** Schemas from plain JSON, as config files hold them: `{ "age": { "kind": "numeric" }, ... }`. */
import { z } from 'zod'
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import { type DataSchema, defineSchema, type Feature, type Features } from './features.js'

const column = z.string().optional()
const size = z.int().positive().optional()
const separator = z.string().optional()

const kinds = {
  categorical: { column, size, vocabulary: z.string().optional(), nullId: z.int().nonnegative().optional() },
  numeric: { column, nulls: z.enum(['zero', 'indicator', 'error']).optional(), standardise: z.boolean().optional() },
  sequence: {
    column,
    size,
    separator,
    vocabulary: z.string().optional(),
    maxLength: z.int().positive().optional(),
    padded: z.int().positive().optional(),
  },
  dense: { column, separator, width: z.int().positive() },
  label: { column, real: z.boolean().optional(), positive: z.union([z.string(), z.array(z.string())]).optional() },
  groupId: { column, input: z.boolean().optional(), text: z.boolean().optional() },
  time: { column, unit: z.enum(['s', 'ms']).optional() },
  domain: { column, values: z.array(z.string()) },
} as const satisfies Record<Feature['kind'], Record<string, z.ZodType>>

/**
 * Checks a schema that came as JSON. Throws KAIROS_ARGUMENT naming the feature and the option that is wrong, with the
 * near miss where there is one.
 */
export function parseSchema(json: unknown): DataSchema {
  if (!isObject(json)) throw refuse('schema', 'an object of features by name', shown(json))
  const features: Record<string, Feature> = {}
  for (const [name, value] of Object.entries(json)) {
    if (!isObject(value)) throw refuse(name, "an object such as { kind: 'numeric' }", shown(value))
    const { kind, ...options } = value
    if (typeof kind !== 'string' || !Object.hasOwn(kinds, kind))
      throw refuse(`${name}.kind`, `one of ${Object.keys(kinds).join(', ')}`, shown(kind), kindNear(kind))
    const known = kinds[kind as Feature['kind']]
    const unknown = Object.keys(options).find((option) => !Object.hasOwn(known, option))
    if (unknown !== undefined)
      throw refuse(
        `${name}.${unknown}`,
        `an option of ${kind}, ${Object.keys(known).join(', ')}`,
        'another',
        near(unknown, known),
      )
    const parsed = z.object(known).safeParse(options)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const path = [name, ...(issue?.path ?? [])].join('.')
      throw new KairosError('KAIROS_ARGUMENT', { op: 'parseSchema', argument: path, got: issue?.message ?? 'invalid' })
    }
    // What was left out stays out: undefined is not an option's value.
    const given = Object.entries(parsed.data).filter(([, option]) => option !== undefined)
    features[name] = { kind, ...Object.fromEntries(given) } as Feature
  }
  return defineSchema(features as Features) as DataSchema
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const shown = (value: unknown): string =>
  typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? 'nothing')

function suggestion(typed: string, candidates: readonly string[]): string | undefined {
  const found = nearest(typed, candidates)
  return found === undefined ? undefined : `Did you mean '${found}'?`
}

const near = (option: string, known: object) => suggestion(option, Object.keys(known))
const kindNear = (kind: unknown) => (typeof kind === 'string' ? suggestion(kind, Object.keys(kinds)) : undefined)

const refuse = (argument: string, expected: string, got: string, hint?: string): KairosError =>
  new KairosError('KAIROS_ARGUMENT', { op: 'parseSchema', argument, expected, got, ...(hint ? { hint } : {}) })
