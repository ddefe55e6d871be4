/** Settings of the frequency system, with the published ones as defaults (BSARec, LastFM). */
import { z } from 'zod'

export const frequencyConfig = z.strictObject({
  dimensions: z.int().positive().default(64).describe('channels of items and blocks'),
  layers: z.int().nonnegative().default(2).describe('blocks'),
  heads: z.int().positive().default(1).describe('attention heads'),
  maxLength: z.int().min(2).default(50).describe('history positions'),
  dropout: z.number().min(0).lt(1).default(0.5).describe('dropout of embeddings, attention and branches'),
  alpha: z.number().min(0).max(1).default(0.9).describe('share of the frequency branch; 0 leaves it out'),
  cutoff: z.int().positive().default(3).describe('frequency bins of the low band'),
})

export type FrequencyConfig = z.infer<typeof frequencyConfig>
