import { KairosError } from '../core/errors.js'
import { requireSetting } from './slots.js'

/** Mean losses of the last two epochs, older first: what a checkpoint keeps. */
export type DynamicWeightAverageState = readonly (readonly number[])[]

/**
 * Dynamic weight averaging: tasks whose losses fall slowly weigh more. After each epoch t it takes the mean losses and
 * weighs task k by K softmax_k(L_k(t - 1) / L_k(t - 2) / temperature); in the first two epochs all weigh 1.
 *
 *     const weights = new DynamicWeightAverage(['click', 'buy'])
 *     fixedWeights({ click: scalarInput('clickWeight'), buy: scalarInput('buyWeight') })
 *     step(batch, { clickWeight: weights.of('click'), buyWeight: weights.of('buy') })
 *
 * Throws KAIROS_ARGUMENT for losses that are not finite and above 0.
 * Source: Liu, Johns and Davison, "End-to-end multi-task learning with attention", 2019, equation 7.
 */
export class DynamicWeightAverage {
  readonly tasks: readonly string[]
  private readonly temperature: number
  private history: DynamicWeightAverageState

  constructor(
    tasks: readonly string[],
    { temperature = 2, state = [] }: { readonly temperature?: number; readonly state?: DynamicWeightAverageState } = {},
  ) {
    requireSetting('DynamicWeightAverage', 'temperature', temperature > 0, 'above 0', temperature)
    this.tasks = tasks
    this.temperature = temperature
    this.history = state
  }

  get state(): DynamicWeightAverageState {
    return this.history
  }

  /** Weights of all tasks, of sum K. */
  get weights(): readonly number[] {
    const [before, last] = this.history
    if (!before || !last) return this.tasks.map(() => 1)
    const rates = last.map((loss, task) => loss / (before[task] as number) / this.temperature)
    const greatest = Math.max(...rates)
    const powers = rates.map((rate) => Math.exp(rate - greatest))
    const sum = powers.reduce((total, power) => total + power, 0)
    return powers.map((power) => (this.tasks.length * power) / sum)
  }

  /** The weight of one task. Throws KAIROS_UNKNOWN_NAME. */
  of(task: string): number {
    const index = this.tasks.indexOf(task)
    if (index >= 0) return this.weights[index] as number
    throw new KairosError('KAIROS_UNKNOWN_NAME', {
      op: 'DynamicWeightAverage',
      argument: 'task',
      expected: `one of ${this.tasks.join(', ')}`,
      got: `'${task}'`,
    })
  }

  /** Takes the mean loss of each task over the epoch that ended. */
  observe(losses: Readonly<Record<string, number>>): void {
    const means = this.tasks.map((task) => {
      const loss = losses[task] ?? Number.NaN
      const fits = Number.isFinite(loss) && loss > 0
      requireSetting('DynamicWeightAverage', `losses.${task}`, fits, 'finite and above 0', loss)
      return loss
    })
    this.history = [...this.history, means].slice(-2)
  }
}
