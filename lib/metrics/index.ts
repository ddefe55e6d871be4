/** Metrics: how good a model is, and how sure that is. */
export {
  type Accumulator,
  type BinaryBatch,
  type GroupedBatch,
  measure,
  type WeightedBatch,
} from './accumulator.js'
export { Auc, auc, type BoundedAuc, HistogramAuc, WeightedAuc } from './auc.js'
export {
  type AucDifference,
  type AucInterval,
  deLong,
  deLongDifference,
  hanleyMcNeil,
  type IntervalOptions,
} from './aucInterval.js'
export { BinaryMetrics, type BinaryMetricsBatch, type BinaryResult } from './binaryMetrics.js'
export {
  type BootstrapOptions,
  bootstrapAuc,
  bootstrapAucDifference,
  bootstrapDifference,
  bootstrapMean,
  excludesZero,
  type Interval,
  type UserExamples,
} from './bootstrap.js'
export {
  type CalibrationBin,
  type CalibrationResult,
  EqualMassCalibration,
  EqualWidthCalibration,
  Pcoc,
} from './calibration.js'
export { NegativeSampler, type NegativeSamplerOptions, rankAmong } from './candidates.js'
export { Gauc, type GaucResult } from './gauc.js'
export { gaucStatistics, type RowsByUser, rowsByUser } from './gaucStatistic.js'
export { hypervolume, paretoFront } from './hypervolume.js'
export { LogLoss, type LogLossOptions } from './logLoss.js'
export { rankCorrelation } from './rankCorrelation.js'
export { gains, hitRate, hits, meanReciprocalRank, ndcg, reciprocalRanks } from './ranking.js'
export { type RankBatch, type RankingAt, RankingMetrics, type RankingResult, rankingAt } from './rankingMetrics.js'
export { type RegressionBatch, RegressionErrors, type RegressionResult } from './regression.js'
export { UserBootstrap } from './userBootstrap.js'
export {
  aucStatistic,
  plainStatistic,
  type RatioRows,
  ratioStatistic,
  statisticValue,
  USER_GROUPS,
  type UserStatistic,
  type UserTerm,
  withinUsersStatistic,
} from './userStatistic.js'
