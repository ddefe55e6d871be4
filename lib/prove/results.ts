/** What all runs of a proof gave, as acceptance lines, tables and plots ask for it. */
import { KairosError } from '../core/errors.js'
import { type Interval, statisticValue, UserBootstrap, type UserStatistic } from '../metrics/index.js'
import type { ProofResults, Transform } from '../systems/proof.js'
import type { FinishedRun } from './runStore.js'

const transforms: Readonly<Record<Transform, (value: number) => number>> = {
  value: (value) => value,
  absolute: Math.abs,
}

export class Results implements ProofResults {
  /** Runs by point and arm, in the order of seeds. */
  private readonly runs = new Map<string, FinishedRun[]>()
  private readonly draws = new Map<number, Promise<UserBootstrap>>()
  private readonly intervals = new Map<string, Promise<Interval>>()

  constructor(
    readonly quick: boolean,
    readonly seeds: number,
    finished: readonly FinishedRun[],
  ) {
    for (const one of finished) {
      const key = keyOf(one.run.pointName, one.run.arm)
      this.runs.set(
        key,
        [...(this.runs.get(key) ?? []), one].sort((a, b) => a.run.seed - b.run.seed),
      )
    }
  }

  has(point: string, arm?: string): boolean {
    if (arm !== undefined) return this.runs.has(keyOf(point, arm))
    return [...this.runs.keys()].some((key) => key.startsWith(`${point}\n`))
  }

  /** Arms that were run at a point. */
  armsAt = (point: string): string[] =>
    [...this.runs.keys()].filter((key) => key.startsWith(`${point}\n`)).map((key) => key.slice(point.length + 1))

  /** Statistics of an arm at a point; none where it was not run. */
  namesAt = (point: string, arm: string): string[] =>
    Object.keys(this.runs.get(keyOf(point, arm))?.[0]?.statistics ?? {})

  values(point: string, arm: string, statistic: string): number[] {
    return this.statistics(point, arm, statistic).map((one) => statisticValue(one))
  }

  mean(point: string, arm: string, statistic: string, of: Transform = 'value'): Promise<Interval> {
    return this.once(`${point}\n${arm}\n\n${statistic}\n${of}`, async () => {
      const found = this.statistics(point, arm, statistic)
      const change = transforms[of]
      const bootstrap = await this.bootstrap(found.length)
      return bootstrap.interval((seed, times) => change(statisticValue(found[seed] as UserStatistic, times)))
    })
  }

  difference(point: string, arm: string, other: string, statistic: string, of: Transform = 'value'): Promise<Interval> {
    return this.once(`${point}\n${arm}\n${other}\n${statistic}\n${of}`, async () => {
      const [ours, theirs] = [arm, other].map((name) => this.statistics(point, name, statistic))
      if (ours?.length !== theirs?.length) throw unknown(`${other}, with as many seeds as ${arm}`, point)
      const change = transforms[of]
      const bootstrap = await this.bootstrap(ours?.length ?? 0)
      return bootstrap.interval(
        (seed, times) =>
          change(statisticValue(ours?.[seed] as UserStatistic, times)) -
          change(statisticValue(theirs?.[seed] as UserStatistic, times)),
      )
    })
  }

  private statistics(point: string, arm: string, statistic: string): UserStatistic[] {
    const runs = this.runs.get(keyOf(point, arm))
    if (!runs) throw unknown(`a run of '${arm}'`, point)
    return runs.map(({ statistics }) => {
      const found = statistics[statistic]
      if (found) return found
      throw unknown(`a statistic of ${Object.keys(statistics).join(', ')}`, `'${statistic}'`)
    })
  }

  private bootstrap(seeds: number): Promise<UserBootstrap> {
    const made = this.draws.get(seeds) ?? UserBootstrap.create(seeds)
    this.draws.set(seeds, made)
    return made
  }

  private once(key: string, make: () => Promise<Interval>): Promise<Interval> {
    const made = this.intervals.get(key) ?? make()
    this.intervals.set(key, made)
    return made
  }
}

const keyOf = (point: string, arm: string): string => `${point}\n${arm}`

const unknown = (expected: string, got: string) =>
  new KairosError('KAIROS_UNKNOWN_NAME', { op: 'prove', argument: 'results', expected, got })
