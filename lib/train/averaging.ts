/** A moving average of the parameters, where a run asks for one: kept by the optimiser, measured in their place. */
import type { Optimizer } from '../graph/update.js'
import { adam, averagedParameters, ema } from '../optim/index.js'
import { type Executor, OptimizerState, type ParameterSet, type State } from '../runtime/index.js'
import type { Checkpoint } from './checkpoint.js'
import type { LoopOptions } from './loop.js'

export interface Averaging {
  /** Decay of the average; 0 or nothing: none is kept. */
  readonly averageDecay?: number | undefined
}

export const optimizerOf = (decay = 0): Optimizer => (decay > 0 ? ema(adam(), { decay }) : adam())

export const averagingOf = ({
  averageDecay = 0,
  executor,
}: Averaging & { readonly executor: Executor }): Pick<LoopOptions, 'averaged'> =>
  averageDecay > 0
    ? { averaged: (parameters, optimizer) => averagedParameters(parameters, optimizer, { executor }) }
    : {}

/** The parameters of a checkpoint as its run measured them, put into `parameters` and `state`. */
export async function restoreMeasured(
  checkpoint: Checkpoint,
  { averageDecay = 0 }: Averaging,
  stores: { readonly parameters: ParameterSet; readonly state: State },
  executor: Executor,
): Promise<ParameterSet> {
  if (averageDecay === 0) {
    await checkpoint.restore(stores, executor)
    return stores.parameters
  }
  const optimizer = OptimizerState.create(checkpoint.manifest.stores.optimizer)
  await checkpoint.restore({ ...stores, optimizer }, executor)
  return averagedParameters(stores.parameters, optimizer, { executor })
}
