/** What a system is: one object that training, evaluation and the command line can use by name. */
import type { z } from 'zod'
import type { RequestRows } from '../core/batchSource.js'
import { field } from '../core/schema.js'
import type { Tensor } from '../graph/node.js'
import { binaryCrossEntropy } from '../losses/index.js'
import { merge, slice } from '../ops/index.js'
import type { Loose } from '../ops/support.js'

/** A model that scores every item for a history. */
export interface SequenceModel {
  /** history[batch, time], left-padded with 0 -> a score per item id, padding included: [batch, items + 1]. */
  scores(history: Tensor<readonly ['batch', number], 'int32'>): Tensor<readonly ['batch', number], 'float32'>
  /** What training lowers, for histories and the items that followed. Models that are not trained have none. */
  loss?(
    history: Tensor<readonly ['batch', number], 'int32'>,
    target: Tensor<readonly ['batch'], 'int32'>,
  ): Tensor<readonly [], 'float32'>
}

interface System<Config extends z.ZodType> {
  readonly name: string
  /** One sentence for `kairos systems`. */
  readonly summary: string
  readonly config: Config
}

/** Learns from sequences of items: lines of `user item item ...`. */
export interface SequenceSystem<Config extends z.ZodType = z.ZodType> extends System<Config> {
  readonly kind: 'sequence'
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

// Rows of features -------------------------------------------------------------------------------------------------

/** A feature as a model sees it. */
export type FeatureInput =
  /** int32[batch], ids below `rows` in the table of that name. */
  | {
      readonly kind: 'id'
      readonly name: string
      readonly table: string
      readonly rows: number
      /** What is known of each id and not learnt: rows of so many numbers. Systems may read it. */
      readonly content?: { readonly values: Float32Array; readonly width: number }
    }
  /** float32[batch], or float32[batch, width]. */
  | { readonly kind: 'number'; readonly name: string; readonly width?: number }
  /** `name.values` int32[name_count] and `name.offsets` int32[batch + 1]; with `padded`: `name` int32[batch, padded] and `name.length`. */
  | {
      readonly kind: 'sequence'
      readonly name: string
      readonly table: string
      readonly rows: number
      readonly padded?: number
    }

/** Tensors of a batch by field. */
export type FeatureBatch = Readonly<Record<string, Tensor>>

/** Losses that add up to one, to be weighed against each other: `--combine`. */
export interface Objectives {
  readonly losses: Readonly<Record<string, Tensor<readonly [], 'float32'>>>
  /** Values through which alone the losses reach the parameters that they share; none where there are no such. */
  readonly representation?: readonly Tensor[]
}

/** A model that gives a logit for each task of each row. */
export interface RankingModel {
  /** [batch, tasks] */
  logits(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'>
  /** What training lowers, `loss`, where it is not the sum of the tasks' logistic losses; what stands beside it is logged. */
  losses?(batch: FeatureBatch): Readonly<Record<string, Tensor<readonly [], 'float32'>>> & {
    readonly loss: Tensor<readonly [], 'float32'>
  }
  /** Parts of `losses` that move parameters of their own, by what those names begin with. All that `loss` moves unless told. */
  readonly updates?: Readonly<Record<string, string>>
  /** The losses that `loss` is made of, or a part of `updates`: one for each task at its logits, unless told. */
  objectives?(batch: FeatureBatch, part: string): Objectives
  /** Their names, where they are not those of the tasks. */
  objectiveNames?(part: string): readonly string[]
  /** How many values their `representation` has; 0 unless told. */
  cuts?(part: string): number
  /** Parameters stacked by task, of which each task moves rows of its own: shared by name only. */
  apart?(name: string): boolean
  /** A probability for each of the system's outputs, [batch, outputs], where they are not the sigmoids of the logits. */
  probabilities?(batch: FeatureBatch): Tensor<readonly ['batch', number], 'float32'>
}

/** The mean logistic loss of each task, from logits[batch, tasks]. */
export function binaryLosses(
  logits: Tensor,
  tasks: readonly string[],
  batch: FeatureBatch,
): Record<string, Tensor<readonly [], 'float32'>> {
  const column = (index: number) => merge(slice(logits as Loose, 1, index, 1) as Loose, 0, 2) as Loose
  return Object.fromEntries(
    tasks.map((task, index) => [task, binaryCrossEntropy(column(index), batch[task] as Loose) as Loose]),
  )
}

/** Something that a model predicts, and the labels that say whether it came true. */
export interface RankingOutput {
  readonly name: string
  /** Came true where all of these are 1. Without it the output is predicted and not judged. */
  readonly labels?: readonly string[]
  /** Judged only on rows where all of these are 1. */
  readonly among?: readonly string[]
  /** Judged on each of these labels instead: an order that is to serve all of them. */
  readonly judgedOn?: readonly string[]
}

/** Scalars of a step by name, from the share of the steps that is done, in [0, 1]. */
export type Ramps = Readonly<Record<string, (done: number) => number>>

/** Learns binary tasks from rows of features. */
export interface RankingSystem<Config extends z.ZodType = z.ZodType> extends System<Config> {
  readonly kind: 'ranking'
  /** `rates`: how often each judged output came true in the training part, for biases to start from. */
  build(
    features: readonly FeatureInput[],
    tasks: readonly string[],
    config: z.output<Config>,
    rates?: Readonly<Record<string, number>>,
  ): RankingModel
  /** What its models predict; an output of its name for each task unless told. */
  outputs?(tasks: readonly string[], config: z.output<Config>): readonly RankingOutput[]
  /** Rows that share a history: its models see it once for all of them. None unless told. */
  requests?(config: z.output<Config>): RequestRows
  /** Scalars that its losses are fed besides the learning rate. */
  scalars?(config: z.output<Config>): Ramps
}

/** One output for each task. */
export const taskOutputs = (tasks: readonly string[]): RankingOutput[] =>
  tasks.map((task) => ({ name: task, labels: [task] }))
