export { type AdagradOptions, adagrad, rowWiseAdagrad } from './adagrad.js'
export { type AdamOptions, adam } from './adam.js'
export { clipByValue } from './clip.js'
export * from './combine.js'
export { DynamicWeightAverage, type DynamicWeightAverageState } from './dynamicWeightAverage.js'
export { averagedParameters, ema } from './ema.js'
export {
  IterativeParetoPolicy,
  type ParetoPolicyMetrics,
  type ParetoPolicyOptions,
  type ParetoPolicyRound,
  type ParetoPolicyState,
} from './iterativeParetoPolicy.js'
export type { PlateauOptions, PlateauState, Schedule } from './schedules.js'
export * as schedules from './schedules.js'
export { type SgdOptions, sgd } from './sgd.js'
