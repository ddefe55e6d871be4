/** Settings of ChorusCVR and of the methods that it is compared with, on the same bottom and towers. */
import { z } from 'zod'
import { featureSettings } from '../rankingFeatures.js'

/** Losses and weights that can be left out: the ablations. */
export const parts = ['ctr', 'ctcvr', 'cvr', 'ctuncvr', 'uncvr', 'align', 'ipw'] as const

export const chorusCvrConfig = z.strictObject({
  ...featureSettings,
  bottomSizes: z.array(z.int().positive()).min(1).default([256, 128]).describe('widths of the layers that tasks share'),
  towerSizes: z.array(z.int().positive()).min(1).default([128, 64, 32]).describe("widths of a task's tower"),
  dropout: z.number().min(0).lt(1).default(0.1).describe('dropout after hidden layers'),
  method: z
    .enum(['chorus', 'single-task', 'esmm', 'escm2-ipw', 'escm2-dr', 'dcmt', 'ddpo'])
    .default('chorus')
    .describe('of chorus-cvr: how conversion is learnt where nobody clicked'),
  without: z.array(z.enum(parts)).default([]).describe('losses left out, and with ipw the weights: ablations'),
  alignWeight: z.number().min(0).default(0.5).describe('of the align loss, at the end of its ramp'),
  alignRamp: z.number().min(0).max(1).default(0.2).describe('share of the steps in which that weight grows from 0'),
  alignOn: z.enum(['all', 'clicked', 'unclicked']).default('all').describe('rows on which the towers are aligned'),
  alignLearns: z.enum(['both', 'cvr']).default('both').describe('towers that the align loss moves'),
  cvrWeight: z.number().min(0).default(1).describe('of the conversion loss of baselines'),
  ctcvrWeight: z.number().min(0).default(1).describe('of the click and conversion loss of baselines'),
  regulariserWeight: z.number().min(0).default(0.001).describe('of dcmt: for |1 - (CVR + counterfactual CVR)|'),
  propensity: z
    .string()
    .optional()
    .describe(
      'of chorus-cvr: a number of each row that is its known chance of a click; rows weigh by it and no tower sees it',
    ),
  propensityFloor: z.number().positive().max(1).default(0.01).describe('least propensity that a row is weighed by'),
  weightCap: z.number().min(1).default(100).describe('greatest weight of a row by its propensity'),
  weightDecay: z
    .number()
    .min(0)
    .default(1e-5)
    .describe('of chorus-cvr: lambda of lambda / 2 |W|^2 over the layers; tables are left alone'),
  unclickedRate: z
    .number()
    .positive()
    .max(1)
    .default(1)
    .describe('share of the un-clicked rows that the file kept; each then weighs its inverse'),
})

export type ChorusCvrConfig = z.infer<typeof chorusCvrConfig>
