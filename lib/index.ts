/**
 * Kairos: typed model graphs in TypeScript, run by native kernels.
 *
 * Build tensors with ops and layers, `compile` a function over a model, `step` it with batches; or compute a single
 * tensor with `await tensor.data()`.
 */
import './graph/data.js'

export type { BatchSource, PreparedBatch } from './core/batchSource.js'
export type { Dim, Shape } from './core/dim.js'
export type { ArrayOf, DType } from './core/dtype.js'
export { type ErrorCode, errorTable, isKairosError, KairosError } from './core/errors.js'
export { field, type Schema } from './core/schema.js'
export * from './data/index.js'
export { gradients } from './graph/autodiff.js'
export {
  all,
  assign,
  type Batch,
  type BatchArrays,
  Compiled,
  type CompileOptions,
  compile,
  type GroupOptions,
  type Handles,
  type LeasedBatch,
  type ParameterChoice,
  type Results,
  type StepOptions,
  type UpdateOptions,
} from './graph/compile.js'
export { defineOp, type OpCase, type OpDefinition, type ReferenceArray, refuse } from './graph/defineOp.js'
export { explain } from './graph/explain.js'
export { constant, input, scalar, scalarInput } from './graph/leaf.js'
export {
  fanInUniform,
  filled,
  type Initializer,
  isTraining,
  kaimingUniform,
  namedVariables,
  normal,
  ones,
  parameter,
  parameterCount,
  parametersOf,
  state,
  uniform,
  xavierUniform,
  zeros,
} from './graph/module.js'
export type { Tensor } from './graph/node.js'
export { GraphRunner } from './graph/runner.js'
export { createParameters, createState, initializeParameters, parametersFor, stateFor } from './graph/stores.js'
export type { Combination, GradientCombination, LossCombination, Optimizer } from './graph/update.js'
export * from './losses/index.js'
export * as metrics from './metrics/index.js'
export * from './nn/index.js'
export * from './ops/index.js'
export * from './optim/index.js'
export {
  type DeviceKind,
  defaultExecutor,
  device,
  Executor,
  OptimizerState,
  ParameterSet,
  State,
} from './runtime/index.js'
export { rankingSystems, sequenceSystems, systems } from './systems/index.js'
export type {
  FeatureInput,
  RankingModel,
  RankingSystem,
  SequenceModel,
  SequenceSystem,
} from './systems/system.js'
export {
  Checkpoint,
  type CheckpointContents,
  CheckpointFolder,
  type CheckpointStores,
  readCheckpoint,
} from './train/checkpoint.js'
export { evaluateRun } from './train/evaluateRun.js'
export { formatImport, type ImportOptions, type ImportReport, importStateDict } from './train/importStateDict.js'
export { interruptible } from './train/interrupt.js'
export {
  type CheckpointOptions,
  fitLoop,
  type LoopObserver,
  type LoopOptions,
  type LoopResult,
} from './train/loop.js'
export { type LoopSchedule, reduceOnPlateau } from './train/loopSchedule.js'
export { predictRun } from './train/predictRun.js'
export { type ResultTable, writeReport } from './train/report.js'
export { openRunFolder, type RunFolder } from './train/runFolder.js'
export { RunLog, readLog } from './train/runLog.js'
export { TensorFile, type TensorSource, writeTensors } from './train/safetensors.js'
export { trainRanking } from './train/trainRanking.js'
export { trainSystem } from './train/trainSystem.js'
