/** What a preset is: knobs with their checks, the features of its rows, and the name of the process that makes them. */
import { z } from 'zod'
import { KairosError } from '../../core/errors.js'
import { nearest } from '../../core/nearest.js'
import type { AnySchema } from '../features.js'

/** The schema of a preset's knobs: each with a description, bounds and a default. */
export type KnobsSchema = z.ZodObject

export interface Preset<K extends KnobsSchema = KnobsSchema> {
  /** 'farm', 'chorus-cvr' or 'pantheon'. */
  readonly name: string
  readonly description: string
  readonly knobs: K
  /** Features and labels of its rows: what `Dataset.fromColumns`, `readDataset` and `kairos train` take. */
  schema(knobs: z.output<K>): AnySchema
  /** How rows are divided in the configuration that is written beside them. */
  readonly split: 'by-time' | 'by-group'
  /** The system that its rows are made for, as `kairos train` calls it. */
  readonly system: string
}

/** The knobs of a preset, all of them optional. */
export type KnobsInput<P extends Preset> = z.input<P['knobs']>
export type KnobsOf<P extends Preset> = z.output<P['knobs']>
export type FeaturesOf<P extends Preset> = ReturnType<P['schema']>['features']

export const integer = (least: number, most: number) => z.number().int().min(least).max(most)
export const share = () => z.number().min(0).max(1)
export const real = (least: number, most: number) => z.number().min(least).max(most)
/** The rate of an objective: the mean of its true probability. */
export const rate = () => z.number().min(0.00001).max(0.9)

/** Knobs of every preset. */
export const commonKnobs = {
  seed: integer(0, 2 ** 31 - 1)
    .describe('seed of everything random')
    .default(42),
  groups: integer(1, 1000).describe('groups of users').default(8),
  groupShare: share().describe("share of a user's taste that is the group's").default(0.2),
  clients: integer(1, 10_000_000).describe('private shards; the column client says whose an event is').default(64),
}

/** Knobs of exposures that a logging policy chose. */
export const policyKnobs = {
  perRequest: integer(1, 1000).describe('exposures of a request; its place is the column position'),
  selection: real(0, 10).describe('how strongly the logging policy prefers what it thinks is clicked; 0: not at all'),
  positionBias: real(0, 5).describe('an exposure at position k is examined with probability (k + 1)^-bias'),
  popularity: real(0, 3).describe('exponent of the Zipf law by which authors are shown'),
}

/**
 * Fills in defaults and refuses what does not fit, one error for the first problem: KAIROS_UNKNOWN_NAME for a knob
 * that the preset lacks, with the near miss, KAIROS_ARGUMENT for a value out of bounds.
 */
export function parseKnobs<P extends Preset>(preset: P, knobs: Readonly<Record<string, unknown>>): KnobsOf<P> {
  const op = `simulate '${preset.name}'`
  const result = preset.knobs.safeParse(knobs)
  if (result.success) return result.data as KnobsOf<P>
  const issue = result.error.issues[0]
  const names = Object.keys(preset.knobs.shape)
  if (issue?.code === 'unrecognized_keys') {
    const argument = String(issue.keys[0])
    const near = nearest(argument, names)
    const hint = near ? `Did you mean '${near}'?` : `The knobs are ${names.join(', ')}`
    throw new KairosError('KAIROS_UNKNOWN_NAME', { op, argument, got: 'no such knob', hint })
  }
  const argument = String(issue?.path[0])
  const got = JSON.stringify(knobs[argument]) ?? 'nothing'
  throw new KairosError('KAIROS_ARGUMENT', {
    op,
    argument,
    expected: issue?.code === 'custom' ? issue.message : boundsOf(preset.knobs, argument),
    got,
  })
}

/** `an integer from 1 to 64`, `a number from 0 to 1`, `true or false` */
function boundsOf(knobs: KnobsSchema, name: string): string {
  const properties = z.toJSONSchema(knobs, { io: 'input' }).properties as Record<string, Record<string, unknown>>
  const { type, minimum, maximum } = properties[name] ?? {}
  if (type === 'boolean') return 'true or false'
  return `${type === 'integer' ? 'an integer' : 'a number'} from ${minimum} to ${maximum}`
}
