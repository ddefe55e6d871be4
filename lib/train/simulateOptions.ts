/** What can be asked of `kairos simulate`: where to, and the knobs of the preset. */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { type PresetName, presets } from '../data/simulator/index.js'
import { integer, type OptionsSchema } from './options.js'

const ownShape = {
  output: z.string().min(1).describe('folder for the files'),
  threads: integer(1, 256).describe('threads that simulate and write').default(availableParallelism()),
  report: z.boolean().describe('write report.html, a page of the distributions').default(false),
}

/** The options of a preset. */
export const simulateOptions = (preset: PresetName): OptionsSchema =>
  (presets[preset].knobs as OptionsSchema).safeExtend(ownShape)

export interface SimulateRunOptions {
  readonly preset: PresetName
  readonly output: string
  readonly threads: number
  readonly report: boolean
  readonly [knob: string]: unknown
}
