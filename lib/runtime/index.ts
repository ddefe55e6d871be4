/** The typed face of the native addon. */
export type {
  AddonDescription,
  BindOptions,
  CpuVariant,
  DeviceKind,
  ExecutableDescription,
  NativeArray,
  ProgramDescription,
  RunResult,
  StoreEntry,
} from './addon.js'
export {
  defaultExecutor,
  describe,
  device,
  Executor,
  type ExecutorOptions,
  type MatmulEngine,
  type Precision,
  variantsUpTo,
} from './executor.js'
export { callSiteOf, thrownAt } from './nativeError.js'
export { Executable, Program, type RunOptions } from './program.js'
export { Lease, type StagedInput, Staging } from './staging.js'
export { type Entry, OptimizerState, ParameterSet, State, Store } from './store.js'
