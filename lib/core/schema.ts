/** What a batch holds, by name: the type of the batch follows from it. */

import type { Shape } from './dim.js'
import type { DType } from './dtype.js'

export interface Field<S extends Shape = Shape, D extends DType = DType> {
  readonly dtype: D
  readonly shape: S
}

export type Schema = Readonly<Record<string, Field>>

/** One entry of a batch: `field('int32', 'batch', 50)` has a row of 50 ids per example. */
export const field = <D extends DType, const S extends Shape>(dtype: D, ...shape: S): Field<S, D> => ({ dtype, shape })
