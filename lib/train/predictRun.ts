/** `kairos predict`: what a finished run says of new rows: items for users, or a probability for each task. */
import { open } from 'node:fs/promises'
import { KairosError } from '../core/errors.js'
import { rowOf } from '../core/ragged.js'
import { loadEncoding, readDataset } from '../data/index.js'
import { readSequences } from '../data/sequences.js'
import { makeWhole } from '../data/wholeFile.js'
import { compile } from '../graph/compile.js'
import { createParameters, createState } from '../graph/stores.js'
import { topK } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { Executor } from '../runtime/index.js'
import { trainingSchema } from '../systems/system.js'
import { restoreMeasured } from './averaging.js'
import type { TrainOptions } from './options.js'
import { dataFile, schemaOf } from './rankingData.js'
import type { RankingTrainOptions } from './rankingOptions.js'
import { compilePrediction, featureInputs, predict } from './rankingTrainer.js'
import { bestCheckpoint, encodingPath, loadRun } from './runConfig.js'
import type { PredictOptions } from './runOptions.js'
import { buildRanking, targetsOfRun } from './trainRanking.js'
import { buildModel, type Print } from './trainSystem.js'

type Value = number | string | readonly number[]
type Line = Readonly<Record<string, Value>>

/** Users that are scored at a time. */
const BATCH = 256

/** Writes a line for each user or row; the file appears whole or not at all. */
export async function predictRun(
  options: PredictOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<void> {
  const format = formatOf(options.output)
  const run = await loadRun('predict', options.run)
  const executor = new Executor({ threads: options.threads, device: options.device })
  try {
    const lines = run.kind === 'sequence' ? items(run.options, options, executor) : rows(run.options, options, executor)
    const count = await write(options.output, format, lines)
    print(`${count.toLocaleString('en-US')} lines in ${options.output}.`)
  } finally {
    await executor.close()
  }
}

/** For each user the items that come next, best first, without those that the user has had. */
async function* items(
  run: TrainOptions,
  { data, top, run: folder }: PredictOptions,
  executor: Executor,
): AsyncGenerator<Line> {
  const sequences = await readSequences(data)
  const checkpoint = await bestCheckpoint('predict', folder)
  const itemCount = Number((checkpoint.manifest.config as { items?: unknown }).items)
  if (sequences.maxItem > itemCount) {
    throw new KairosError('KAIROS_DATA', {
      op: 'predict',
      argument: data,
      expected: `items from 1 to ${itemCount}, which the run was trained on`,
      got: `${sequences.maxItem}`,
    })
  }
  const model = buildModel(run, itemCount)
  const stores = { parameters: createParameters(model), state: createState(model) }
  const parameters = await restoreMeasured(checkpoint, run, stores, executor)
  const { state } = stores
  const userCount = sequences.offsets.length - 1
  // Padding and the user's own items may stand before the wanted ones.
  let longest = 0
  for (let user = 0; user < userCount; user++) longest = Math.max(longest, rowOf(sequences, user).length)
  const asked = Math.min(itemCount + 1, top + longest + 1)
  const { maxLength } = run
  const program = compile(
    model,
    (m, batch) => {
      const { values, indices } = topK(m.scores(batch.history as Loose) as Loose, asked)
      return { values, indices }
    },
    { schema: trainingSchema(maxLength), executor },
  )
  for (let first = 0; first < userCount; first += BATCH) {
    const count = Math.min(BATCH, userCount - first)
    const history = new Int32Array(count * maxLength)
    for (let i = 0; i < count; i++) {
      const recent = rowOf(sequences, first + i).slice(-maxLength)
      history.set(recent, (i + 1) * maxLength - recent.length)
    }
    const target = new Int32Array(count)
    const { values, indices } = await program.step({ history, target }, {}, { parameters, state })
    for (let i = 0; i < count; i++) {
      const had = new Set(rowOf(sequences, first + i))
      const found: number[] = []
      const scores: number[] = []
      for (let at = i * asked; at < (i + 1) * asked && found.length < top; at++) {
        const item = (indices as Int32Array)[at] as number
        if (item === 0 || had.has(item)) continue
        found.push(item)
        scores.push((values as Float32Array)[at] as number)
      }
      yield { user: sequences.users?.[first + i] ?? first + i + 1, items: found, scores }
    }
  }
}

/** For each row the probability of each output. */
async function* rows(
  run: RankingTrainOptions,
  { data, run: folder, threads }: PredictOptions,
  executor: Executor,
): AsyncGenerator<Line> {
  const { schema } = schemaOf(run)
  const targets = targetsOfRun(run)
  const encoding = await loadEncoding(encodingPath(folder))
  const dataset = await readDataset(dataFile(run, data), schema, { encoding, threads })
  const model = buildRanking(run, featureInputs(dataset), targets)
  const stores = { parameters: createParameters(model), state: createState(model) }
  const parameters = await restoreMeasured(await bestCheckpoint('predict', folder), run, stores, executor)
  const { state } = stores
  const program = compilePrediction(model, dataset, targets, executor)
  const predictions = await predict(program, dataset, targets, { parameters, state })
  for (let row = 0; row < dataset.rowCount; row++) {
    yield Object.fromEntries([
      ['row', row + 1],
      ...Object.entries(predictions).map(([name, column]) => [name, column[row] as number] as const),
    ])
  }
}

function formatOf(path: string): 'csv' | 'jsonl' {
  if (path.endsWith('.csv')) return 'csv'
  if (path.endsWith('.jsonl')) return 'jsonl'
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'predict',
    argument: 'output',
    expected: 'a file name that ends in .csv or .jsonl',
    got: `'${path}'`,
  })
}

const csv = (value: Value): string => (Array.isArray(value) ? value.join(' ') : `${value}`)

/** Lines between two writes. */
const CHUNK = 512

const write = (path: string, format: 'csv' | 'jsonl', lines: AsyncIterable<Line>): Promise<number> =>
  makeWhole(path, async (half) => {
    let count = 0
    const file = await open(half, 'w')
    try {
      let buffer: string[] = []
      for await (const line of lines) {
        if (count++ === 0 && format === 'csv') buffer.push(Object.keys(line).join(','))
        buffer.push(format === 'csv' ? Object.values(line).map(csv).join(',') : JSON.stringify(line))
        if (buffer.length < CHUNK) continue
        await file.write(`${buffer.join('\n')}\n`)
        buffer = []
      }
      if (buffer.length > 0) await file.write(`${buffer.join('\n')}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    return count
  })
