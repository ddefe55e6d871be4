/** Settings of MMoE. */
import { z } from 'zod'
import { featureSettings } from '../rankingFeatures.js'

export const mmoeConfig = z.strictObject({
  ...featureSettings,
  experts: z.int().positive().default(4).describe('experts that all tasks share'),
  expertSizes: z.array(z.int().positive()).min(1).default([512, 256]).describe("widths of an expert's layers"),
  towerSizes: z.array(z.int().positive()).default([128, 64]).describe("widths of a task's tower before its logit"),
  dropout: z.number().min(0).lt(1).default(0).describe('dropout after hidden layers'),
})

export type MmoeConfig = z.infer<typeof mmoeConfig>
