/** `kairos train` for ranking systems: trains on rows of features and measures each task. */
import { basename, join } from 'node:path'
import { saveEncoding } from '../data/index.js'
import { parameterCount } from '../graph/module.js'
import { type BinaryResult, deLong } from '../metrics/index.js'
import { Executor, type ParameterSet } from '../runtime/index.js'
import { rankingSystems } from '../systems/index.js'
import type { FeatureInput, RankingModel, RankingOutput, RankingSystem } from '../systems/system.js'
import { withLossWeights } from './combination.js'
import { Interrupted, interruptible } from './interrupt.js'
import type { Json } from './manifest.js'
import { withProgress } from './progressObserver.js'
import { prepareParts, type RankingParts, schemaOf } from './rankingData.js'
import { type RankingTrainOptions, systemConfig } from './rankingOptions.js'
import {
  compilePrediction,
  featureInputs,
  fitRanking,
  judge,
  judgedRows,
  judgements,
  predict,
  type RankingTargets,
  ratesOf,
  targetsOf,
} from './rankingTrainer.js'
import type { ResultTable } from './report.js'
import { encodingPath, saveRun } from './runConfig.js'
import { openRunFolder, type RunFolder } from './runFolder.js'
import { type Cell, formatTable } from './table.js'
import type { Print } from './trainSystem.js'

export interface RankingReport {
  readonly system: string
  readonly parameters: number
  /** Of the test part, by task. */
  readonly metrics: Readonly<Record<string, BinaryResult>>
  readonly predictions: Readonly<Record<string, Float32Array>>
}

export function buildRanking(
  options: RankingTrainOptions,
  features: readonly FeatureInput[],
  { tasks }: RankingTargets,
  rates?: Readonly<Record<string, number>>,
): RankingModel & object {
  const system: RankingSystem = rankingSystems[options.system]
  const model = system.build(features, tasks, systemConfig(options), rates) as RankingModel & object
  return withLossWeights(model, tasks, options)
}

/** What the run's system learns from the labels that were asked for. */
export const targetsOfRun = (options: RankingTrainOptions): RankingTargets =>
  targetsOf(rankingSystems[options.system], systemConfig(options), schemaOf(options).tasks)

/** Trains a ranking system on a file of rows and prints its table of results. */
export async function trainRanking(
  options: RankingTrainOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<RankingReport> {
  const targets = targetsOfRun(options)
  const parts = await prepareParts(options)
  const executor = new Executor({ threads: options.threads, device: options.device })
  let run: RunFolder | null = null
  try {
    print(describe(options.data, parts))
    const unknown = await unknownValues(parts)
    if (unknown) print(unknown)
    const rates = await ratesOf(parts.train, targets.outputs)
    const model = buildRanking(options, featureInputs(parts.train), targets, rates)
    print(
      `${options.system}: ${parameterCount(model).toLocaleString('en-US')} parameters, tasks ${targets.tasks.join(', ')}`,
    )
    if (options.output !== undefined) {
      const { output, resume: _, ...config } = options
      const title = `${options.system} on ${basename(options.data)}`
      run = await openRunFolder(output, { title, config: config as Json, executor })
      await saveRun(output, { kind: 'ranking', options })
      await saveEncoding(parts.train.encoding, encodingPath(output))
    }
    const parameters = await train(model, targets, parts, options, executor, run, print)
    const prediction = compilePrediction(model, parts.test, targets, executor)
    const predictions = await predict(prediction, parts.test, targets, { parameters })
    const metrics = await judge(parts.test, predictions, targets.outputs)
    const table = await rankingTable(parts.test, predictions, metrics, targets.outputs)
    print(`\n${formatTable(table.header, table.rows)}\n\n${table.note}`)
    if (run) {
      await run.report([table])
      print(`Report: ${join(String(options.output), 'report.html')}`)
    }
    return { system: options.system, parameters: parameterCount(model), metrics, predictions }
  } finally {
    await run?.close()
    await executor.close()
  }
}

async function train(
  model: RankingModel & object,
  targets: RankingTargets,
  parts: RankingParts,
  options: RankingTrainOptions,
  executor: Executor,
  run: RunFolder | null,
  print: Print,
): Promise<ParameterSet> {
  const { epochs, patience, resume, detectAnomaly, batchSize, learningRate, averageDecay, seed, clipNorm } = options
  const { combine, combineAt, lossWeights } = options
  const checkpoints = run && { folder: run.checkpoints, config: identityOf(options, parts), resume }
  const { parameters, best, epoch, step, ending } = await interruptible((signal) =>
    withProgress({ title: options.system, epochs }, (progress) =>
      fitRanking(
        model,
        targets,
        parts,
        { batchSize, learningRate, averageDecay, seed, clipNorm, combine, combineAt, lossWeights, executor },
        {
          epochs,
          patience,
          signal,
          detectAnomaly,
          observers: run ? [progress, run.observer] : [progress],
          ...(checkpoints ? { checkpoints } : {}),
        },
      ),
    ),
  )
  if (ending === 'interrupted') {
    const advice = run ? 'add --resume to go on from there' : 'nothing was saved, for lack of --output'
    throw new Interrupted(`Interrupted in epoch ${epoch}, after step ${step.toLocaleString('en-US')}; ${advice}.`)
  }
  print(`Kept epoch ${best?.epoch} of ${epoch}, the best by validation AUC.`)
  return parameters
}

/** Settings that decide what a run computes: a resume with others is refused. */
function identityOf(options: RankingTrainOptions, { train, validation, test }: RankingParts): Json {
  const { data: _, epochs, patience, threads, device, output, resume, detectAnomaly, ...identity } = options
  const rows = [train.rowCount, validation.rowCount, test.rowCount]
  return JSON.parse(JSON.stringify({ ...identity, rows })) as Json
}

const count = (value: number) => value.toLocaleString('en-US')

const describe = (path: string, { train, validation, test }: RankingParts) =>
  `${path}: ${count(train.rowCount)} rows for training, ${count(validation.rowCount)} for validation, ${count(test.rowCount)} for test.`

/** Values of the held-out parts that the vocabularies lack, by feature; null where there are none. */
async function unknownValues({ validation, test }: RankingParts): Promise<string | null> {
  const counts = new Map<string, number>()
  for (const part of [validation, test]) {
    for (const [name, { unknown }] of Object.entries(await part.report())) {
      if (unknown > 0) counts.set(name, (counts.get(name) ?? 0) + unknown)
    }
  }
  if (counts.size === 0) return null
  const listed = [...counts].map(([name, unknown]) => `${count(unknown)} of ${name}`)
  return `Held out, but unknown to the vocabularies of training: ${listed.join(', ')}.`
}

/** One row per output: AUC with its interval, GAUC where there are groups, log-loss and calibration. */
export async function rankingTable(
  data: RankingParts['test'],
  predictions: Readonly<Record<string, Float32Array>>,
  metrics: Readonly<Record<string, BinaryResult>>,
  outputs: readonly RankingOutput[],
): Promise<ResultTable & { readonly note: string }> {
  const grouped = Object.values(metrics).some(({ gauc }) => gauc !== undefined)
  const rows: Cell[][] = []
  for (const output of judgements(outputs)) {
    const judged = await judgedRows(data, output, { scores: predictions[output.prediction] as Float32Array })
    const result = metrics[output.name]
    if (!judged || !result) continue
    const { logLoss, pcoc, ece, positives, gauc, count: examples } = result
    const { auc, low, high } = await deLong(judged.scores, judged.labels)
    const shown: Cell[] = grouped ? [gauc?.gauc ?? Number.NaN] : []
    const rate = positives / examples
    rows.push([output.name, { mean: auc, low, high }, ...shown, logLoss, pcoc, ece, `${(100 * rate).toFixed(1)} %`])
  }
  return {
    title: 'Test',
    header: ['task', 'AUC', ...(grouped ? ['GAUC'] : []), 'log-loss', 'PCOC', 'ECE', 'positive'],
    rows,
    note: `${count(data.rowCount)} rows that training never saw. The 95 % interval of AUC is DeLong's; PCOC is predicted over observed rate.`,
  }
}
