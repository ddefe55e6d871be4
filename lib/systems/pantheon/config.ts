/** Settings of Pantheon: of the ranker, of the ensemble that sorts by one score, and of its rivals. */
import { z } from 'zod'
import { KairosError } from '../../core/errors.js'
import { nearest } from '../../core/nearest.js'
import { featureSettings } from '../rankingFeatures.js'

const widths = () => z.array(z.int().positive()).min(1)

export const pantheonConfig = z.strictObject({
  ...featureSettings,
  // Ranker
  ranker: z.enum(['mmoe', 'ple']).default('mmoe').describe('of pantheon: how the ranker shares experts'),
  experts: z.int().positive().default(4).describe('experts that all tasks share'),
  levels: z.int().positive().default(1).describe('extraction levels of PLE'),
  taskExperts: z.int().positive().default(2).describe('experts of each task alone in PLE, per level'),
  sharedExperts: z.int().positive().default(2).describe('experts of all tasks in PLE, per level'),
  expertSizes: widths().default([128, 64]).describe("widths of an expert's layers"),
  towerSizes: widths().default([64]).describe("widths of a task's tower; the last is d, that of its hidden state"),
  dropout: z.number().min(0).lt(1).default(0).describe('dropout after hidden layers of experts and towers'),
  // Ensemble
  ensemble: z.enum(['mlp', 'transformer']).default('mlp').describe('of pantheon: encoder that makes the score'),
  reads: z.enum(['hidden', 'pxtr']).default('hidden').describe('of pantheon: hidden states, or probabilities alone'),
  own: z
    .array(z.enum(['item', 'user']))
    .default(['item', 'user'])
    .describe('of pantheon: features that the ensemble embeds for itself'),
  userFeatures: z
    .array(z.string())
    .default([])
    .describe('of pantheon: features of the user; those whose name begins with user unless told'),
  ensembleSizes: widths().default([512, 256, 64]).describe('of pantheon: widths of the MLP'),
  ensembleLayers: z.int().positive().default(2).describe('of pantheon: blocks of the transformer'),
  ensembleHeads: z.int().positive().default(4).describe('of pantheon: its attention heads'),
  // Loss
  objectives: z.array(z.string()).default([]).describe('of pantheon: labels of the score; all tasks unless told'),
  objectiveWeights: z
    .array(z.number().positive())
    .default([])
    .describe('of pantheon: weights of the objectives, of which ratios count; equal unless told'),
  stopGradient: z.boolean().default(true).describe('of pantheon: false lets the ensemble move the ranker'),
})

export type PantheonConfig = z.infer<typeof pantheonConfig>

/**
 * The weights of the objectives scaled to sum N: ratios count alone, and the learning rate keeps its meaning. Throws
 * KAIROS_ARGUMENT for objectives that are no tasks, and for as many weights as there are not.
 */
export function weightsOf(
  { objectiveWeights: given }: Pick<PantheonConfig, 'objectiveWeights'>,
  objectives: readonly string[],
  tasks: readonly string[],
) {
  const unknown = objectives.find((name) => !tasks.includes(name))
  const refuse = (argument: string, expected: string, got: string, hint?: string) =>
    new KairosError('KAIROS_ARGUMENT', { op: 'pantheon', argument, expected, got, ...(hint ? { hint } : {}) })
  if (unknown !== undefined) {
    const near = nearest(unknown, tasks)
    throw refuse('objectives', `tasks: ${tasks.join(', ')}`, `'${unknown}'`, near && `Did you mean '${near}'?`)
  }
  if (given.length > 0 && given.length !== objectives.length)
    throw refuse('objectiveWeights', `${objectives.length}, one for each objective,`, `${given.length}`)
  const weights = given.length > 0 ? given : objectives.map(() => 1)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => (weight * objectives.length) / sum)
}
