/** One run of a proof: an arm trained on the rows of a seed, and what it says of the test rows. */
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import { requestBatches } from '../data/requestBatches.js'
import { createState, initializeParameters } from '../graph/stores.js'
import { plainStatistic, type UserStatistic } from '../metrics/index.js'
import type { Executor } from '../runtime/index.js'
import { rankingSystems } from '../systems/index.js'
import type { ArmResult, Proof, ProofOutcome } from '../systems/proof.js'
import type { RankingModel, RankingSystem } from '../systems/system.js'
import { fitLoop, type StepReport } from '../train/loop.js'
import {
  compilePrediction,
  compileRankingTraining,
  featureInputs,
  predict,
  ratesOf,
  scheduled,
  targetsOf,
} from '../train/rankingTrainer.js'
import type { PlannedRun } from './plan.js'
import type { ProofRows } from './proofData.js'

export interface ArmContext {
  readonly executor: Executor
  readonly signal: AbortSignal
  readonly onStep: (step: { readonly examples: number; readonly loss: number }) => void
}

/** null when a signal ended it. */
export async function trainArm(
  proof: Proof,
  run: PlannedRun,
  rows: ProofRows,
  { executor, signal, onStep }: ArmContext,
): Promise<ArmResult | null> {
  const { seed, sizes } = run
  const { train, test } = rows
  const system = systemOf(proof, run.arm)
  const config = configOf(system, run.config)
  const targets = targetsOf(system, config, proof.tasks)
  const rates = await ratesOf(train, targets.outputs)
  const features = featureInputs(train).map((input) => {
    const known = input.kind === 'id' ? rows.content?.[input.name] : undefined
    return known ? { ...input, content: known } : input
  })
  const model = system.build(features, proof.tasks, config, rates) as RankingModel & object
  const shuffle = sizes.shuffle ?? sizes.epochs > 1
  const order = { batchSize: sizes.batchSize, ...(shuffle ? { seed } : {}) }
  const source = await requestBatches(train, order, targets.requests)
  const program = compileRankingTraining(model, proof.tasks, source.schema, {
    seed,
    executor,
    clipNorm: sizes.clipNorm,
  })
  const parameters = await initializeParameters(model, seed, executor)
  const state = createState(model)
  const parts = new PartMeans()
  const started = performance.now()
  try {
    const { ending } = await fitLoop({
      program,
      source,
      parameters,
      state,
      epochs: sizes.epochs,
      schedule: { lr: sizes.learningRate, ...scheduled(targets.ramps, sizes.epochs * source.batchCount) },
      observers: [{ stepped: (step) => [parts.add(step), onStep(step)] }],
      signal,
    })
    if (ending === 'interrupted') return null
    const trained = performance.now()
    const prediction = compilePrediction(model, test, targets, executor)
    const predictions = await predict(prediction, test, targets, { parameters, state })
    const predicted = performance.now()
    const measured = await proof.measure?.(outcomeOf(rows, predictions))
    return {
      statistics: { ...measured, ...parts.statistics() },
      trainSeconds: (trained - started) / 1000,
      predictSeconds: (predicted - trained) / 1000,
    }
  } finally {
    parameters[Symbol.dispose]()
  }
}

function systemOf(proof: Proof, arm: string): RankingSystem {
  const name = proof.arms[arm]?.system ?? proof.system
  const system = (rankingSystems as Readonly<Record<string, RankingSystem>>)[name]
  if (system) return system
  const near = nearest(name, Object.keys(rankingSystems))
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'prove',
    argument: `arms.${arm}.system`,
    expected: `one of ${Object.keys(rankingSystems).join(', ')}`,
    got: `'${name}'`,
    ...(near ? { hint: `Did you mean '${near}'?` } : {}),
  })
}

/** Settings of an experiment that this system does not have are those of other arms. */
function configOf(system: RankingSystem, settings: PlannedRun['config']): unknown {
  const own = Object.keys((system.config as unknown as { shape: object }).shape)
  return system.config.parse(Object.fromEntries(Object.entries(settings).filter(([name]) => own.includes(name))))
}

function outcomeOf({ test, users, truth }: ProofRows, predictions: ProofOutcome['predictions']): ProofOutcome {
  const copies = new Map<string, ArrayLike<number>>()
  return {
    count: test.rowCount,
    predictions,
    users,
    column(name) {
      const column = copies.get(name) ?? (name.startsWith('truth.') ? truth[name.slice(6)] : test.values(name))
      if (!column) {
        throw new KairosError('KAIROS_UNKNOWN_NAME', {
          op: 'prove',
          argument: 'column',
          expected: `one of ${
            Object.keys(truth)
              .map((known) => `truth.${known}`)
              .join(', ') || 'the labels'
          }`,
          got: `'${name}'`,
        })
      }
      copies.set(name, column)
      return column
    },
  }
}

/** What programs say beside the loss, as means over steps. */
class PartMeans {
  private readonly sums = new Map<string, number>()
  private steps = 0

  add({ parts = {}, loss }: StepReport): void {
    this.steps++
    for (const [name, value] of Object.entries({ loss, ...parts }))
      this.sums.set(name, (this.sums.get(name) ?? 0) + value)
  }

  statistics(): Record<string, UserStatistic> {
    return Object.fromEntries(
      [...this.sums].map(([name, sum]) => [`training.${name}`, plainStatistic(sum / this.steps)]),
    )
  }
}
