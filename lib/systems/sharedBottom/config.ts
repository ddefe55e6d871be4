/** Settings of the shared bottom. */
import { z } from 'zod'
import { featureSettings } from '../rankingFeatures.js'

export const sharedBottomConfig = z.strictObject({
  ...featureSettings,
  bottomSizes: z.array(z.int().positive()).min(1).default([512, 256]).describe('widths of the layers that tasks share'),
  towerSizes: z.array(z.int().positive()).default([128, 64]).describe("widths of a task's tower before its logit"),
  dropout: z.number().min(0).lt(1).default(0).describe('dropout after hidden layers'),
})

export type SharedBottomConfig = z.infer<typeof sharedBottomConfig>
