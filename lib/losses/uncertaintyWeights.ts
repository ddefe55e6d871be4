import { KairosError } from '../core/errors.js'
import { parameter, zeros } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { add, exp, multiply, negate } from '../ops/index.js'

type Scalar = Tensor<readonly [], 'float32'>

/**
 * Losses weighted by learned uncertainty: sum over tasks of exp(-s) L + s / 2, where s = log sigma^2 is a parameter that
 * starts at 0. A task that stays uncertain loses weight. `regression` tasks have half the weight: exp(-s) L / 2 + s / 2.
 *
 * Make it a field of the model, and its result the loss that all parameters minimise.
 *
 * Throws KAIROS_UNKNOWN_NAME for a loss that no task is named after, KAIROS_MISSING for a task without one.
 * Source: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", 2018, equations 7 and 10.
 */
export class UncertaintyWeights<Task extends string> {
  readonly logVariances: Readonly<Record<Task, Scalar>>
  private readonly regression: readonly Task[]

  constructor(tasks: readonly Task[], { regression = [] }: { readonly regression?: readonly Task[] } = {}) {
    this.logVariances = Object.fromEntries(tasks.map((task) => [task, parameter([], zeros)])) as Record<Task, Scalar>
    this.regression = regression
  }

  combine(losses: Readonly<Record<Task, Scalar>>): Scalar {
    const tasks = Object.keys(this.logVariances) as Task[]
    const unknown = Object.keys(losses).find((name) => !tasks.includes(name as Task))
    if (unknown !== undefined) throw refused('KAIROS_UNKNOWN_NAME', `one of ${tasks.join(', ')}`, `'${unknown}'`)
    const terms = tasks.map((task) => {
      const loss = losses[task]
      if (!loss) throw refused('KAIROS_MISSING', `a loss of '${task}'`, 'none')
      const s = this.logVariances[task]
      const weighted = multiply(loss, exp(negate(s)))
      return add(this.regression.includes(task) ? multiply(weighted, 0.5) : weighted, multiply(s, 0.5))
    })
    return terms.reduce((sum, term) => add(sum, term))
  }
}

const refused = (code: 'KAIROS_UNKNOWN_NAME' | 'KAIROS_MISSING', expected: string, got: string) =>
  new KairosError(code, { op: 'UncertaintyWeights', argument: 'losses', expected, got })
