import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { constant } from '../graph/leaf.js'
import { normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { add, bandMix, batchMatmul, broadcast, multiply, slice, square, subtract } from '../ops/index.js'
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
 */
export class FrequencyLayer<Time extends number, Channels extends number> {
  readonly beta: Tensor<readonly [Channels], 'float32'>
  private readonly lowOfLast: Tensor
  private readonly time: Time
  private readonly cutoff: number

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
    this.lowOfLast = constant(lowPassRow(time, cutoff, time - 1), [1, time])
    this.time = time
    this.cutoff = cutoff
  }

  /** x[batch, time, channels] -> the same shape. */
  forward<B extends Dim>(
    x: Tensor<readonly [B, Time, Channels], 'float32'>,
  ): Tensor<readonly [B, Time, Channels], 'float32'> {
    return bandMix(x as Loose, square(this.beta) as Loose, { cutoff: this.cutoff }) as Loose
  }

  /** The last position of `forward` alone: x[batch, time, channels] -> [batch, 1, channels], without a transform. */
  last<B extends Dim>(
    x: Tensor<readonly [B, Time, Channels], 'float32'>,
  ): Tensor<readonly [B, 1, Channels], 'float32'> {
    const [batch] = x.shape
    const low = batchMatmul(broadcast(this.lowOfLast as Loose, 0, [batch]) as Loose, x as Loose) as Loose
    const high = subtract(slice(x as Loose, 1, this.time - 1, 1) as Loose, low) as Loose
    const scale = broadcast(square(this.beta) as Loose, 0, [batch, 1]) as Loose
    return add(low, multiply(high, scale) as Loose) as Loose
  }
}

/** What each position counts in the low band of one: the circular filter whose bins below the cutoff are 1. */
function lowPassRow(time: number, cutoff: number, position: number): Float32Array {
  return Float32Array.from({ length: time }, (_, t) => {
    let sum = 0
    for (let k = 0; k < cutoff; k++) {
      // Every bin stands for itself and its mirror image, save the first and, of an even length, the middle one.
      const count = k === 0 || 2 * k === time ? 1 : 2
      sum += count * Math.cos((2 * Math.PI * k * (position - t)) / time)
    }
    return sum / time
  })
}
