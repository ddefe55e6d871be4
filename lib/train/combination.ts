/** `--combine`: how several losses of a ranking system become one step. */
import { KairosError } from '../core/errors.js'
import { all, type UpdateOptions } from '../graph/compile.js'
import { scalarInput } from '../graph/leaf.js'
import type { Tensor } from '../graph/node.js'
import type { Optimizer } from '../graph/update.js'
import { UncertaintyWeights } from '../losses/index.js'
import { DynamicWeightAverage, type DynamicWeightAverageState, fixedWeights, solvers } from '../optim/index.js'
import { binaryLosses, type FeatureBatch, type Objectives, type RankingModel } from '../systems/system.js'
import type { LoopObserver } from './loop.js'
import { isLoopSchedule, type LoopSchedule, type Scalars, scheduleOf } from './loopSchedule.js'
import type { Json } from './manifest.js'

export const combinations = [
  ...(Object.keys(solvers) as (keyof typeof solvers)[]),
  'fixed',
  'uncertainty',
  'dwa',
] as const

/** Where gradients of several losses are measured: at the parameters they share, or at values on the way there. */
export const combinationPlaces = ['gradients', 'representation'] as const

export interface CombinationOptions {
  readonly combine?: (typeof combinations)[number] | undefined
  readonly combineAt?: (typeof combinationPlaces)[number] | undefined
  /** Of 'fixed', in the order of the losses. */
  readonly lossWeights?: readonly number[] | undefined
}

/** What a part of the model's losses moves: all of it, unless parts move parameters of their own. */
export const partsOf = (model: RankingModel): Readonly<Record<string, string>> => model.updates ?? { loss: '' }

/** A field that `--combine uncertainty` gives to models: parameters of their own, one for each loss. */
const LEARNED = 'lossWeights'
type Weighed = { readonly [LEARNED]?: Readonly<Record<string, UncertaintyWeights<string>>> }

/** Gives the model the parameters that a combination learns, if it learns any. */
export function withLossWeights<M extends RankingModel & object>(
  model: M,
  tasks: readonly string[],
  { combine }: CombinationOptions,
): M {
  if (combine !== 'uncertainty') return model
  const weights = Object.keys(partsOf(model)).map((part) => {
    const names = model.objectiveNames?.(part) ?? tasks
    return [part, new UncertaintyWeights(names)] as const
  })
  return Object.assign(model, { [LEARNED]: Object.fromEntries(weights) })
}

const weightName = (loss: string) => `lossWeight.${loss}`
/** Outputs at which gradients are combined. */
const cutName = (part: string, index: number) => `${part}/at${index}`

/** Names of a part's losses as outputs; alone they need no prefix. */
const outputOf = (part: string, loss: string) => (part === 'loss' ? loss : `${part}/${loss}`)

/** Outputs that a combination needs beside the model's own, and the updates over all of them. */
export function combined(
  model: RankingModel,
  tasks: readonly string[],
  batch: FeatureBatch,
  options: CombinationOptions,
): Record<string, Tensor> {
  const { combine, combineAt } = options
  if (!combine) return {}
  const outputs: Record<string, Tensor> = {}
  for (const part of Object.keys(partsOf(model))) {
    const { losses, representation = [] } = objectivesOf(model, tasks, batch, part)
    for (const [name, loss] of Object.entries(losses)) outputs[outputOf(part, name)] = loss
    if (combineAt === 'representation') {
      for (const [i, value] of representation.entries()) outputs[cutName(part, i)] = value
    }
    const learned = (model as Weighed)[LEARNED]?.[part]
    if (learned) outputs[`${part}/weighed`] = learned.combine(losses)
  }
  return outputs
}

/** The updates of a step whose outputs are the model's losses and those of `combined`. */
export function updatesOf(
  model: RankingModel,
  names: (part: string) => readonly string[],
  rule: { readonly optimizer: Optimizer; readonly clipNorm?: number },
  { combine, combineAt, lossWeights }: CombinationOptions,
): UpdateOptions<Record<string, Tensor>>[] {
  return Object.entries(partsOf(model)).map(([part, prefix]): UpdateOptions<Record<string, Tensor>> => {
    const own = (name: string) => name.startsWith(prefix) || name.startsWith(`${LEARNED}.${part}.`)
    const moved = { parameters: prefix === '' ? all : own, ...rule } as const
    if (!combine) return { loss: part, ...moved }
    const losses = names(part).map((name) => outputOf(part, name))
    if (combine === 'uncertainty') return { loss: `${part}/weighed`, ...moved }
    if (combine === 'fixed' || combine === 'dwa') {
      if (lossWeights && lossWeights.length !== losses.length) throw wrongCount(losses, lossWeights.length)
      const weights = losses.map((name, i) => [name, scalarInput(weightName(name), lossWeights?.[i] ?? 1)] as const)
      return { name: part, losses, combine: fixedWeights(Object.fromEntries(weights)), ...moved }
    }
    const apart = model.apart ? { apart: model.apart } : {}
    if (combineAt === 'representation' && !model.cuts?.(part)) throw offersNone(part)
    const cuts = Array.from({ length: model.cuts?.(part) ?? 0 }, (_, i) => cutName(part, i))
    const place = combineAt === 'representation' ? { representation: cuts } : {}
    return { name: part, losses, combine: solvers[combine](), ...apart, ...place, ...moved }
  })
}

export const objectivesOf = (
  model: RankingModel,
  tasks: readonly string[],
  batch: FeatureBatch,
  part: string,
): Objectives => model.objectives?.(batch, part) ?? { losses: binaryLosses(model.logits(batch), tasks, batch) }

/** Weights by dynamic weight averaging over a schedule: an observer of the loop as well. */
export function dynamicWeights(scalars: Scalars | LoopSchedule, names: readonly string[]): LoopSchedule & LoopObserver {
  const inner = isLoopSchedule(scalars) ? scalars : scheduleOf(scalars)
  let average = new DynamicWeightAverage(names)
  let [sums, examples] = [names.map(() => 0), 0]
  const weights = () => Object.fromEntries(names.map((name) => [weightName(name), average.of(name)]))
  return {
    scalars: (at) => ({ ...inner.scalars(at), ...weights() }),
    observe: (metrics) => inner.observe?.(metrics),
    stepped({ examples: count, parts = {} }) {
      sums = sums.map((sum, i) => sum + count * (parts[names[i] as string] as number))
      examples += count
    },
    epochEnded() {
      average.observe(Object.fromEntries(names.map((name, i) => [name, (sums[i] as number) / examples])))
      sums = names.map(() => 0)
      examples = 0
    },
    save: () => ({ sums, examples, history: average.state, inner: inner.save?.() ?? null }) as unknown as Json,
    restore(saved) {
      const { history, inner: below, ...rest } = saved as unknown as SavedWeights
      average = new DynamicWeightAverage(names, { state: history })
      sums = [...rest.sums]
      examples = rest.examples
      if (below !== null) inner.restore?.(below)
    },
  }
}

interface SavedWeights {
  readonly sums: readonly number[]
  readonly examples: number
  readonly history: DynamicWeightAverageState
  readonly inner: Json
}

export const lossNames = (model: RankingModel, tasks: readonly string[]): string[] =>
  Object.keys(partsOf(model)).flatMap((part) =>
    (model.objectiveNames?.(part) ?? tasks).map((name) => outputOf(part, name)),
  )

const offersNone = (part: string) =>
  new KairosError('KAIROS_ARGUMENT', {
    op: 'train',
    argument: 'combineAt',
    expected: "'gradients' for a system that names no representation",
    got: `'representation' of ${part}`,
  })

const wrongCount = (losses: readonly string[], got: number) =>
  new KairosError('KAIROS_ARGUMENT', {
    op: 'train',
    argument: 'lossWeights',
    expected: `${losses.length}, for ${losses.join(', ')},`,
    got: `${got}`,
  })
