import { KairosError } from '../core/errors.js'
import { constant } from '../graph/leaf.js'
import { type Initializer, normal, parameter } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import {
  broadcast,
  cast,
  concat,
  divide,
  embedding,
  embeddingBag,
  less,
  maximum,
  merge,
  multiply,
  stack,
  sum,
  tableSlots,
} from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import { TargetAttention } from './targetAttention.js'

/** Ids of one feature in a table; features that name the same table share its rows. */
export interface IdFeature {
  readonly name: string
  readonly table: string
  readonly rows: number
}

/** Ids of a ragged history, or with `padded` of one with so many positions. */
export interface SequenceFeature extends IdFeature {
  readonly padded?: number
}

export interface NumberFeature {
  readonly name: string
  readonly width?: number
}

export interface FeatureEmbeddingsOptions {
  readonly ids: readonly IdFeature[]
  readonly sequences?: readonly SequenceFeature[]
  readonly numbers?: readonly NumberFeature[]
  /** Channels of a table. */
  readonly dimensions: (table: string) => number
  /** Sequence -> id feature that attends to it (`TargetAttention`); sequences without one are averaged. */
  readonly targets?: Readonly<Record<string, string>>
  /** Keep gradients as rows and update only those. Default: true. */
  readonly sparse?: boolean
  readonly initializer?: Initializer
}

type Batch = Readonly<Record<string, Tensor>>

/** Tables of one width, each read by one feature only, kept as one parameter and looked up together. */
class StackedTables {
  readonly weight: Tensor<readonly [number, number], 'float32'>

  constructor(
    readonly features: readonly IdFeature[],
    readonly channels: number,
    initializer: Initializer,
    sparse: boolean,
  ) {
    const rows = features.reduce((total, feature) => total + feature.rows, 0)
    this.weight = parameter([rows, channels], initializer, { sparse })
  }

  /** [batch, features * channels] */
  forward(batch: Batch): Loose {
    const ids = this.features.map(({ name }) => batch[name] as Tensor)
    const slots = tableSlots(
      ids,
      this.features.map(({ rows }) => rows),
    )
    return merge(embedding(this.weight as Loose, slots) as Loose, 1, 2) as Loose
  }
}

class Table {
  readonly weight: Tensor<readonly [number, number], 'float32'>

  constructor(rows: number, channels: number, initializer: Initializer, sparse: boolean) {
    this.weight = parameter([rows, channels], initializer, { sparse })
  }
}

/**
 * Rows of features as one vector each, the input of a ranking model: [batch, width].
 *
 *     tables that one id feature alone reads, by width | other id features | sequences | numbers
 *
 * within each part in the order given. Tables of one width that nothing else reads are kept as one parameter,
 * `stacked.width16.weight`, and looked up together;  a table that a sequence
 * or several features read, or whose row attends to a sequence, is `tables.<name>.weight`.
 */
export class FeatureEmbeddings {
  readonly stacked: Readonly<Record<string, StackedTables>>
  readonly tables: Readonly<Record<string, Table>>
  readonly attention: Readonly<Record<string, TargetAttention<number, number, number>>>
  /** Channels of the result. */
  readonly width: number
  private readonly shared: readonly IdFeature[]
  private readonly sequences: readonly SequenceFeature[]
  private readonly numbers: readonly NumberFeature[]
  private readonly targets: Readonly<Record<string, string>>

  constructor(options: FeatureEmbeddingsOptions) {
    const { ids, sequences = [], numbers = [], targets = {}, sparse = true, initializer = normal(0.01) } = options
    const rows = rowsOf([...ids, ...sequences])
    const readers = (table: string) => [...ids, ...sequences].filter((feature) => feature.table === table).length
    const asks = new Set(Object.values(targets))
    const isAlone = ({ name, table }: IdFeature) => readers(table) === 1 && !asks.has(name)
    const alone = ids.filter(isAlone)
    this.shared = ids.filter((feature) => !isAlone(feature))
    this.sequences = sequences
    this.numbers = numbers
    this.targets = targets
    const width = (table: string) => options.dimensions(table)

    const widths = [...new Set(alone.map(({ table }) => width(table)))]
    this.stacked = Object.fromEntries(
      widths.map((channels) => {
        const features = alone.filter(({ table }) => width(table) === channels)
        return [`width${channels}`, new StackedTables(features, channels, initializer, sparse)]
      }),
    )
    const names = new Set([...this.shared, ...sequences].map(({ table }) => table))
    this.tables = Object.fromEntries(
      [...names].map((name) => [name, new Table(rows.get(name) as number, width(name), initializer, sparse)]),
    )
    this.attention = Object.fromEntries(
      Object.entries(targets).map(([sequence, target]) => {
        const from = find(sequences, sequence, 'targets')
        const to = find(ids, target, `targets.${sequence}`)
        const channels = { target: width(to.table), history: width(from.table), channels: width(to.table) }
        return [sequence, new TargetAttention(channels)]
      }),
    )
    const attended = (sequence: SequenceFeature) => {
      const target = targets[sequence.name]
      return target === undefined ? width(sequence.table) : width(find(ids, target, 'targets').table)
    }
    this.width =
      ids.reduce((total, { table }) => total + width(table), 0) +
      sequences.reduce((total, sequence) => total + attended(sequence), 0) +
      numbers.reduce((total, number) => total + (number.width ?? 1), 0)
  }

  /** Fields as `defineSchema` names them -> [batch, width]. A run fails with KAIROS_ID_RANGE on an id outside its table. */
  forward(batch: Batch): Tensor<readonly ['batch', number], 'float32'> {
    const parts: Loose[] = [
      ...Object.values(this.stacked).map((tables) => tables.forward(batch)),
      ...this.shared.map((feature) => this.rows(feature, batch[feature.name] as Tensor)),
      ...this.sequences.map((sequence) => this.history(sequence, batch)),
    ]
    const singles = this.numbers.filter(({ width }) => width === undefined).map(({ name }) => batch[name] as Loose)
    if (singles.length > 0) parts.push(stack(singles as never, 1 as never) as Loose)
    for (const { name, width } of this.numbers) if (width !== undefined) parts.push(batch[name] as Loose)
    return (parts.length === 1 ? parts[0] : concat(parts as never, 1 as never)) as never
  }

  private rows({ table }: IdFeature, ids: Tensor): Loose {
    return embedding((this.tables[table] as Table).weight as Loose, ids as Loose) as Loose
  }

  private history(sequence: SequenceFeature, batch: Batch): Loose {
    const { name, padded } = sequence
    const attention = this.attention[name]
    if (padded !== undefined) {
      const items = this.rows(sequence, batch[name] as Tensor)
      const lengths = batch[`${name}.length`] as Loose
      return attention ? attention.padded(this.targetOf(name, batch), items, lengths) : meanOf(items, lengths, padded)
    }
    const [values, offsets] = [batch[`${name}.values`] as Loose, batch[`${name}.offsets`] as Loose]
    if (attention) return attention.ragged(this.targetOf(name, batch), this.rows(sequence, values), offsets) as Loose
    const { weight } = this.tables[sequence.table] as Table
    return embeddingBag(weight as Loose, values, offsets, { mode: 'mean' }) as Loose
  }

  /** The rows of the feature that asks. */
  private targetOf(sequence: string, batch: Batch): Loose {
    const feature = this.shared.find(({ name }) => name === this.targets[sequence]) as IdFeature
    return this.rows(feature, batch[feature.name] as Tensor)
  }
}

/** Rows of each table: what all its features agree on. */
function rowsOf(features: readonly IdFeature[]): ReadonlyMap<string, number> {
  const rows = new Map<string, number>()
  for (const feature of features) {
    const known = rows.get(feature.table) ?? feature.rows
    if (known !== feature.rows) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'FeatureEmbeddings',
        argument: feature.name,
        expected: `${known} rows, as the other features of table '${feature.table}'`,
        got: `${feature.rows}`,
      })
    }
    rows.set(feature.table, known)
  }
  return rows
}

function find<F extends IdFeature>(features: readonly F[], name: string, argument: string): F {
  const found = features.find((feature) => feature.name === name)
  if (found) return found
  throw new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'FeatureEmbeddings',
    argument,
    expected: `one of ${features.map((feature) => feature.name).join(', ') || 'no features'}`,
    got: `'${name}'`,
  })
}

/** items[batch, time, channels] averaged over the first `lengths[batch]`; 0 for an empty history. */
function meanOf(items: Loose, lengths: Loose, time: number): Loose {
  const [batch, , channels] = items.shape
  const positions = constant(
    Int32Array.from({ length: time }, (_, position) => position),
    [time],
  )
  const present = less(broadcast(positions as Loose, 0, [batch]) as Loose, broadcast(lengths, 1, [time]) as Loose)
  const mask = broadcast(cast(present as Loose, 'float32') as Loose, 2, [channels]) as Loose
  const count = maximum(cast(lengths, 'float32') as Loose, 1) as Loose
  return divide(sum(multiply(items, mask) as Loose, 1) as Loose, broadcast(count, 1, [channels]) as Loose) as Loose
}
