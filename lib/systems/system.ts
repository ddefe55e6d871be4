/** What a system is: one object that training, evaluation and the command line can use by name. */
import type { z } from 'zod'
import { field } from '../core/schema.js'
import type { Tensor } from '../graph/node.js'

/** A model that scores every item for a history. */
export interface SequenceModel {
  /** history[batch, time], left-padded with 0 -> a score per item id, padding included: [batch, items + 1]. */
  scores(history: Tensor<readonly ['batch', number], 'int32'>): Tensor<readonly ['batch', number], 'float32'>
}

export interface SequenceSystem<Config extends z.ZodType = z.ZodType> {
  readonly name: string
  /** One sentence for `kairos systems`. */
  readonly summary: string
  readonly config: Config
  /** Whether gradients train it; otherwise `counts` say all. */
  readonly trainable: boolean
  build(itemCount: number, config: z.output<Config>): SequenceModel
}

/** Examples to learn from: a history and the item that followed it. */
export const trainingSchema = (maxLength: number) => ({
  history: field('int32', 'batch', maxLength),
  target: field('int32', 'batch'),
})

/** Examples to rank: beside it the items that full ranking leaves out, filled up with -1. */
export const rankingSchema = (maxLength: number) => ({
  ...trainingSchema(maxLength),
  exclude: field('int32', 'batch', 'excluded'),
})
