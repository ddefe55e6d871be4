/**
 * What can be asked of training, explaining and the demonstration: one schema each. The command line takes its flags,
 * their help texts and their checks from here, and a program that calls `trainSystem` gets the same checks.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { KairosError } from '../core/errors.js'
import { type SystemName, systems } from '../systems/index.js'

const systemNames = Object.keys(systems) as [SystemName, ...SystemName[]]

const integer = (least: number, most: number) => z.number().int().min(least).max(most)
const fraction = () => z.number().min(0).max(1)

const modelShape = {
  maxLength: integer(2, 4096).default(50).describe('items of history that the model sees'),
  layers: integer(1, 64).default(2).describe('blocks'),
  heads: integer(1, 64).default(1).describe('attention heads; they divide the dimensions'),
  dimensions: integer(1, 4096).default(64).describe('width of embeddings and blocks'),
  dropout: z.number().min(0).lt(1).default(0.5).describe('share of activations dropped while training'),
  alpha: fraction().default(0.9).describe('share of the frequency branch beside attention; 0 is attention alone'),
  cutoff: integer(1, 2049).default(3).describe('frequency bins of the low band; the rest is the high band'),
}

const learningShape = {
  batchSize: integer(1, 65536).default(256).describe('examples per step'),
  learningRate: z.number().positive().max(10).default(1e-3).describe('step size of Adam'),
  seed: integer(0, 2 ** 31 - 1)
    .default(42)
    .describe('seed of everything random'),
  threads: integer(1, 1024).default(availableParallelism()).describe('threads of the executor'),
}

const data = z.string().min(1).describe('text file of `user item item ...` lines, oldest item first')
const system = z.enum(systemNames)

/** Rules between options. */
function checkModel(
  options: { maxLength: number; heads: number; dimensions: number; cutoff: number },
  context: z.RefinementCtx,
) {
  const bins = Math.floor(options.maxLength / 2) + 1
  const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
  if (options.dimensions % options.heads !== 0) {
    refuse('heads', `a divisor of dimensions, which is ${options.dimensions},`)
  }
  if (options.cutoff > bins) {
    refuse('cutoff', `at most ${bins}, the frequency bins of a history of ${options.maxLength},`)
  }
}

export const trainOptions = z
  .strictObject({
    system: system.describe('what to train'),
    data,
    split: z
      .enum(['leave-one-out'])
      .default('leave-one-out')
      .describe("a user's last item is for test, the one before it for validation"),
    rank: z.enum(['full']).default('full').describe("candidates: all items that are not among the user's earlier ones"),
    popularityCounts: z
      .enum(['train', 'all'])
      .default('train')
      .describe('what `popularity` counts; `all` includes validation and test items and so leaks'),
    epochs: integer(1, 100_000).default(200).describe('most passes over the examples'),
    patience: integer(1, 100_000)
      .default(10)
      .describe('epochs without a better validation NDCG@10 before training ends'),
    ...learningShape,
    ...modelShape,
  })
  .superRefine(checkModel)

export const explainOptions = z
  .strictObject({
    system: system.describe('what to explain'),
    data,
    graphs: z.boolean().default(false).describe('print the whole graph after each pass'),
    ...learningShape,
    ...modelShape,
  })
  .superRefine(checkModel)

export const demoOptions = z
  .strictObject({
    signal: fraction()
      .default(0.9)
      .describe('how much of the data follows a rhythm; 0: the order of items means nothing'),
    users: integer(10, 1_000_000).default(2000).describe('users to generate'),
    epochs: integer(1, 100_000).default(10).describe('passes over the examples, for each model'),
    ...learningShape,
    ...modelShape,
    // Small enough that two models train while one waits.
    maxLength: modelShape.maxLength.removeDefault().default(32),
    dimensions: modelShape.dimensions.removeDefault().default(32),
    dropout: modelShape.dropout.removeDefault().default(0.2),
    alpha: modelShape.alpha.removeDefault().default(0.7),
    cutoff: modelShape.cutoff.removeDefault().default(5),
  })
  .superRefine(checkModel)

export type TrainOptions = z.output<typeof trainOptions>
export type ExplainOptions = z.output<typeof explainOptions>
export type DemoOptions = z.output<typeof demoOptions>

/** A schema of options, as above. */
export type OptionsSchema = typeof trainOptions | typeof explainOptions | typeof demoOptions

/** What is known of one option, for help texts and messages. */
export interface OptionProperty {
  readonly type?: 'integer' | 'number' | 'string' | 'boolean'
  readonly description?: string
  readonly default?: string | number | boolean
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
}

export function optionProperties(schema: OptionsSchema): Record<string, OptionProperty> {
  return z.toJSONSchema(schema, { io: 'input' }).properties as Record<string, OptionProperty>
}

/** `an integer from 1 to 64`, `train or all`, `a number above 0, at most 10` */
export function expectation(property: OptionProperty): string {
  if (property.enum) return property.enum.map((name) => `'${name}'`).join(' or ')
  if (property.type !== 'integer' && property.type !== 'number') return 'given'
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = property
  const kind = property.type === 'integer' ? 'an integer' : 'a number'
  if (minimum !== undefined && maximum !== undefined) return `${kind} from ${minimum} to ${maximum}`
  const from = exclusiveMinimum !== undefined ? `above ${exclusiveMinimum}` : `from ${minimum}`
  return `${kind} ${from}, ${exclusiveMaximum !== undefined ? `below ${exclusiveMaximum}` : `at most ${maximum}`}`
}

/**
 * Fills in defaults and refuses what does not fit, one KAIROS_ARGUMENT for the first problem. `nameOf` says how the
 * caller writes an option.
 */
export function parseOptions<S extends OptionsSchema>(
  schema: S,
  raw: Readonly<Record<string, unknown>>,
  op: string,
  nameOf: (option: string) => string = (option) => option,
): z.output<S> {
  const result = schema.safeParse(raw)
  if (result.success) return result.data as z.output<S>
  const issue = result.error.issues[0]
  if (issue?.code === 'unrecognized_keys') {
    throw new KairosError('KAIROS_UNKNOWN_NAME', { op, argument: nameOf(String(issue.keys[0])), got: 'no such option' })
  }
  const name = String(issue?.path[0])
  const property = optionProperties(schema)[name]
  const value = raw[name] ?? property?.default
  throw new KairosError(value === undefined ? 'KAIROS_MISSING' : 'KAIROS_ARGUMENT', {
    op,
    argument: nameOf(name),
    expected: issue?.code === 'custom' ? issue.message : expectation(property ?? {}),
    got: value === undefined ? 'nothing' : typeof value === 'string' ? `'${value}'` : String(value),
  })
}
