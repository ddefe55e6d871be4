/**
 * What FARM reads: acts of both domains as vectors, the candidate, and what is known of user and request.
 *
 *     v_t = W_in [ e(item) ; e(author) ; ... ] + sum of e(behaviour) + e(position)        x_i = W_tgt [ e(item) ; ... ]
 *
 * Sequences belong to a domain by how their names begin: `videoItem` or `video_item` is the field `item` of short video.
 * A field that the candidate has too shares its table.
 */
import type { Dim } from '../../core/dim.js'
import { KairosError } from '../../core/errors.js'
import { constant } from '../../graph/leaf.js'
import { fanInUniform, normal, parameter } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { type FeatureEmbeddings, Linear, type PackedSequences, packedRows, placesOf } from '../../nn/index.js'
import {
  add,
  broadcast,
  concat,
  embedding,
  full,
  matmul,
  maximum,
  minimum,
  slice,
  stack,
  subtract,
} from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { embedFeatures } from '../rankingFeatures.js'
import type { FeatureBatch, FeatureInput } from '../system.js'
import type { FarmConfig } from './config.js'

type SequenceInput = Extract<FeatureInput, { kind: 'sequence' }>
type IdInput = Extract<FeatureInput, { kind: 'id' }>
export type Acts = PackedSequences<number>
export type DomainName = 'video' | 'live' | 'rare'

/** Deviation of embeddings at the start. */
const DEVIATION = 0.1
/** That of behaviours: what W_in makes of known vectors of deviation 1 has about as much. */
const BEHAVIOUR_DEVIATION = 0.3

/** e(id): a learned row, and beside it what is known of the id. */
class Table {
  readonly weight: Tensor<readonly [number, number], 'float32'>
  /** Channels of both. */
  readonly width: number
  private readonly content: Tensor | null

  constructor({ rows, content }: Pick<IdInput, 'rows' | 'content'>, channels: number, sparse: boolean) {
    this.weight = parameter([rows, channels], normal(DEVIATION), { sparse })
    this.content = content ? constant(content.values, [rows, content.width]) : null
    this.width = channels + (content?.width ?? 0)
  }

  lookUp(ids: Loose): Loose[] {
    return [this.weight, ...(this.content ? [this.content] : [])].map(
      (table) => embedding(table as Loose, ids) as Loose,
    )
  }
}

/**
 * What was done in an act, one vector for each behaviour, as large from the start as the rest of the act, beside
 * which a rare one would else not stand out. An act has one of them, or several as the bits of its id.
 */
class Behaviours {
  readonly weight: Tensor<readonly [number, number], 'float32'>
  private readonly bits: Tensor | null

  constructor(rows: number, channels: number, areBits: boolean) {
    const count = areBits ? Math.ceil(Math.log2(rows)) : rows
    this.weight = parameter([count, channels], normal(BEHAVIOUR_DEVIATION))
    const multiHot = Float32Array.from({ length: rows * count }, (_, i) => (Math.floor(i / count) >> (i % count)) & 1)
    this.bits = areBits ? constant(multiHot, [rows, count]) : null
  }

  /** ids[packed] -> [packed, channels] */
  forward(ids: Loose): Loose {
    const table = this.bits ? matmul(this.bits as Loose, this.weight as Loose) : this.weight
    return embedding(table as Loose, ids) as Loose
  }
}

class ActEmbedding {
  readonly project: Linear<number, number>
  readonly positions: Tensor<readonly [number, number], 'float32'>

  constructor(
    readonly fields: readonly { readonly feature: SequenceInput; readonly table: string }[],
    readonly behaviour: SequenceInput | undefined,
    readonly time: number,
    readonly symbol: string,
    width: number,
    { dimensions }: FarmConfig,
  ) {
    this.project = linearOf(width, dimensions)
    this.positions = parameter([time, dimensions], normal(0.02))
  }
}

export class FarmInputs {
  readonly tables: Readonly<Record<string, Table>>
  readonly behaviours: Behaviours | null
  readonly domains: Readonly<Partial<Record<DomainName, ActEmbedding>>>
  readonly target: Linear<number, number>
  /** Features of user and request. */
  readonly context: FeatureEmbeddings | null
  private readonly candidateFields: readonly IdInput[]

  constructor(features: readonly FeatureInput[], config: FarmConfig) {
    const { candidate, dimensions, embeddingDimensions, sparse } = config
    const isCandidate = ({ name }: FeatureInput) => candidate.includes(name)
    const ids = features.filter((feature): feature is IdInput => feature.kind === 'id')
    const own = ids.filter(isCandidate)
    if (own.length === 0) throw missing('candidate', `some of ${listed(ids)}`, candidate.join(', '))
    const context = features.filter((feature) => feature.kind !== 'sequence' && !isCandidate(feature))

    const tables: Record<string, Table> = {}
    const tableOf = (name: string, ids: Pick<IdInput, 'rows' | 'content'>): string => {
      tables[name] ??= new Table(ids, embeddingDimensions, sparse)
      return name
    }
    const widthOf = (fields: readonly { readonly table: string }[]) =>
      fields.reduce((sum, { table }) => sum + (tables[table] as Table).width, 0)
    for (const input of own) tableOf(input.table, input)
    const domain = (name: DomainName, prefix: string | undefined, time: number): ActEmbedding | null => {
      const found = features.flatMap((feature) => {
        const field = feature.kind === 'sequence' && prefix !== undefined ? fieldOf(feature.name, prefix) : null
        return field === null ? [] : [{ feature: feature as SequenceInput, field }]
      })
      const [first] = found
      if (!first) return null
      const fields = found.flatMap(({ feature, field }) => {
        if (field === BEHAVIOUR) return []
        const shared = own.find((each) => fieldOf(each.name, '') === field && each.rows === feature.rows)
        return [{ feature, table: tableOf(shared?.table ?? feature.table, shared ?? { rows: feature.rows }) }]
      })
      const behaviour = config.behaviour ? found.find(({ field }) => field === BEHAVIOUR)?.feature : undefined
      return new ActEmbedding(fields, behaviour, first.feature.padded ?? time, `${name}_acts`, widthOf(fields), config)
    }
    const { videoLength, liveLength } = config
    const live = domain('live', config.live, liveLength)
    if (!live) throw missing('live', `sequences whose names begin with '${config.live}'`, 'none')
    const video = config.domains === 'both' ? domain('video', config.video, videoLength) : null
    if (config.domains === 'both' && !video)
      throw missing('video', `sequences whose names begin with '${config.video}'`, 'none')
    const rare = domain('rare', config.rare, videoLength)

    this.domains = { live, ...(video ? { video } : {}), ...(rare ? { rare } : {}) }
    this.tables = tables
    const acting = Object.values(this.domains).flatMap(({ behaviour }) => behaviour ?? [])
    const codes = Math.max(0, ...acting.map(({ rows }) => rows))
    this.behaviours = codes > 0 ? new Behaviours(codes, dimensions, config.behaviourBits) : null
    this.candidateFields = own
    this.target = linearOf(widthOf(own), dimensions)
    const settings = { dimensions: embeddingDimensions, tableDimensions: {}, targets: {}, sparse }
    this.context = context.length > 0 ? embedFeatures(context, settings, normal(DEVIATION)) : null
  }

  /** x_i, [batch, d]. */
  candidate(batch: FeatureBatch): Loose {
    return this.target.forward(this.lookUp(this.candidateFields, ({ name }) => batch[name] as Loose)) as Loose
  }

  /** The acts of a domain, oldest first. */
  acts(name: DomainName, batch: FeatureBatch): Acts {
    const domain = this.domains[name] as ActEmbedding
    const { fields, behaviour, time, symbol } = domain
    const first = (fields[0]?.feature ?? behaviour) as SequenceInput
    const { idsOf, recency, places } = placed(first, batch, time, symbol)
    const ids = this.lookUp(fields, ({ feature }) => idsOf(feature.name))
    const where = embedding(domain.positions as Loose, recency as Loose) as Loose
    const acts = add(domain.project.forward(ids) as Loose, where) as Loose
    const done = behaviour && this.behaviours?.forward(idsOf(behaviour.name))
    return { ...places, rows: (done ? add(acts, done) : acts) as Acts['rows'] }
  }

  /** Rows of the tables side by side: [..., fields * channels]. */
  private lookUp<F extends { readonly table: string }>(fields: readonly F[], idsOf: (field: F) => Loose): Loose {
    const rows = fields.flatMap((field) => (this.tables[field.table] as Table).lookUp(idsOf(field)))
    return (rows.length === 1 ? rows[0] : concat(rows as never, 1 as never)) as Loose
  }
}

/** Where acts stand, how long ago each was (0: the latest), and what a column holds at them. */
function placed(feature: SequenceInput, batch: FeatureBatch, time: number, symbol: string) {
  const place = (from: number, step: number) =>
    constant(
      Int32Array.from({ length: time }, (_, t) => from + step * t),
      [time],
    ) as Loose
  const perPlace = (ofRow: Loose) => broadcast(ofRow, 1, [time]) as Loose
  const rangeOf = (start: Loose, end: Loose) => placesOf(stack([start, end], 1) as Loose, { time, symbol })
  if (feature.padded !== undefined) {
    const length = batch[`${feature.name}.length`] as Loose
    const rows = length.shape as [Dim]
    const places = rangeOf(full(rows, 0, 'int32') as Loose, length)
    const ago = subtract(perPlace(length), broadcast(place(1, 1), 0, rows) as Loose) as Loose
    return {
      places,
      recency: packedRows(ago, places),
      idsOf: (name: string) => packedRows(batch[name] as Loose, places),
    }
  }
  const edges = batch[`${feature.name}.offsets`] as Loose
  const [begin, end] = [0, 1].map((start) => slice(edges, 0, start, 'batch')) as [Loose, Loose]
  const kept = minimum(subtract(end, begin) as Loose, time) as Loose
  const whole = full(kept.shape, time, 'int32') as Loose
  const places = rangeOf(subtract(whole, kept) as Loose, whole)
  const at = maximum(subtract(perPlace(end), broadcast(place(time, -1), 0, kept.shape) as Loose) as Loose, 0)
  const which = packedRows(at as Loose, places)
  const recency = packedRows(broadcast(place(time - 1, -1), 0, kept.shape) as Loose, places)
  return { places, recency, idsOf: (name: string) => embedding(batch[`${name}.values`] as Loose, which) as Loose }
}

export const linearOf = (inputs: number, outputs: number): Linear<number, number> =>
  new Linear(inputs, outputs, fanInUniform(inputs), fanInUniform(inputs))

const BEHAVIOUR = 'behaviour'

/** The field of a sequence of that domain: `videoItem` and `video_item` are `item`; null for other names. */
function fieldOf(name: string, prefix: string): string | null {
  if (!name.startsWith(prefix)) return null
  const rest = name.slice(prefix.length)
  if (prefix !== '' && !/^(_|[A-Z])/.test(rest)) return null
  const field = rest.replace(/^_/, '')
  return field === '' ? null : field[0]?.toLowerCase() + field.slice(1)
}

const listed = (features: readonly FeatureInput[]) => features.map(({ name }) => name).join(', ') || 'no features'

const missing = (argument: string, expected: string, got: string) =>
  new KairosError('KAIROS_MISSING', { op: 'farm', argument, expected, got })
