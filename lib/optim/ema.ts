/** Moving averages of parameters. */
import { KairosError } from '../core/errors.js'
import type { Tensor } from '../graph/node.js'
import type { FloatTensor, Optimizer } from '../graph/update.js'
import { add, cast, minimum, multiply, oneMinus } from '../ops/index.js'
import type { OptimizerState, ParameterSet } from '../runtime/index.js'
import { counter, requireSetting, slotOf } from './slots.js'

/** Names of the state that `ema` adds. */
const AVERAGE = 'average'
const COUNT = 'averaged'

/**
 * The same optimiser, which also keeps an exponential moving average of each parameter: a <- decay a + (1 - decay) w
 * after every update, the first of which sets a to w (Polyak and Juditsky 1992; PyTorch's `get_ema_multi_avg_fn`). The
 * average moves in the same pass over memory as the parameter.
 *
 * Training does not see the averages; `averagedParameters` makes a parameter set of them, to evaluate and to keep.
 * State per parameter: `average`; shared: `averaged`, the number of updates.
 */
export function ema(optimizer: Optimizer, { decay }: { readonly decay: number }): Optimizer {
  requireSetting('ema', 'decay', decay >= 0 && decay < 1, 'in [0, 1)', decay)
  return {
    name: `ema of ${optimizer.name}`,
    slots: (parameter) => ({ ...optimizer.slots(parameter), [AVERAGE]: slotOf(parameter.shape) }),
    shared: () => ({ ...optimizer.shared(), [COUNT]: counter() }),
    advance: (shared) => {
      const { next, scalars } = optimizer.advance(shared)
      const count = shared[COUNT] as Tensor<readonly [], 'int32'>
      // 0 in the first update, which forgets the zeros that averages start from.
      const kept = multiply(minimum(cast(count, 'float32'), 1), decay)
      return { next: { ...next, [COUNT]: add(count, 1) }, scalars: { ...scalars, kept_of_average: kept } }
    },
    update: (parameter, gradient, slots, scalars) => {
      const after = optimizer.update(parameter, gradient, slots, scalars)
      const kept = scalars.kept_of_average as Tensor<readonly [], 'float32'>
      const average = add(multiply(slots[AVERAGE] as FloatTensor, kept), multiply(after.parameter, oneMinus(kept)))
      return { parameter: after.parameter, slots: { ...after.slots, [AVERAGE]: average } }
    },
  }
}

/**
 * A parameter set that holds the averages that `ema` keeps, and what it does not average as in `parameters`. Before the
 * first update there is no average, and the set is a copy. Dispose it after use.
 *
 * Throws KAIROS_MISSING when the state holds no averages.
 */
export async function averagedParameters(parameters: ParameterSet, optimizer: OptimizerState): Promise<ParameterSet> {
  const names = optimizer.entries.map(({ name }) => name)
  const counts = await optimizer.read(names.filter((name) => name.endsWith(`/${COUNT}`)))
  if (Object.keys(counts).length === 0) {
    throw new KairosError('KAIROS_MISSING', {
      op: 'averagedParameters',
      argument: 'optimizer',
      expected: 'the state of an optimiser that averages',
      got: 'one without averages',
      hint: 'Wrap the optimiser: ema(adam(), { decay: 0.999 })',
    })
  }
  const averaged = await parameters.clone()
  for (const [name, count] of Object.entries(counts)) {
    if (count[0] === 0) continue
    const update = name.slice(0, -COUNT.length)
    for (const entry of names) {
      // `loss/encoder.weight/average`: one at a time, so that tables are not all in memory twice.
      if (!entry.startsWith(update) || !entry.endsWith(`/${AVERAGE}`)) continue
      const values = (await optimizer.read([entry]))[entry] as Float32Array
      await averaged.write({ [entry.slice(update.length, -AVERAGE.length - 1)]: values })
    }
  }
  return averaged
}
