/** `kairos train`: trains a system on interaction sequences and ranks the held-out items. */
import { type LeaveOneOut, leaveOneOut } from '../data/leaveOneOut.js'
import { readSequences } from '../data/sequences.js'
import { parameterCount } from '../graph/module.js'
import { bootstrapMean } from '../metrics/bootstrap.js'
import { gains, hits, meanReciprocalRank } from '../metrics/ranking.js'
import { Executor, type ParameterSet, type State } from '../runtime/index.js'
import { systems } from '../systems/index.js'
import type { SequenceModel } from '../systems/system.js'
import type { LoopResult } from './loop.js'
import type { TrainOptions } from './options.js'
import { withProgress } from './progressObserver.js'
import { compileRanking, fit, fitCounts, rankTargets } from './sequenceTrainer.js'
import { formatTable } from './table.js'

export interface TrainReport {
  readonly system: string
  readonly parameters: number
  readonly users: number
  readonly metrics: Readonly<Record<string, number>>
  /** The target's rank among all candidates for every evaluated user. */
  readonly ranks: Int32Array
}

/** Where lines go; tests collect them. */
export type Print = (line: string) => void

const toStdout: Print = (line) => process.stdout.write(`${line}\n`)

/** Trains a system on a file and prints its table of results. */
export async function trainSystem(options: TrainOptions, print: Print = toStdout): Promise<TrainReport> {
  const sequences = await readSequences(options.data)
  const split = leaveOneOut(sequences)
  const executor = new Executor({ threads: options.threads })
  try {
    print(describeSplit(options.data, split))
    const model = buildModel(options, sequences.maxItem)
    const handles = await train(model, split, options, executor, print)
    const program = compileRanking(model, options.maxLength, executor)
    const ranks = await rankTargets(program, split, 'test', options.maxLength, handles)
    const report = {
      system: options.system,
      parameters: parameterCount(model),
      users: ranks.length,
      ranks,
      metrics: metricsOf(ranks),
    }
    print(formatReport(report, options))
    return report
  } finally {
    await executor.close()
  }
}

export function buildModel(options: TrainOptions | ModelChoice, itemCount: number): SequenceModel & object {
  if (options.system === 'popularity') return systems.popularity.build(itemCount, {})
  const { dimensions, layers, heads, maxLength, dropout, alpha, cutoff } = options
  return systems.frequency.build(itemCount, { dimensions, layers, heads, maxLength, dropout, alpha, cutoff })
}

/** The options that decide what is built. */
export type ModelChoice = Pick<
  TrainOptions,
  'system' | 'dimensions' | 'layers' | 'heads' | 'maxLength' | 'dropout' | 'alpha' | 'cutoff'
>

async function train(
  model: SequenceModel & object,
  split: LeaveOneOut,
  options: TrainOptions,
  executor: Executor,
  print: Print,
): Promise<{ parameters?: ParameterSet; state?: State }> {
  if (!systems[options.system].trainable) {
    return { state: await fitCounts(model, split, options.popularityCounts, executor) }
  }
  print(`${options.system}: ${parameterCount(model).toLocaleString('en-US')} parameters`)
  const { parameters, best, epoch } = await fitWithProgress(model, split, { ...options, executor }, options.system)
  print(`Kept epoch ${best?.epoch} of ${epoch}, the best by validation NDCG@10.`)
  return { parameters }
}

export interface ProgressOptions {
  readonly maxLength: number
  readonly batchSize: number
  readonly learningRate: number
  readonly seed: number
  readonly epochs: number
  readonly patience: number
  readonly executor: Executor
}

/** `fit` behind a progress bar that runs over all epochs. */
export function fitWithProgress(
  model: SequenceModel & object,
  split: LeaveOneOut,
  options: ProgressOptions,
  title: string,
): Promise<LoopResult> {
  const { epochs, patience } = options
  return withProgress({ title, epochs }, (progress) =>
    fit(model, split, options, { epochs, patience, observers: [progress] }),
  )
}

const CUTOFFS = [5, 10, 20] as const

export function metricsOf(ranks: Int32Array): Record<string, number> {
  const meanOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length
  return Object.fromEntries([
    ...CUTOFFS.map((k) => [`HR@${k}`, meanOf(hits(ranks, k))] as const),
    ...CUTOFFS.map((k) => [`NDCG@${k}`, meanOf(gains(ranks, k))] as const),
    ['MRR', meanReciprocalRank(ranks)] as const,
  ])
}

function describeSplit(path: string, { sequences, evaluated, trainOnlyCount }: LeaveOneOut): string {
  const number = (value: number) => value.toLocaleString('en-US')
  const short =
    trainOnlyCount > 0 ? `; ${number(trainOnlyCount)} users with fewer than 3 items are for training only` : ''
  return (
    `${path}: ${number(sequences.offsets.length - 1)} users, ${number(sequences.maxItem)} items, ` +
    `${number(sequences.values.length)} interactions. Leave-one-out: ${number(evaluated.length)} users are ranked${short}.`
  )
}

function formatReport({ system, ranks, metrics, users }: TrainReport, options: TrainOptions): string {
  const interval = (values: Float64Array) => bootstrapMean(values, { seed: options.seed })
  const leaks = system === 'popularity' && options.popularityCounts === 'all'
  const lines = [
    '',
    formatTable(
      ['', ...CUTOFFS.map((k) => `@${k}`)],
      [
        ['HR', ...CUTOFFS.map((k) => metrics[`HR@${k}`] as number)],
        ['NDCG', ...CUTOFFS.map((k) => metrics[`NDCG@${k}`] as number)],
      ],
    ),
    '',
    `Test, ${users.toLocaleString('en-US')} users, each target ranked among all items the user has not had; MRR ${(metrics.MRR as number).toFixed(4)}.`,
    `95 % intervals over users: HR@10 ${formatInterval(interval(hits(ranks, 10)))}, NDCG@10 ${formatInterval(interval(gains(ranks, 10)))}.`,
  ]
  if (leaks)
    lines.push(
      'These counts include validation and test items: the figures leak the answers and are for comparison only.',
    )
  return lines.join('\n')
}

export const formatInterval = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `${low.toFixed(4)} to ${high.toFixed(4)}`
