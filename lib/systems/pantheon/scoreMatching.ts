/**
 * Scores made like a baseline's before they are merged into a feed: s' = (s - mu) / sigma * sigma_base + mu_base. A higher
 * mean would give live rooms more exposure, a higher variance earlier places, without a better order (section 4.2).
 */
import { KairosError } from '../../core/errors.js'

/** Of what was known before, at each update: of some 1,000 requests. */
const DECAY = 0.999

/** Mean and variance of a scenario's scores: exact at first, later decaying by `decay` for each batch of requests. */
export class RunningMoments {
  private weight = 0
  private first = 0
  private second = 0

  constructor(private readonly decay = DECAY) {}

  /** Takes the scores of some requests. */
  update(scores: ArrayLike<number>): void {
    if (scores.length === 0) return
    let [first, second] = [0, 0]
    for (let i = 0; i < scores.length; i++) {
      first += scores[i] as number
      second += (scores[i] as number) ** 2
    }
    this.weight = this.decay * this.weight + scores.length
    this.first = this.decay * this.first + first
    this.second = this.decay * this.second + second
  }

  get mean(): number {
    return this.first / this.weight
  }

  get deviation(): number {
    return Math.sqrt(Math.max(this.second / this.weight - this.mean ** 2, 0))
  }

  get state(): readonly [weight: number, first: number, second: number] {
    return [this.weight, this.first, this.second]
  }

  restore([weight, first, second]: readonly [number, number, number]): void {
    this.weight = weight
    this.first = first
    this.second = second
  }
}

/** Increasing, so that the order within the scenario stays. Throws KAIROS_ARGUMENT while the scores are all alike. */
export function matched(scores: ArrayLike<number>, from: RunningMoments, to: RunningMoments): Float64Array {
  if (!(from.deviation > 0)) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'matched',
      argument: 'from',
      expected: 'moments of scores that differ',
      got: `a deviation of ${from.deviation}`,
    })
  }
  const scale = to.deviation / from.deviation
  return Float64Array.from(scores, (score) => (score - from.mean) * scale + to.mean)
}
