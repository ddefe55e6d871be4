/** Moving averages of parameters. */
import type { Shape } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { named } from '../graph/autodiff.js'
import { stateLeaf } from '../graph/leaf.js'
import type { StoreSlot, Tensor } from '../graph/node.js'
import { GraphRunner } from '../graph/runner.js'
import type { FloatTensor, Optimizer } from '../graph/update.js'
import { add, broadcast, greater, minimum, multiply, oneMinus, select } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { Entry, Executor, OptimizerState, ParameterSet } from '../runtime/index.js'
import { requireSetting, slotOf } from './slots.js'

/** Names of the state that `ema` adds. */
const AVERAGE = 'average'
const BEGUN = 'averaged'

/**
 * The same optimiser, which also keeps an exponential moving average of each parameter: a <- decay a + (1 - decay) w
 * after every update, the first of which sets a to w (Polyak and Juditsky 1992; PyTorch's `get_ema_multi_avg_fn`). The
 * average moves in the same pass over memory as the parameter. Rows of a sparse table are averaged over the updates
 * that they took part in.
 *
 * Training does not see the averages; `averagedParameters` makes a parameter set of them, to evaluate and to keep.
 * State per parameter: `average`, and `averaged`, 1 once it has begun (of each row where the table is sparse).
 */
export function ema(optimizer: Optimizer, { decay }: { readonly decay: number }): Optimizer {
  requireSetting('ema', 'decay', decay >= 0 && decay < 1, 'in [0, 1)', decay)
  return {
    ...optimizer,
    name: `ema of ${optimizer.name}`,
    slots: (parameter) => ({
      ...optimizer.slots(parameter),
      [AVERAGE]: slotOf(parameter.shape),
      [BEGUN]: slotOf(parameter.sparse ? parameter.shape.slice(0, 1) : []),
    }),
    update: (parameter, gradient, slots, scalars) => {
      const after = optimizer.update(parameter, gradient, slots, scalars)
      const { [AVERAGE]: average, [BEGUN]: begun } = slots as Record<string, FloatTensor> & Averages
      // What has not begun keeps nothing of the zeros that it starts from.
      const kept = spread(multiply(begun, decay), parameter.shape)
      const next = add(multiply(average, kept), multiply(after.parameter, oneMinus(kept)))
      return {
        parameter: after.parameter,
        slots: { ...after.slots, [AVERAGE]: next, [BEGUN]: minimum(add(begun, 1), 1) },
      }
    },
  }
}

type Averages = { readonly [AVERAGE]: FloatTensor; readonly [BEGUN]: FloatTensor }

/** One number per row over its row; a single number is left to the ops, which take it everywhere. */
const spread = (perRow: Loose, shape: Shape): Loose =>
  perRow.shape.length === 0 ? perRow : (broadcast(perRow, 1, shape.slice(1)) as Loose)

/**
 * A parameter set that holds the averages that `ema` keeps, and what has no average yet as in `parameters`. Dispose it
 * after use.
 *
 * Throws KAIROS_MISSING when the state holds no averages.
 */
export async function averagedParameters(
  parameters: ParameterSet,
  optimizer: OptimizerState,
  { executor }: { readonly executor?: Executor } = {},
): Promise<ParameterSet> {
  const held = new Map(optimizer.entries.map((entry) => [suffixOf(entry.name), entry]))
  const assignments = parameters.entries.flatMap((entry) => {
    const [average, begun] = [AVERAGE, BEGUN].map((slot) => held.get(`${entry.name}/${slot}`))
    if (!average || !begun) return []
    const target = leafOf('parameters', entry)
    const isBegun = spread(greater(leafOf('optimizer', begun), 0), entry.shape)
    return [{ target, value: select(isBegun, leafOf('optimizer', average), target) as Tensor }]
  })
  if (assignments.length === 0) {
    throw new KairosError('KAIROS_MISSING', {
      op: 'averagedParameters',
      argument: 'optimizer',
      expected: 'the state of an optimiser that averages these parameters',
      got: 'one without averages',
      hint: 'Wrap the optimiser: ema(adam(), { decay: 0.999 })',
    })
  }
  const averaged = await parameters.clone(executor)
  const runner = new GraphRunner({ outputs: {}, assignments }, executor ? { executor } : {})
  await runner.run({ stores: { parameters: averaged, optimizer } })
  return averaged
}

/** `loss/encoder.weight/average` without the group's name, which may hold slashes too. */
const suffixOf = (name: string): string => name.split('/').slice(-2).join('/')

const leafOf = (store: StoreSlot, { name, dtype, shape }: Entry): Loose =>
  stateLeaf(store, named({ dtype, shape, trainable: false, initialize: () => new Float32Array(0) }, name))
