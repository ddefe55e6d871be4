/** `kairos train`: trains a system on interaction sequences and ranks the held-out items. */
import { basename, join } from 'node:path'
import { type LeaveOneOut, leaveOneOut } from '../data/leaveOneOut.js'
import { readSequences } from '../data/sequences.js'
import { parameterCount } from '../graph/module.js'
import { bootstrapMean } from '../metrics/bootstrap.js'
import { gains, hits, meanReciprocalRank } from '../metrics/ranking.js'
import { Executor, type ParameterSet, type State } from '../runtime/index.js'
import { sequenceSystems } from '../systems/index.js'
import type { SequenceModel } from '../systems/system.js'
import { Interrupted, interruptible } from './interrupt.js'
import type { LoopOptions, LoopResult } from './loop.js'
import type { Json } from './manifest.js'
import type { TrainOptions } from './options.js'
import { withProgress } from './progressObserver.js'
import type { ResultTable } from './report.js'
import { saveRun } from './runConfig.js'
import { openRunFolder, type RunFolder } from './runFolder.js'
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
  const executor = new Executor({ threads: options.threads, device: options.device })
  let run: RunFolder | null = null
  try {
    print(describeSplit(options.data, split))
    const model = buildModel(options, sequences.maxItem)
    run = await openRun(options, executor)
    if (options.output !== undefined && !run)
      print(`${options.system} counts and is done: nothing goes to ${options.output}.`)
    const handles = await train(model, split, options, executor, print, run)
    const program = compileRanking(model, options.maxLength, executor)
    const ranks = await rankTargets(program, split, 'test', options.maxLength, handles)
    const report = {
      system: options.system,
      parameters: parameterCount(model),
      users: ranks.length,
      ranks,
      metrics: metricsOf(ranks),
    }
    print(await formatReport(report, options))
    if (run) {
      await run.report([await sequenceTable(ranks, options)])
      print(`Report: ${join(String(options.output), 'report.html')}`)
    }
    return report
  } finally {
    await run?.close()
    await executor.close()
  }
}

export function buildModel(options: ModelChoice, itemCount: number): SequenceModel & object {
  const system = sequenceSystems[options.system]
  const own = Object.keys(system.config.shape) as (keyof ModelChoice)[]
  const config = system.config.parse(Object.fromEntries(own.map((name) => [name, options[name]])))
  return system.build(itemCount, config as never)
}

/** The options that decide what is built. */
export type ModelChoice = Pick<
  TrainOptions,
  'system' | 'dimensions' | 'layers' | 'heads' | 'maxLength' | 'dropout' | 'alpha' | 'cutoff'
> & {
  readonly loss?: TrainOptions['loss']
  readonly negatives?: number
}

/** A long epoch is saved on the way. */
const MINUTES_BETWEEN_CHECKPOINTS = 10

/** Settings that decide what a run computes: a resume with others is refused. */
function identityOf(options: TrainOptions, { sequences, evaluated }: LeaveOneOut): Json {
  const { data: _, epochs, patience, threads, device, output, resume, detectAnomaly, ...identity } = options
  return { ...identity, items: sequences.maxItem, interactions: sequences.values.length, users: evaluated.length }
}

async function openRun(options: TrainOptions, executor: Executor): Promise<RunFolder | null> {
  if (options.output === undefined || !sequenceSystems[options.system].trainable) return null
  const { output, resume: _, ...config } = options
  await saveRun(output, { kind: 'sequence', options })
  return openRunFolder(output, {
    title: `${options.system} on ${basename(options.data)}`,
    config: config as Json,
    executor,
  })
}

async function train(
  model: SequenceModel & object,
  split: LeaveOneOut,
  options: TrainOptions,
  executor: Executor,
  print: Print,
  run: RunFolder | null,
): Promise<{ parameters?: ParameterSet; state?: State }> {
  if (!sequenceSystems[options.system].trainable) {
    return { state: await fitCounts(model, split, options.popularityCounts, executor) }
  }
  print(`${options.system}: ${parameterCount(model).toLocaleString('en-US')} parameters`)
  const { resume, detectAnomaly } = options
  const checkpoints = run && {
    folder: run.checkpoints,
    config: identityOf(options, split),
    resume,
    every: { epochs: 1, minutes: MINUTES_BETWEEN_CHECKPOINTS },
  }
  const { parameters, best, epoch, step, ending } = await interruptible((signal) =>
    fitWithProgress(model, split, { ...options, executor }, options.system, {
      signal,
      detectAnomaly,
      observers: run ? [run.observer] : [],
      ...(checkpoints ? { checkpoints } : {}),
    }),
  )
  if (ending === 'interrupted') {
    const advice = run ? 'add --resume to go on from there' : 'nothing was saved, for lack of --output'
    throw new Interrupted(`Interrupted in epoch ${epoch}, after step ${step.toLocaleString('en-US')}; ${advice}.`)
  }
  print(`Kept epoch ${best?.epoch} of ${epoch}, the best by validation NDCG@10.`)
  return { parameters }
}

export interface ProgressOptions {
  readonly maxLength: number
  readonly batchSize: number
  readonly learningRate: number
  readonly averageDecay?: number
  readonly latestTargets?: number
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
  { observers = [], ...more }: Pick<LoopOptions, 'observers' | 'signal' | 'checkpoints' | 'detectAnomaly'> = {},
): Promise<LoopResult> {
  const { epochs, patience } = options
  return withProgress({ title, epochs }, (progress) =>
    fit(model, split, options, { ...more, epochs, patience, observers: [progress, ...observers] }),
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

async function formatReport({ system, ranks, metrics, users }: TrainReport, options: TrainOptions): Promise<string> {
  const interval = async (values: Float64Array) => formatInterval(await bootstrapMean(values, { seed: options.seed }))
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
    `95 % intervals over users: HR@10 ${await interval(hits(ranks, 10))}, NDCG@10 ${await interval(gains(ranks, 10))}.`,
  ]
  if (leaks)
    lines.push(
      'These counts include validation and test items: the figures leak the answers and are for comparison only.',
    )
  return lines.join('\n')
}

/** HR and NDCG with their intervals over users. */
export async function sequenceTable(
  ranks: Int32Array,
  { seed, part = 'test' }: { readonly seed: number; readonly part?: string },
): Promise<ResultTable & { readonly note: string }> {
  const intervals = (of: (ranks: Int32Array, k: number) => Float64Array) =>
    Promise.all(CUTOFFS.map((k) => bootstrapMean(of(ranks, k), { seed })))
  return {
    title: part === 'test' ? 'Test' : 'Validation',
    header: ['', ...CUTOFFS.map((k) => `@${k}`)],
    rows: [
      ['HR', ...(await intervals(hits))],
      ['NDCG', ...(await intervals(gains))],
    ],
    note:
      `${ranks.length.toLocaleString('en-US')} users, each target ranked among all items the user has not had; ` +
      `MRR ${meanReciprocalRank(ranks).toFixed(4)}. Beside each mean half its 95 % interval, by bootstrap over users.`,
  }
}

export const formatInterval = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `${low.toFixed(4)} to ${high.toFixed(4)}`
