/** The input part that ranking systems share: embeddings of features, with their settings. */
import { z } from 'zod'
import type { Initializer } from '../graph/module.js'
import { FeatureEmbeddings } from '../nn/index.js'
import type { FeatureInput } from './system.js'

/** Settings of every ranking system. */
export const featureSettings = {
  dimensions: z.int().positive().default(16).describe('channels of an embedding'),
  tableDimensions: z
    .record(z.string(), z.int().positive())
    .default({})
    .describe('channels of single tables, by name, where they differ'),
  targets: z
    .record(z.string(), z.string())
    .default({})
    .describe('sequence -> id feature that attends to it; other sequences are averaged'),
  sparse: z.boolean().default(true).describe('update only the rows that a batch looks up'),
}

export interface FeatureSettings {
  readonly dimensions: number
  readonly tableDimensions: Readonly<Record<string, number>>
  readonly targets: Readonly<Record<string, string>>
  readonly sparse: boolean
}

/** Throws KAIROS_UNKNOWN_NAME for targets that are no features. */
export function embedFeatures(
  features: readonly FeatureInput[],
  { dimensions, tableDimensions, targets, sparse }: FeatureSettings,
  initializer?: Initializer,
): FeatureEmbeddings {
  const ofKind = <K extends FeatureInput['kind']>(kind: K) =>
    features.filter((feature): feature is Extract<FeatureInput, { kind: K }> => feature.kind === kind)
  return new FeatureEmbeddings({
    ids: ofKind('id'),
    sequences: ofKind('sequence'),
    numbers: ofKind('number'),
    dimensions: (table) => tableDimensions[table] ?? dimensions,
    targets,
    sparse,
    ...(initializer ? { initializer } : {}),
  })
}
