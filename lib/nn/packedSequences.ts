import type { Dim } from '../core/dim.js'
import type { Tensor } from '../graph/node.js'
import { merge, type Packing, pack, packPadded, split, unpack } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { PackedRows } from './selfAttention.js'

/** Sequences of a batch without their padding, and where they lie in the padded form. */
export interface PackedSequences<Channels extends number> {
  readonly rows: PackedRows<Channels>
  readonly packing: Packing
  /** Positions [start, end) of each sequence in the padded form: [batch, 2]. */
  readonly range: Tensor<readonly [Dim, 2], 'int32'>
}

/** Where the sequences of a batch lie, before they have rows. `symbol` names the number of rows: one name per graph. */
export function placesOf(
  range: Tensor<readonly [Dim, 2], 'int32'>,
  options: { readonly time: number; readonly symbol: string },
): Pick<PackedSequences<number>, 'packing' | 'range'> {
  return { range, packing: packPadded(range, options) }
}

/** x[batch, time, ...] -> [packed, ...]: what of a padded batch lies inside the sequences. */
export const packedRows = (x: Tensor, { packing }: Pick<PackedSequences<number>, 'packing'>): Loose =>
  pack(merge(x as Loose, 0, 2) as Loose, packing)

/** rows[packed, channels] -> [batch, time, channels], zeros where there is padding. */
export const paddedRows = (
  rows: Tensor,
  { packing, range }: Pick<PackedSequences<number>, 'packing' | 'range'>,
): Loose => split(unpack(rows, packing), 0, [range.shape[0], packing.time] as never) as Loose
