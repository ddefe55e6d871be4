/**
 * What can be asked of training, explaining and the demonstration: one schema each. The command line takes its flags,
 * their help texts and their checks from here, and a program that calls `trainSystem` gets the same checks.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { KairosError } from '../core/errors.js'
import { type SequenceSystemName, sequenceSystems } from '../systems/index.js'

const systemNames = Object.keys(sequenceSystems) as [SequenceSystemName, ...SequenceSystemName[]]

export const integer = (least: number, most: number) => z.number().int().min(least).max(most)
export const fraction = () => z.number().min(0).max(1)

const modelShape = {
  maxLength: integer(2, 4096).describe('items of history that the model sees').default(50),
  layers: integer(1, 64).describe('blocks').default(2),
  heads: integer(1, 64).describe('attention heads; they divide the dimensions').default(1),
  dimensions: integer(1, 4096).describe('width of embeddings and blocks').default(64),
  dropout: z.number().min(0).lt(1).describe('share of activations dropped while training').default(0.5),
  alpha: fraction().describe('share of the frequency branch beside attention; 0 is attention alone').default(0.9),
  cutoff: integer(1, 2049).describe('frequency bins of the low band; the rest is the high band').default(3),
  loss: z
    .enum(['softmax', 'binary'])
    .describe('of sasrec: over all items, or the next one against sampled negatives')
    .default('softmax'),
  negatives: integer(1, 10_000).describe('sampled negatives of the binary loss').default(1),
}

export const device = () =>
  z
    .enum(['cpu', 'cuda', 'emulated'])
    .describe(
      'where programs run, cpu unless KAIROS_DEVICE says otherwise; emulated is a GPU that tests pretend to have',
    )
    .optional()

export const learningShape = {
  averageDecay: z
    .number()
    .min(0)
    .lt(1)
    .describe('decay of a moving average of the parameters, which is then what is measured and kept; 0: none')
    .default(0),
  batchSize: integer(1, 65536).describe('examples per step').default(256),
  learningRate: z.number().positive().max(10).describe('step size of Adam').default(1e-3),
  seed: integer(0, 2 ** 31 - 1)
    .describe('seed of everything random')
    .default(42),
  threads: integer(1, 1024).describe('threads of the executor').default(availableParallelism()),
  device: device(),
}

/** The folder of a run. */
export const runShape = {
  output: z.string().min(1).describe('folder for checkpoints, log and report').optional(),
  resume: z.boolean().describe('continue the run in the output folder').default(false),
  detectAnomaly: z.boolean().describe('name the op that made a loss non-finite; slower').default(false),
}

const data = z.string().min(1).describe('text file of `user item item ...` lines, oldest item first')
const system = z.enum(systemNames)

export function checkRun(
  { resume, output }: { resume: boolean; output?: string | undefined },
  context: z.RefinementCtx,
) {
  if (!resume || output !== undefined) return
  context.addIssue({ code: 'custom', path: ['output'], message: 'the folder of the run to resume' })
}

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
      .describe("a user's last item is for test, the one before it for validation")
      .default('leave-one-out'),
    rank: z.enum(['full']).describe("candidates: all items that are not among the user's earlier ones").default('full'),
    popularityCounts: z
      .enum(['train', 'all'])
      .describe('what `popularity` counts; `all` includes validation and test items and so leaks')
      .default('train'),
    epochs: integer(1, 100_000).describe('most passes over the examples').default(200),
    patience: integer(1, 100_000)
      .describe('epochs without a better validation NDCG@10 before training ends')
      .default(10),
    latestTargets: integer(0, 1_000_000_000)
      .describe("learn to predict a user's latest training items, at most so many; 0: all but the first")
      .default(0),
    ...runShape,
    ...learningShape,
    ...modelShape,
  })
  .superRefine((options, context) => {
    checkModel(options, context)
    checkRun(options, context)
  })

export const explainOptions = z
  .strictObject({
    system: system.describe('what to explain'),
    data,
    graphs: z.boolean().describe('print the whole graph after each pass').default(false),
    profile: z.boolean().describe('print kernels, bytes, memory and time of a step alone').default(false),
    ...learningShape,
    ...modelShape,
  })
  .superRefine(checkModel)

export const demoOptions = z
  .strictObject({
    signal: fraction()
      .describe('how much of the data follows a rhythm; 0: the order of items means nothing')
      .default(0.95),
    users: integer(10, 1_000_000).describe('users to generate').default(2000),
    epochs: integer(1, 100_000).describe('passes over the examples, for each model').default(12),
    ...learningShape,
    ...modelShape,
    // Small enough that two models train while one waits.
    maxLength: modelShape.maxLength.removeDefault().default(24),
    learningRate: learningShape.learningRate.removeDefault().default(2e-3),
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
export type OptionsSchema = z.ZodObject

/** What is known of one option, for help texts and messages. */
export interface OptionProperty {
  readonly type?: 'integer' | 'number' | 'string' | 'boolean' | 'array' | 'object'
  readonly items?: { readonly type?: string }
  readonly description?: string
  readonly default?: string | number | boolean | readonly (string | number)[]
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
  if (property.type === 'array') return property.items?.type === 'integer' ? 'a list of whole numbers' : 'a list'
  if (property.type === 'object') return 'an object'
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
    got:
      value === undefined ? 'nothing' : typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? 'nothing'),
  })
}

/** Options that only some systems have: one that the chosen system lacks is refused rather than ignored. */
export function refuseForeign(
  raw: Readonly<Record<string, unknown>>,
  system: { readonly name: string; readonly config: z.ZodType },
  all: readonly string[],
  op: string,
  nameOf: (option: string) => string = (option) => option,
): void {
  const own = Object.keys((system.config as z.ZodObject).shape)
  const foreign = all.find((option) => raw[option] !== undefined && !own.includes(option))
  if (foreign === undefined) return
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op,
    argument: nameOf(foreign),
    expected: `an option of ${system.name}${own.length > 0 ? `, which has ${own.map(nameOf).join(', ')}` : ''}`,
    got: 'one that it does not have',
  })
}

/** Options that describe a sequence model; which of them count depends on the system. */
export const modelOptions = Object.keys(modelShape)
