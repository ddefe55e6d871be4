/** What can be asked of `kairos prove`. */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { type ProvenName, proofs } from '../systems/proofs.js'
import { device, integer } from '../train/options.js'

const names = Object.keys(proofs) as [ProvenName, ...ProvenName[]]

export const proveOptions = z.strictObject({
  system: z.enum(names).describe('which system to prove'),
  quick: z.boolean().describe('fewer seeds and rows: under ten minutes on two cores').default(false),
  output: z
    .string()
    .min(1)
    .describe('folder of the proof, which a later call goes on with; proofs/<system>-quick or -full unless told')
    .optional(),
  seeds: integer(1, 1000).describe('seeds, where others are wanted than the proof has').optional(),
  only: z
    .string()
    .min(1)
    .describe('only acceptance lines, experiments, points and arms whose name has this text')
    .optional(),
  judge: z.boolean().describe('train nothing: tables and verdicts of the runs that are there').default(false),
  threads: integer(1, 1024).describe('threads of the executor').default(availableParallelism()),
  device: device(),
})

export type ProveOptions = z.output<typeof proveOptions>
