/** What can be asked of training a ranking system on rows of features. Its schema comes from a config file. */
import { z } from 'zod'
import { type RankingSystemName, rankingSystems } from '../systems/index.js'
import { combinationPlaces, combinations } from './combination.js'
import { checkRun, fraction, integer, learningShape, runShape } from './options.js'

const names = Object.keys(rankingSystems) as [RankingSystemName, ...RankingSystemName[]]

/** How the file is read; see `DataFile`. */
const fileShape = {
  header: z.boolean().describe('CSV: whether the first line holds names').optional(),
  names: z.array(z.string()).describe('CSV without a header: a name per column').optional(),
  delimiter: z.string().length(1).describe('CSV: the character between values').optional(),
  trim: z.boolean().describe('CSV: leave out blanks around a value').optional(),
  nulls: z.array(z.string()).describe('CSV: texts that stand for null').optional(),
}

const sizes = () => z.array(integer(1, 65536))

/** Settings of the models; which of them count depends on the system. */
const modelShape = {
  dimensions: integer(1, 4096).describe('channels of an embedding').optional(),
  tableDimensions: z.record(z.string(), integer(1, 4096)).describe('channels of single tables by name').optional(),
  targets: z.record(z.string(), z.string()).describe('sequence -> id feature that attends to it').optional(),
  sparse: z.boolean().describe('update only the rows that a batch looks up').optional(),
  experts: integer(1, 1024).describe('experts that all tasks share').optional(),
  expertSizes: sizes().describe("widths of an expert's layers").optional(),
  bottomSizes: sizes().describe('widths of the layers that tasks share').optional(),
  towerSizes: sizes().describe("widths of a task's tower before its logit").optional(),
  dropout: z.number().min(0).lt(1).describe('share of activations dropped while training').optional(),
}

/** Settings that the above does not name, from the systems' own declarations: there one by one, here all optional. */
const ownShape = Object.fromEntries(
  Object.values(rankingSystems)
    .flatMap(({ config }) => Object.entries<z.ZodType>(config.shape))
    .filter(([name]) => !(name in modelShape))
    .map(([name, setting]) => {
      const bare = setting instanceof z.ZodDefault ? (setting.unwrap() as z.ZodType) : setting
      return [name, bare.describe(setting.description ?? '').optional()]
    }),
)

export const rankingTrainOptions = z
  .strictObject({
    system: z.enum(names).describe('what to train'),
    data: z.string().min(1).describe('CSV, Parquet or JSON Lines file of rows'),
    ...fileShape,
    schema: z.record(z.string(), z.unknown()).describe('features by name, in a config file'),
    tasks: z.array(z.string()).min(1).describe('labels to learn; all of the schema unless told').optional(),
    split: z
      .enum(['in-order', 'random', 'by-time', 'by-group'])
      .describe('how rows are divided into training, validation and test')
      .default('in-order'),
    validationShare: fraction().gt(0).lt(1).describe('share of the rows for choosing the epoch').default(0.1),
    testShare: fraction().gt(0).lt(1).describe('share of the rows for the final figures').default(0.1),
    minimumCount: integer(1, 1_000_000).describe('rarer values of a vocabulary are unknown').default(1),
    epochs: integer(1, 100_000).describe('most passes over the rows').default(20),
    patience: integer(1, 100_000).describe('epochs without a better validation AUC before training ends').default(3),
    clipNorm: z.number().positive().describe('greatest norm of the gradient').optional(),
    combine: z
      .enum(combinations)
      .describe('how the losses of several tasks are weighed step by step; added up as they are unless told')
      .optional(),
    combineAt: z
      .enum(combinationPlaces)
      .describe('where mgda and its kin measure gradients: exact at shared parameters (the default), or cheaper')
      .optional(),
    lossWeights: z.array(z.number().positive()).describe('of combine fixed: a weight for each loss').optional(),
    ...runShape,
    ...learningShape,
    ...modelShape,
    ...ownShape,
  })
  .superRefine((options, context) => {
    checkRun(options, context)
    if (options.lossWeights && options.combine !== 'fixed')
      context.addIssue({ code: 'custom', path: ['combine'], message: "'fixed' beside loss weights" })
    if (options.validationShare + options.testShare < 1) return
    context.addIssue({
      code: 'custom',
      path: ['testShare'],
      message: `less than ${(1 - options.validationShare).toFixed(2)}, to leave rows for training,`,
    })
  })

/** The same for `kairos explain`. */
export const rankingExplainOptions = rankingTrainOptions.safeExtend({
  graphs: z.boolean().describe('print the whole graph after each pass').default(false),
  profile: z.boolean().describe('print kernels, bytes, memory and time of a step alone').default(false),
})

export type RankingTrainOptions = z.output<typeof rankingTrainOptions>

/** Options that describe a ranking model; which of them count depends on the system. */
export const rankingModelOptions = [...Object.keys(modelShape), ...Object.keys(ownShape)]

/** The part of the options that a system's own config takes, with its defaults. */
export function systemConfig(options: RankingTrainOptions): Record<string, unknown> {
  const asked: Readonly<Record<string, unknown>> = options
  const given = rankingModelOptions.filter((name) => asked[name] !== undefined).map((name) => [name, asked[name]])
  return rankingSystems[options.system].config.parse(Object.fromEntries(given))
}
