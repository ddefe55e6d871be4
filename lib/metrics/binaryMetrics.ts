/** What a click model is judged by, from one pass over its predictions. */
import type { Accumulator, BinaryBatch } from './accumulator.js'
import { Auc } from './auc.js'
import { type CalibrationResult, EqualWidthCalibration, Pcoc } from './calibration.js'
import { Gauc, type GaucResult } from './gauc.js'
import { LogLoss } from './logLoss.js'

export interface BinaryMetricsBatch extends BinaryBatch {
  /** The user of each example: asks for GAUC. In every batch or in none. */
  readonly groups?: Int32Array
}

export interface BinaryResult {
  readonly count: number
  readonly positives: number
  readonly auc: number
  readonly logLoss: number
  readonly pcoc: number
  readonly ece: number
  readonly calibration: CalibrationResult
  /** Where groups were given. */
  readonly gauc?: GaucResult
}

/** AUC, log-loss, PCOC and ECE of probabilities, and GAUC where groups are given. */
export class BinaryMetrics implements Accumulator<BinaryMetricsBatch, BinaryResult> {
  private readonly parts = { auc: new Auc(), logLoss: new LogLoss(), pcoc: new Pcoc() }
  private readonly calibration: EqualWidthCalibration
  private readonly gauc = new Gauc()
  private count = 0
  private positives = 0
  private grouped = 0

  constructor({ bins = 15 }: { readonly bins?: number } = {}) {
    this.calibration = new EqualWidthCalibration(bins)
  }

  update(batch: BinaryMetricsBatch): void {
    const { groups, labels } = batch
    // The strictest first, so that what is refused has entered nowhere.
    if (groups) this.gauc.check({ ...batch, groups })
    this.calibration.update(batch)
    if (groups) this.gauc.update({ ...batch, groups })
    for (const part of Object.values(this.parts)) part.update(batch)
    this.count += labels.length
    for (let i = 0; i < labels.length; i++) this.positives += labels[i] as number
    if (groups) this.grouped += labels.length
  }

  async value(): Promise<BinaryResult> {
    const { auc, logLoss, pcoc } = this.parts
    const calibration = this.calibration.value()
    return {
      count: this.count,
      positives: this.positives,
      auc: await auc.value(),
      logLoss: logLoss.value(),
      pcoc: pcoc.value(),
      ece: calibration.ece,
      calibration,
      ...(this.grouped > 0 ? { gauc: await this.gauc.value() } : {}),
    }
  }

  merge(other: BinaryMetrics): void {
    this.calibration.merge(other.calibration)
    this.parts.auc.merge(other.parts.auc)
    this.parts.logLoss.merge(other.parts.logLoss)
    this.parts.pcoc.merge(other.parts.pcoc)
    this.gauc.merge(other.gauc)
    this.count += other.count
    this.positives += other.positives
    this.grouped += other.grouped
  }
}
