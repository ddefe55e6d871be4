/** Scalars of each step: learning rate, loss weights. */
import { KairosError } from '../core/errors.js'
import { type PlateauOptions, type PlateauState, type Schedule, schedules } from '../optim/index.js'
import type { Json } from './manifest.js'

export type Metrics = Readonly<Record<string, number>>

/** By name, a number or a function of the step, counted from 0 over the whole run. */
export type Scalars = Readonly<Record<string, number | Schedule>>

/** One that learns from evaluations, and says what it has learnt so that a resumed run goes on with it. */
export interface LoopSchedule {
  scalars(at: { readonly step: number; readonly epoch: number }): Readonly<Record<string, number>>
  observe?(metrics: Metrics): void
  save?(): Json
  restore?(saved: Json): void
}

export const isLoopSchedule = (schedule: Scalars | LoopSchedule): schedule is LoopSchedule =>
  'scalars' in schedule && typeof schedule.scalars === 'function'

export const scheduleOf = (scalars: Scalars): LoopSchedule => ({ scalars: ({ step }) => valuesAt(scalars, step) })

const valuesAt = (scalars: Scalars, step: number): Record<string, number> =>
  Object.fromEntries(
    Object.entries(scalars).map(([name, value]) => [name, typeof value === 'number' ? value : value(step)]),
  )

export interface PlateauScheduleOptions extends PlateauOptions {
  /** Name among what `evaluate` gives. */
  readonly metric: string
  /** Name of the scalar that is lowered. Default: 'lr'. */
  readonly rateName?: string
}

/** Scalars of which one, the learning rate, falls when a metric of the evaluations stops improving. */
export function reduceOnPlateau(
  scalars: Scalars,
  { metric, rateName = 'lr', ...options }: PlateauScheduleOptions,
): LoopSchedule {
  let plateau = new schedules.ReduceOnPlateau(options)
  const require = (what: string, names: object, name: string) => {
    if (Object.hasOwn(names, name)) return
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op: 'reduceOnPlateau',
      argument: what,
      expected: `one of ${Object.keys(names).join(', ') || 'nothing at all'}`,
      got: `'${name}'`,
    })
  }
  require('rateName', scalars, rateName)
  return {
    scalars({ step }) {
      const values = valuesAt(scalars, step)
      return { ...values, [rateName]: (values[rateName] as number) * plateau.scale }
    },
    observe(metrics) {
      require('metric', metrics, metric)
      plateau.observe(metrics[metric] as number)
    },
    save: () => ({ ...plateau.state }),
    restore(saved) {
      plateau = new schedules.ReduceOnPlateau(options, saved as unknown as PlateauState)
    },
  }
}
