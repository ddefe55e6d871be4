import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { constant } from '../graph/leaf.js'
import { normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { add, broadcast, frequencyFilter, multiply, square } from '../ops/index.js'
import type { Loose } from '../ops/support.js'

export interface FrequencyLayerOptions<Time extends number, Channels extends number> {
  readonly time: Time
  readonly channels: Channels
  /** Frequencies below this bin are the low band. */
  readonly cutoff: number
}

/**
 * Splits a sequence into a low and a high band and rescales the high one: low + beta^2 high, with one beta per channel
 * (Shin et al. 2024, BSARec, equations 9 to 11).
 *
 * Both bands come from one filter: bins below the cutoff pass, the others are multiplied by beta squared.
 */
export class FrequencyLayer<Time extends number, Channels extends number> {
  readonly beta: Tensor<readonly [Channels], 'float32'>
  private readonly low: Tensor
  private readonly high: Tensor

  constructor({ time, channels, cutoff }: FrequencyLayerOptions<Time, Channels>) {
    const bins = Math.floor(time / 2) + 1
    if (!Number.isInteger(cutoff) || cutoff < 1 || cutoff > bins) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'FrequencyLayer',
        argument: 'cutoff',
        expected: `a whole number in [1, ${bins}] for ${time} positions`,
        got: `${cutoff}`,
      })
    }
    this.beta = parameter([channels], normal(1))
    const real = (isHigh: boolean) => (i: number) => {
      const bin = Math.floor(i / (2 * channels))
      return i % 2 === 0 && bin >= cutoff === isHigh ? 1 : 0
    }
    const band = (isHigh: boolean) =>
      constant(
        Float32Array.from({ length: bins * channels * 2 }, (_, i) => real(isHigh)(i)),
        [bins, channels, 2],
      )
    this.low = band(false)
    this.high = band(true)
  }

  /** x[batch, time, channels] -> the same shape. */
  forward<B extends Dim>(
    x: Tensor<readonly [B, Time, Channels], 'float32'>,
  ): Tensor<readonly [B, Time, Channels], 'float32'> {
    const [bins] = this.high.shape
    const scale = broadcast(broadcast(square(this.beta) as Loose, 1, [2]) as Loose, 0, [bins as number])
    const filter = add(this.low as Loose, multiply(this.high as Loose, scale as Loose) as Loose)
    return frequencyFilter(x as Loose, filter as Loose) as Loose
  }
}
