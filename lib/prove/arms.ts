/** Who trains the arms of a proof: the proof's own trainer, or `trainArm`, one after another. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BatchSource } from '../core/batchSource.js'
import { KairosError } from '../core/errors.js'
import { datasetBatches } from '../data/datasetBatches.js'
import type { ArmResult, ArmRows, ArmTrainer, Proof, TrainerTools } from '../systems/proof.js'
import { featureInputs } from '../train/rankingTrainer.js'
import type { PlannedRun } from './plan.js'
import { type ProofRows, partsOf } from './proofData.js'
import { type ArmContext, trainArm } from './trainArm.js'

export interface Arms {
  /** null when a signal ended it. Runs of the same rows come one after another. */
  train(run: PlannedRun, rows: ProofRows, context: ArmContext): Promise<ArmResult | null>
  /** Ends what the last arms shared. */
  release(): Promise<void>
}

export function armsOf(proof: Proof, folder: string): Arms {
  const { trainer } = proof
  if (!trainer) return { train: (run, rows, context) => trainArm(proof, run, rows, context), release: async () => {} }
  return new SharingArms(trainer as ArmTrainer, join(folder, 'scratch'))
}

class SharingArms implements Arms {
  private held: { readonly rows: ProofRows; readonly shared: unknown; readonly folder: string } | null = null

  constructor(
    private readonly trainer: ArmTrainer,
    private readonly scratch: string,
  ) {}

  async train(run: PlannedRun, rows: ProofRows, context: ArmContext): Promise<ArmResult | null> {
    const tools = { ...context, rows: armRowsOf(rows) }
    if (this.held?.rows !== rows) {
      await this.release()
      await mkdir(this.scratch, { recursive: true })
      const folder = await mkdtemp(join(this.scratch, 'shared-'))
      const shared = await this.trainer.prepare(run, { ...tools, folder })
      if (shared === null) return null
      this.held = { rows, shared, folder }
    }
    const { shared, folder } = this.held as NonNullable<typeof this.held>
    return this.trainer.train(run, shared, { ...tools, folder } satisfies TrainerTools)
  }

  async release(): Promise<void> {
    if (this.held) {
      await this.trainer.release(this.held.shared)
      this.held = null
    }
    await rm(this.scratch, { recursive: true, force: true })
  }
}

export function armRowsOf(rows: ProofRows): ArmRows {
  const parts = partsOf(rows)
  const part = (name: string) => parts[name] ?? refuse('part', Object.keys(parts), name)
  return {
    features: featureInputs(rows.train),
    parts: Object.keys(parts),
    count: (name) => part(name).data.rowCount,
    users: (name) => part(name).users,
    async batches(name, { begin = 0, end, batchSize }) {
      const { data } = part(name)
      return (await datasetBatches(data.slice(begin, end ?? data.rowCount), { batchSize })) as unknown as BatchSource
    },
    column(name, column) {
      const { data, truth } = part(name)
      if (!column.startsWith('truth.')) return data.values(column)
      return truth[column.slice(6)] ?? refuse('column', Object.keys(truth), column)
    },
  }
}

function refuse(argument: string, known: readonly string[], got: string): never {
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'prove',
    argument,
    expected: `one of ${known.join(', ')}`,
    got: `'${got}'`,
  })
}
