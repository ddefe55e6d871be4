/** Against the values of scikit-learn, which fixtures/make.py wrote. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  type Accumulator,
  Auc,
  auc,
  type BinaryBatch,
  BinaryMetrics,
  type CalibrationResult,
  deLong,
  deLongDifference,
  EqualMassCalibration,
  EqualWidthCalibration,
  Gauc,
  LogLoss,
  measure,
  Pcoc,
  RankingMetrics,
  RegressionErrors,
} from '../../lib/metrics/index.js'

interface Calibration {
  readonly ece: number
  readonly counts: number[]
  readonly observed: number[]
  readonly predicted: number[]
}

interface Fixture {
  readonly binary: Readonly<Record<'labels' | 'scores' | 'weights' | 'groups', number[]>> &
    Readonly<Record<'auc' | 'weightedAuc' | 'gauc' | 'impressions' | 'usedGroups' | 'skippedGroups', number>> &
    Readonly<Record<'logLoss' | 'weightedLogLoss' | 'pcoc', number>> &
    Readonly<Record<'equalWidth' | 'equalMass', Calibration>>
  readonly ranking: {
    readonly items: number
    readonly ranks: number[][]
    readonly lists: number[][]
    readonly relevant: number[][]
    readonly at: Readonly<Record<string, Readonly<Record<'ndcg' | 'recall' | 'precision' | 'hitRate', number>>>>
    readonly map: number
    readonly mrr: number
  }
  readonly regression: {
    readonly targets: number[]
    readonly predictions: number[]
    readonly rmse: number
    readonly mae: number
  }
  readonly delong: {
    readonly labels: number[]
    readonly a: number[]
    readonly b: number[]
    readonly auc: [number, number]
    readonly covariance: [[number, number], [number, number]]
  }
}

const fixture = JSON.parse(readFileSync(new URL('./fixtures/scikit-learn.json', import.meta.url), 'utf8')) as Fixture

type Calibrated = Accumulator<BinaryBatch, CalibrationResult>

const floats = (values: readonly number[]) => Float32Array.from(values)
const ragged = (rows: readonly number[][]) => ({
  values: Int32Array.from(rows.flat()),
  offsets: Int32Array.from([0, ...rows.map((_, i) => rows.slice(0, i + 1).flat().length)]),
})

describe('binary metrics', () => {
  const { binary } = fixture
  const scores = floats(binary.scores)
  const labels = Uint8Array.from(binary.labels)
  const weights = floats(binary.weights)
  const groups = Int32Array.from(binary.groups)

  it('AUC, with ties and with weights', async () => {
    expect(await auc(scores, labels)).toBeCloseTo(binary.auc, 14)
    expect(await auc(scores, labels, { weights })).toBeCloseTo(binary.weightedAuc, 12)
  })

  it('GAUC, weighted by impressions', async () => {
    const result = await measure(new Gauc(), { scores, labels, groups })
    expect(result.gauc).toBeCloseTo(binary.gauc, 13)
    expect(result.impressions).toBe(binary.impressions)
    expect(result.groups).toBe(binary.usedGroups)
    expect(result.skippedGroups).toBe(binary.skippedGroups)
    expect(result.skippedGroups).toBeGreaterThan(0)
  })

  it('log-loss, with certain predictions and with weights', async () => {
    expect(await measure(new LogLoss(), { scores, labels })).toBeCloseTo(binary.logLoss, 8)
    const weighted = await measure(new LogLoss(), { scores, labels, weights })
    expect(weighted).toBeCloseTo(binary.weightedLogLoss, 8)
  })

  it('PCOC', async () => {
    expect(await measure(new Pcoc(), { scores, labels })).toBeCloseTo(binary.pcoc, 14)
  })

  it.each([
    ['equal width', (): Calibrated => new EqualWidthCalibration(10), binary.equalWidth],
    ['equal mass', (): Calibrated => new EqualMassCalibration(10), binary.equalMass],
  ] as const)('ECE over bins of %s', async (_, make, expected) => {
    const { ece, bins } = await measure(make(), { scores, labels })
    const full = bins.filter(({ count }) => count > 0)
    expect(full.map(({ count }) => count)).toEqual(expected.counts)
    full.forEach(({ observed, predicted }, i) => {
      expect(observed).toBeCloseTo(expected.observed[i] as number, 14)
      expect(predicted).toBeCloseTo(expected.predicted[i] as number, 12)
    })
    expect(ece).toBeCloseTo(expected.ece, 12)
  })

  it('all at once', async () => {
    const metric = new BinaryMetrics({ bins: 10 })
    const result = await measure(metric, { scores, labels, groups })
    expect(result.auc).toBe(await measure(new Auc(), { scores, labels }))
    expect(result.gauc?.gauc).toBeCloseTo(binary.gauc, 13)
    expect(result.ece).toBeCloseTo(binary.equalWidth.ece, 12)
    expect(result.logLoss).toBeCloseTo(binary.logLoss, 8)
    expect([result.count, result.positives]).toEqual([403, binary.labels.filter((label) => label === 1).length])
  })
})

describe('ranking metrics', () => {
  const { ranking } = fixture
  const batches = {
    ranks: () => {
      const { values: ranks, offsets } = ragged(ranking.ranks)
      return { ranks, offsets }
    },
    lists: () => ({
      items: Int32Array.from(ranking.lists.flat()),
      width: ranking.items,
      relevant: ragged(ranking.relevant),
    }),
  }

  it.each(['ranks', 'lists'] as const)('NDCG, recall, precision, hit rate, MAP and MRR from %s', (kind) => {
    const metric = new RankingMetrics({ cutoffs: [1, 5, 10, ranking.items] })
    metric.update(batches[kind]())
    const { at, mrr, users, skipped } = metric.value()
    expect([users, skipped]).toEqual([ranking.ranks.length, 0])
    for (const [k, expected] of Object.entries(ranking.at)) {
      for (const [name, value] of Object.entries(expected)) {
        expect(at[Number(k)]?.[name as keyof typeof expected]).toBeCloseTo(value, 13)
      }
    }
    expect(at[ranking.items]?.map).toBeCloseTo(ranking.map, 13)
    expect(mrr).toBeCloseTo(ranking.mrr, 13)
  })
})

describe('errors of numbers', () => {
  it('RMSE and MAE', async () => {
    const { targets, predictions, rmse, mae } = fixture.regression
    const result = await measure(new RegressionErrors(), { predictions: floats(predictions), targets: floats(targets) })
    expect(result.rmse).toBeCloseTo(rmse, 14)
    expect(result.mae).toBeCloseTo(mae, 14)
    expect(result.count).toBe(targets.length)
  })
})

describe('intervals of AUC', () => {
  it('follow the definition of DeLong et al. over all pairs', async () => {
    const { labels, a, b, auc: areas, covariance } = fixture.delong
    const [[aa, ab], [, bb]] = covariance
    const one = await deLong(floats(a), labels)
    expect(one.auc).toBeCloseTo(areas[0], 14)
    expect(one.standardError).toBeCloseTo(Math.sqrt(aa), 14)
    expect(one.high - one.auc).toBeCloseTo(1.959963984540054 * Math.sqrt(aa), 13)
    const two = await deLongDifference(floats(a), floats(b), labels)
    expect([two.a, two.b]).toEqual([expect.closeTo(areas[0], 14), expect.closeTo(areas[1], 14)])
    expect(two.standardError).toBeCloseTo(Math.sqrt(aa + bb - 2 * ab), 14)
    expect(two.z).toBeCloseTo((areas[0] - areas[1]) / Math.sqrt(aa + bb - 2 * ab), 11)
  })
})
