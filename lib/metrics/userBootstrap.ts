/**
 * Bootstrap of figures over seeds and users at once: each resample draws seeds with replacement, and inside each the
 * users of its test rows. Draws are the same for every figure, so that models which were trained on the same seeds are
 * paired, seed by seed and user by user.
 */
import { createRandom } from '../core/random.js'
import { createTimeSlice } from '../core/timeSlice.js'
import { refuse } from './accumulator.js'
import { type BootstrapOptions, type Interval, quantile } from './bootstrap.js'
import { uint8s } from './column.js'
import { USER_GROUPS } from './userStatistic.js'

export class UserBootstrap {
  private constructor(
    private readonly seeds: number,
    /** Drawn seed by resample and place, and how often each group of its users was drawn. */
    private readonly drawnSeeds: Int32Array,
    private readonly times: Uint8Array,
    private readonly confidence: number,
  ) {}

  static async create(
    seeds: number,
    { seed = 0, resamples = 1000, confidence = 0.95 }: BootstrapOptions = {},
  ): Promise<UserBootstrap> {
    if (!Number.isInteger(seeds) || seeds < 1) refuse('UserBootstrap', 'seeds', 'a positive integer', seeds)
    const random = createRandom(seed).fork('user bootstrap')
    const pause = createTimeSlice()
    const drawn = new Int32Array(resamples * seeds)
    const times = uint8s(drawn.length * USER_GROUPS)
    for (let place = 0; place < drawn.length; place++) {
      drawn[place] = random.int(seeds)
      const groups = times.subarray(place * USER_GROUPS, (place + 1) * USER_GROUPS)
      for (let i = 0; i < USER_GROUPS; i++) {
        const group = random.int(USER_GROUPS)
        groups[group] = (groups[group] as number) + 1
      }
      const due = pause()
      if (due) await due
    }
    return new UserBootstrap(seeds, drawn, times, confidence)
  }

  /**
   * Mean over seeds of a figure, and its interval. `figure(seed, times)` is that of one seed when groups of users were
   * drawn so often, without `times` as they are. Draws whose figure is NaN are left out.
   */
  async interval(figure: (seed: number, times?: ArrayLike<number>) => number): Promise<Interval> {
    const pause = createTimeSlice()
    const { seeds, drawnSeeds, times } = this
    let mean = 0
    for (let seed = 0; seed < seeds; seed++) mean += figure(seed) / seeds
    const found: number[] = []
    for (let first = 0; first < drawnSeeds.length; first += seeds) {
      let sum = 0
      for (let place = first; place < first + seeds; place++) {
        const drawn = times.subarray(place * USER_GROUPS, (place + 1) * USER_GROUPS)
        sum += figure(drawnSeeds[place] as number, drawn)
      }
      if (!Number.isNaN(sum)) found.push(sum / seeds)
      const due = pause()
      if (due) await due
    }
    const ascending = Float64Array.from(found).sort()
    const tail = (1 - this.confidence) / 2
    return { mean, low: quantile(ascending, tail), high: quantile(ascending, 1 - tail) }
  }
}
