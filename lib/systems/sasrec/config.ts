/** Settings of SASRec, with the ones of the BSARec comparison as defaults. */
import { z } from 'zod'

export const sasrecConfig = z.strictObject({
  dimensions: z.int().positive().default(64).describe('channels of items and blocks'),
  layers: z.int().nonnegative().default(2).describe('blocks'),
  heads: z.int().positive().default(1).describe('attention heads'),
  maxLength: z.int().min(2).default(50).describe('history positions'),
  dropout: z.number().min(0).lt(1).default(0.5).describe('dropout of embeddings, attention and branches'),
  loss: z.enum(['softmax', 'binary']).default('softmax').describe('over all items, or against sampled negatives'),
  negatives: z.int().positive().default(1).describe('negatives of the binary loss'),
})

export type SasrecConfig = z.infer<typeof sasrecConfig>
