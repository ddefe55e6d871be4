/** What can be asked of a finished run. */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { device, integer } from './options.js'

export const evaluateOptions = z.strictObject({
  run: z.string().min(1).describe('folder of a run, as `kairos train --output` leaves it'),
  data: z.string().min(1).describe("another file; the run's own unless told").optional(),
  part: z.enum(['validation', 'test']).describe('which held-out part is measured').default('test'),
  against: z.string().min(1).describe('another run, to compare with on the same rows').optional(),
  seed: integer(0, 2 ** 31 - 1)
    .describe('seed of the bootstrap')
    .default(42),
  threads: integer(1, 1024).describe('threads of the executor').default(availableParallelism()),
  device: device(),
})

export const predictOptions = z.strictObject({
  run: z.string().min(1).describe('folder of a run, as `kairos train --output` leaves it'),
  data: z.string().min(1).describe('file of histories or of rows, as the run was trained on'),
  output: z.string().min(1).describe('file to write: .csv or .jsonl'),
  top: integer(1, 1000).describe('items for each user, of a sequence system').default(10),
  threads: integer(1, 1024).describe('threads of the executor').default(availableParallelism()),
  device: device(),
})

export type EvaluateOptions = z.output<typeof evaluateOptions>
export type PredictOptions = z.output<typeof predictOptions>
