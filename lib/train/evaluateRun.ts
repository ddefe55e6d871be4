/** `kairos evaluate`: a finished run measured again, alone or against another on the same data. */

import { KairosError } from '../core/errors.js'
import { loadEncoding } from '../data/index.js'
import { leaveOneOut } from '../data/leaveOneOut.js'
import { readSequences } from '../data/sequences.js'
import { createParameters, createState } from '../graph/stores.js'
import { bootstrapDifference, deLongDifference, excludesZero } from '../metrics/index.js'
import { gains, hits } from '../metrics/ranking.js'
import { Executor } from '../runtime/index.js'
import { restoreMeasured } from './averaging.js'
import type { TrainOptions } from './options.js'
import { type PartName, readParts } from './rankingData.js'
import type { RankingTrainOptions } from './rankingOptions.js'
import { compilePrediction, featureInputs, judge, judgedRows, judgements, predict } from './rankingTrainer.js'
import { bestCheckpoint, encodingPath, loadRun } from './runConfig.js'
import type { EvaluateOptions } from './runOptions.js'
import { compileRanking, rankTargets } from './sequenceTrainer.js'
import { formatTable } from './table.js'
import { buildRanking, rankingTable, targetsOfRun } from './trainRanking.js'
import { buildModel, formatInterval, type Print, sequenceTable } from './trainSystem.js'

/** Prints the table of a run, and with `against` the difference to another and its interval. */
export async function evaluateRun(
  options: EvaluateOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<void> {
  const run = await loadRun('evaluate', options.run)
  const other = options.against === undefined ? null : await loadRun('evaluate', options.against)
  if (other && other.kind !== run.kind) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'evaluate',
      argument: 'against',
      expected: `a run of a ${run.kind} system`,
      got: `one of a ${other.kind} system`,
    })
  }
  const executor = new Executor({ threads: options.threads, device: options.device })
  try {
    if (run.kind === 'sequence')
      await evaluateSequence(run.options, other?.options as TrainOptions, options, executor, print)
    else await evaluateRanking(run.options, other?.options as RankingTrainOptions, options, executor, print)
  } finally {
    await executor.close()
  }
}

async function evaluateSequence(
  run: TrainOptions,
  other: TrainOptions | undefined,
  { data = run.data, part, seed, ...options }: EvaluateOptions,
  executor: Executor,
  print: Print,
): Promise<void> {
  const split = leaveOneOut(await readSequences(data))
  const ranksOf = async (settings: TrainOptions, folder: string) => {
    const model = buildModel(settings, split.sequences.maxItem)
    const stores = { parameters: createParameters(model), state: createState(model) }
    const parameters = await restoreMeasured(await bestCheckpoint('evaluate', folder), settings, stores, executor)
    const { state } = stores
    const program = compileRanking(model, settings.maxLength, executor)
    return rankTargets(program, split, part, settings.maxLength, { parameters, state })
  }
  const ranks = await ranksOf(run, options.run)
  const table = await sequenceTable(ranks, { seed, part })
  print(`${formatTable(table.header, table.rows)}\n\n${table.note}`)
  if (!other || options.against === undefined) return
  const others = await ranksOf(other, options.against)
  for (const [name, of] of Object.entries({ 'HR@10': hits, 'NDCG@10': gains })) {
    const difference = await bootstrapDifference(of(ranks, 10), of(others, 10), { seed })
    print(
      `${name}, ${options.run} minus ${options.against}: ${signed(difference.mean)}, 95 % interval ${formatInterval(difference)}` +
        `${excludesZero(difference) ? '' : ': no difference beyond it'}.`,
    )
  }
}

async function evaluateRanking(
  run: RankingTrainOptions,
  other: RankingTrainOptions | undefined,
  { data = run.data, part, ...options }: EvaluateOptions,
  executor: Executor,
  print: Print,
): Promise<void> {
  const judged = async (settings: RankingTrainOptions, folder: string) => {
    const found = (await readParts({ ...settings, data }, await loadEncoding(encodingPath(folder))))[part as PartName]
    const targets = targetsOfRun(settings)
    const model = buildRanking(settings, featureInputs(found), targets)
    const stores = { parameters: createParameters(model), state: createState(model) }
    const parameters = await restoreMeasured(await bestCheckpoint('evaluate', folder), settings, stores, executor)
    const { state } = stores
    const program = compilePrediction(model, found, targets, executor)
    const { outputs } = targets
    return { data: found, outputs, predictions: await predict(program, found, targets, { parameters, state }) }
  }
  const first = await judged(run, options.run)
  const metrics = await judge(first.data, first.predictions, first.outputs)
  const table = await rankingTable(first.data, first.predictions, metrics, first.outputs)
  print(`${formatTable(table.header, table.rows)}\n\n${table.note}`)
  if (!other || options.against === undefined) return
  const second = await judged(other, options.against)
  for (const output of judgements(first.outputs)) {
    const { [output.prediction]: scores } = first.predictions
    const { [output.prediction]: against } = second.predictions
    const rows = scores && against && (await judgedRows(first.data, output, { scores, against }))
    if (!rows) continue
    const { difference, low, high, pValue } = await deLongDifference(rows.scores, rows.against, rows.labels)
    print(
      `AUC of ${output.name}, ${options.run} minus ${options.against}: ${signed(difference)}, 95 % interval ` +
        `${formatInterval({ low, high })}, p ${pValue < 1e-4 ? '< 0.0001' : `= ${pValue.toFixed(4)}`} (paired DeLong).`,
    )
  }
}

const signed = (value: number) => `${value >= 0 ? '+' : ''}${value.toFixed(4)}`
