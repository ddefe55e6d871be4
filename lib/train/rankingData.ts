/** The rows of a ranking run: read, divided, encoded by what the training part holds. */
import { KairosError } from '../core/errors.js'
import type { Dataset } from '../data/dataset.js'
import { encode, fitEncoding } from '../data/encoding.js'
import type { Feature } from '../data/features.js'
import { type DataFile, type DataSchema, type Encoding, parseSchema, readDataset } from '../data/index.js'
import { splitByGroup, splitByTime, splitInOrder, splitRandomly } from '../data/splits.js'
import type { RankingTrainOptions } from './rankingOptions.js'
import { labelsOf } from './rankingTrainer.js'

export interface RankingParts {
  readonly train: Dataset
  readonly validation: Dataset
  readonly test: Dataset
}

export type PartName = keyof RankingParts

/** Options that say how a file is read. */
export function dataFile(options: RankingTrainOptions, path = options.data): DataFile {
  const { header, names, delimiter, trim, nulls } = options
  const given = Object.entries({ header, names, delimiter, trim, nulls }).filter(([, value]) => value !== undefined)
  return { path, ...Object.fromEntries(given) }
}

/** The schema, and the tasks among its labels. Throws KAIROS_UNKNOWN_NAME for a task that is no label. */
export function schemaOf(options: RankingTrainOptions): {
  readonly schema: DataSchema
  readonly tasks: readonly string[]
} {
  const schema = parseSchema(options.schema)
  const labels = labelsOf(schema.features)
  const tasks = options.tasks ?? labels
  const unknown = tasks.find((task) => !labels.includes(task))
  if (unknown !== undefined || tasks.length === 0) {
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op: 'train',
      argument: 'tasks',
      expected: `labels of the schema: ${labels.join(', ') || 'it has none'}`,
      got: unknown === undefined ? 'none' : `'${unknown}'`,
    })
  }
  return { schema, tasks }
}

/** Reads the file with the ids that training gave, and divides it as training did. */
export async function readParts(
  options: RankingTrainOptions,
  encoding: Encoding,
  path?: string,
): Promise<RankingParts> {
  const { schema } = schemaOf(options)
  return partsOf(await readDataset(dataFile(options, path), schema, { encoding, threads: options.threads }), options)
}

/** Reads and divides the file; ids and scales are those of the training part. */
export async function prepareParts(options: RankingTrainOptions): Promise<RankingParts> {
  const { schema } = schemaOf(options)
  const whole = await readDataset(dataFile(options), schema, { threads: options.threads })
  const { train, validation, test } = partsOf(whole, options)
  const encoding = await fitEncoding(train, { minCount: options.minimumCount })
  const encoded = async (part: Dataset) => (await encode(part, encoding)) as Dataset
  return { train: await encoded(train), validation: await encoded(validation), test: await encoded(test) }
}

function partsOf(data: Dataset, { split, validationShare, testShare, seed }: RankingTrainOptions): RankingParts {
  const shares = { train: 1 - validationShare - testShare, validation: validationShare, test: testShare }
  switch (split) {
    case 'in-order':
      return splitInOrder(data, shares)
    case 'random':
      return splitRandomly(data, shares, seed)
    case 'by-time':
      return splitByTime(data, featureOf(data, 'time'), shares)
    case 'by-group':
      return splitByGroup(data, featureOf(data, 'groupId'), shares, seed)
    default:
      return split satisfies never
  }
}

function featureOf(data: Dataset, kind: Feature['kind']): string {
  const found = Object.entries(data.schema.features).find(([, feature]) => feature.kind === kind)
  if (found) return found[0]
  throw new KairosError('KAIROS_MISSING', {
    op: 'train',
    argument: 'split',
    expected: `a feature of kind ${kind} in the schema`,
    got: 'none',
  })
}
