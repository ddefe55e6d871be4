/**
 * `npm start`: three ways to rank generated sequences with a known rhythm, side by side.
 *
 * The generator plants a frequency signal whose strength is a knob. At zero the order of items means nothing, so a
 * model with a frequency branch must not beat one without; the report says which of the two holds.
 */
import { type LeaveOneOut, leaveOneOut } from '../data/leaveOneOut.js'
import { plantedSequences } from '../data/planted.js'
import { parameterCount } from '../graph/module.js'
import { bootstrapDifference, bootstrapMean, excludesZero } from '../metrics/bootstrap.js'
import { gains, hits } from '../metrics/ranking.js'
import { Executor } from '../runtime/index.js'
import type { DemoOptions } from './options.js'
import { formatSeconds } from './progress.js'
import { compileRanking, fitCounts, rankTargets } from './sequenceTrainer.js'
import { formatTable } from './table.js'
import { buildModel, fitWithProgress, formatInterval, type Print } from './trainSystem.js'

export interface DemoReport {
  readonly ranks: Readonly<Record<'popularity' | 'no-frequency' | 'frequency', Int32Array>>
  /** frequency minus no-frequency, NDCG@10, with its 95 % interval over users. */
  readonly difference: { readonly mean: number; readonly low: number; readonly high: number }
  readonly differs: boolean
}

/** Trains popularity, no-frequency and frequency on generated data and prints the table. */
export async function runDemo(
  options: DemoOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<DemoReport> {
  const started = performance.now()
  const { users, signal, seed } = options
  const sequences = await plantedSequences({ users, signal, seed })
  const split = leaveOneOut(sequences)
  const executor = new Executor({ threads: options.threads, device: options.device })
  try {
    const count = (value: number) => value.toLocaleString('en-US')
    print(
      `Generated ${count(users)} users, ${count(sequences.maxItem)} items, ${count(sequences.values.length)} interactions; ` +
        `signal ${signal}: ${signal === 0 ? 'the order of items means nothing' : 'part of the order follows a rhythm'}.`,
    )
    const popularity = await rankByCounts(split, options, executor)
    const plain = await rankByModel(split, options, executor, 'no-frequency', 0)
    const frequency = await rankByModel(split, options, executor, 'frequency', options.alpha)
    const ranks = { popularity, 'no-frequency': plain.ranks, frequency: frequency.ranks }
    const difference = await bootstrapDifference(gains(frequency.ranks, 10), gains(plain.ranks, 10), { seed })
    const report = { ranks, difference, differs: excludesZero(difference) }
    const estimate = (values: Float64Array) => bootstrapMean(values, { seed })
    const row = async (name: keyof typeof ranks, parameters: number) =>
      [name, await estimate(hits(ranks[name], 10)), await estimate(gains(ranks[name], 10)), count(parameters)] as const
    print('')
    print(
      formatTable(
        ['system', 'HR@10', 'NDCG@10', 'parameters'],
        [
          await row('popularity', 0),
          await row('no-frequency', plain.parameters),
          await row('frequency', frequency.parameters),
        ],
      ),
    )
    print(`\n${verdict(report, split, options)}`)
    print(`Done in ${formatSeconds((performance.now() - started) / 1000)}. Next:\n\n${nextCommand(options)}`)
    return report
  } finally {
    await executor.close()
  }
}

async function rankByCounts(split: LeaveOneOut, options: DemoOptions, executor: Executor): Promise<Int32Array> {
  const model = buildModel({ ...options, system: 'popularity' }, split.sequences.maxItem)
  const state = await fitCounts(model, split, 'train', executor)
  return rankTargets(compileRanking(model, options.maxLength, executor), split, 'test', options.maxLength, { state })
}

async function rankByModel(split: LeaveOneOut, options: DemoOptions, executor: Executor, name: string, alpha: number) {
  const model = buildModel({ ...options, system: 'frequency', alpha }, split.sequences.maxItem)
  const patience = options.epochs
  const { parameters } = await fitWithProgress(model, split, { ...options, patience, executor }, name.padEnd(12))
  const program = compileRanking(model, options.maxLength, executor)
  const ranks = await rankTargets(program, split, 'test', options.maxLength, { parameters })
  return { ranks, parameters: parameterCount(model) }
}

function verdict({ difference, differs }: DemoReport, split: LeaveOneOut, { signal }: DemoOptions): string {
  const figures =
    `frequency minus no-frequency, NDCG@10: ${difference.mean >= 0 ? '+' : ''}${difference.mean.toFixed(4)}, ` +
    `95 % interval ${formatInterval(difference)} over ${split.evaluated.length.toLocaleString('en-US')} users.`
  if (!differs) return `The two models do not differ beyond their interval: ${figures}`
  const better = difference.mean > 0 ? 'The frequency branch helps' : 'The frequency branch hurts'
  return signal === 0
    ? `${better}, though nothing was planted; another seed will tell: ${figures}`
    : `${better}: ${figures}`
}

function nextCommand({ signal }: DemoOptions): string {
  return signal > 0
    ? '    npm start -- --signal 0          # nothing planted: the two models should not differ\n' +
        '    npx kairos train --system frequency --data YOUR_FILE   # lines of `user item item ...`'
    : '    npx kairos train --system frequency --data YOUR_FILE   # lines of `user item item ...`'
}
