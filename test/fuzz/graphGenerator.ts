/**
 * Random graphs over everything that the registry knows. An op joins by its own `cases`: operands of a case are taken
 * from the values that the graph already has, bent into the shape wanted, or are leaves that hold the case's numbers.
 */
import { type Dim, evaluateDim, isSymbol, type Shape, sameShape } from '../../lib/core/dim.js'
import type { Random } from '../../lib/core/random.js'
import { applyOp, type OpCase, type OpDefinition, type ReferenceArray, registry } from '../../lib/graph/defineOp.js'
import { constant, input, scalarInput } from '../../lib/graph/leaf.js'
import { parameter } from '../../lib/graph/module.js'
import * as ops from '../../lib/ops/index.js'
import { floats, ints, type Loose, toTyped, typed } from '../../lib/ops/support.js'
import { mapSizes, resized } from '../ops/harness.js'

export type Counts = Readonly<Record<string, number>>

/** Sizes that runs choose. Counts of `history` rows are those of a ragged feature. */
export const symbols = ['batch', 'items', 'history'] as const

/** A feed and what it holds at given counts. */
export interface FeedLeaf {
  readonly name: string
  contents(counts: Counts): ReferenceArray
}

/** Ops that users reach and that have a gradient; backward ops are reached through it. */
const usable = [...registry.values()].filter((op) => typeof op.vjp !== 'string' && op.name !== 'elementwise')
const elementwise = usable.filter((op) => op.elementwise)
const others = usable.filter((op) => !op.elementwise)

export const pick = <T>(random: Random, list: readonly T[]): T => list[random.int(list.length)] as T

export class GraphGenerator {
  /** Float values to draw operands from. */
  readonly pool: Loose[] = []
  readonly feeds: FeedLeaf[] = []
  /** Float leaves that gradients are asked for. */
  readonly leaves: Loose[] = []
  /** Holds every parameter, by field. */
  readonly model: Record<string, object> = {}
  /** Terms of the loss that steps gave. */
  readonly losses: Loose[] = []
  private next = 0

  constructor(readonly random: Random) {
    this.feed(floats(random, [6, 1 + random.int(9)]), ['batch'])
    this.feed(floats(random, [6, 1 + random.int(5)]), [pick(random, symbols)])
    this.parameter([1 + random.int(8), 1 + random.int(8)])
    this.scalar()
  }

  fresh(kind: string): string {
    return `${kind}${this.next++}`
  }

  chance(probability: number): boolean {
    return this.random.uniform() < probability
  }

  /** A feed that holds `base`, whose first dims are named; longer and shorter ones repeat or cut it. */
  feed(base: ReferenceArray, dims: Shape = base.shape): Loose {
    const shape = [...dims, ...base.shape.slice(dims.length)]
    return this.ragged(shape, base.dtype, (counts) => resized(base, sizesOf(shape, counts)))
  }

  ragged(shape: Shape, dtype: ReferenceArray['dtype'], contents: FeedLeaf['contents']): Loose {
    const name = this.fresh('feed')
    this.feeds.push({ name, contents })
    return this.known(input(name, shape, dtype) as Loose)
  }

  scalar(value = Math.fround(this.random.normal())): Loose {
    const name = this.fresh('scalar')
    this.feeds.push({ name, contents: () => typed('float32', [], () => value) })
    return this.known(scalarInput(name) as Loose)
  }

  parameter(shape: readonly number[], from?: ReferenceArray): Loose {
    const source = from ?? floats(this.random, shape, -0.7, 0.7)
    const tensor = parameter(shape, (values) => values.set(source.data)) as Loose
    this.model[this.fresh('parameter')] = tensor
    return this.known(tensor)
  }

  /** A table that only lookups read; kept out of the pool, since other uses of a sparse one are refused. */
  table(rows: number, channels: number, sparse: boolean): Loose {
    const source = floats(this.random, [rows, channels], -1, 1)
    const tensor = parameter([rows, channels], (values) => values.set(source.data), { sparse }) as Loose
    this.model[this.fresh('table')] = tensor
    this.leaves.push(tensor)
    return tensor
  }

  private known(tensor: Loose): Loose {
    if (tensor.dtype !== 'float32') return tensor
    this.leaves.push(tensor)
    return this.keep(tensor)
  }

  keep(tensor: Loose): Loose {
    if (tensor.dtype === 'float32' && !tensor.shape.includes(0)) this.pool.push(tensor)
    return tensor
  }

  /** A value from before, late ones more often. */
  value(): Loose {
    const { random, pool } = this
    return pool[Math.max(random.int(pool.length), random.int(pool.length))] as Loose
  }

  /** Some value in this shape. */
  shaped(shape: Shape): Loose {
    const same = this.pool.filter((tensor) => sameShape(tensor.shape, shape))
    if (same.length > 0 && this.chance(0.7)) return pick(this.random, same)
    return bent(this.value(), shape, this.random) ?? this.leaf(floats(this.random, shape.map(literal)), shape)
  }

  /** A leaf of any kind that holds `base`. */
  leaf(base: ReferenceArray, shape: Shape = base.shape): Loose {
    if (shape.some((dim) => typeof dim !== 'number')) return this.feed(base, shape)
    const kind = this.random.int(4)
    if (base.dtype === 'float32' && kind === 0) return this.parameter(base.shape, base)
    if (base.shape.length === 0 && base.dtype === 'float32' && kind === 1) return this.scalar(base.data[0])
    if (kind === 2) return constant(toTyped(base), base.shape) as unknown as Loose
    return this.feed(base)
  }

  // Steps --------------------------------------------------------------------------------------------------------

  /** An op of the registry, as one of its cases has it. */
  fromCase(): void {
    const { random } = this
    const op = this.chance(0.35) ? pick(random, elementwise) : pick(random, others)
    this.graft(op, pick(random, op.cases(random).valid))
  }

  private graft(op: OpDefinition, { inputs, attributes, live }: OpCase): void {
    const { random } = this
    // Offsets and the like are no prefix of longer ones; sizes of such cases stay.
    const symbol = live === undefined || this.chance(0.2) ? null : pick(random, ['batch', 'items'] as const)
    const named = (dims: readonly Dim[]) => dims.map((dim) => (symbol && dim === live ? symbol : dim))
    const operands = inputs.map((base) => {
      const shape = named(base.shape)
      const grafted = base.data.length > 0 && this.chance(0.75) ? this.grafted(base, shape) : null
      return grafted ?? this.leaf(base, shape)
    })
    for (const result of applyOp(op, operands, mapSizes(attributes, named))) this.keep(result as Loose)
  }

  /** A value of the pool that lies where the case's operand lies. */
  private grafted(base: ReferenceArray, shape: Shape): Loose | null {
    if (base.dtype === 'int32') return null
    const value = bent(this.value(), shape, this.random)
    if (!value) return null
    if (base.dtype === 'bool') return ops.greater(value, Math.fround(this.random.normal() / 2)) as Loose
    const [low, high] = [base.data.reduce((a, b) => Math.min(a, b)), base.data.reduce((a, b) => Math.max(a, b))]
    if (low < 0 && high > 0 && this.chance(0.6)) return value
    const unit = ops.sigmoid(value) as Loose
    return ops.add(ops.multiply(unit, Math.fround(high - low)) as Loose, Math.fround(low)) as Loose
  }

  /** Elementwise ops one after another over one shape: what fusion works on. */
  chain(): void {
    const { random } = this
    let x = this.value()
    const other = (): Loose => (this.chance(0.3) ? this.shaped([]) : this.shaped(x.shape))
    const links: readonly (() => Loose)[] = [
      () => ops.add(x, other()) as Loose,
      () => ops.subtract(x, other()) as Loose,
      () => ops.multiply(x, ops.tanh(other()) as Loose) as Loose,
      () => ops.maximum(x, other()) as Loose,
      () => ops.tanh(x) as Loose,
      () => ops.gelu(x) as Loose,
      () => ops.relu(x) as Loose,
      () => ops.silu(x) as Loose,
      () => ops.softplus(x) as Loose,
      () => ops.multiply(x, pick(random, [0.5, -1, 2, 0, 1])) as Loose,
      () => ops.add(x, pick(random, [0, 1, -0.25])) as Loose,
      () =>
        pick(random, [ops.subtract, ops.multiply, ops.add])(
          ops.full(x.shape, pick(random, [0, 1, 2])) as Loose,
          x,
        ) as Loose,
      () => ops.subtract(x, 0) as Loose,
      () => ops.divide(x, ops.add(ops.square(other()) as Loose, 1) as Loose) as Loose,
      () => ops.select(ops.less(x, other()) as Loose, x, other()) as Loose,
      () => ops.exp(ops.negate(ops.abs(x) as Loose) as Loose) as Loose,
      () => ops.sqrt(ops.add(ops.square(x) as Loose, 0.1) as Loose) as Loose,
      () =>
        ops.multiply(x, ops.cast(ops.logicalNot(ops.greaterEqual(x, other()) as Loose) as Loose, 'float32')) as Loose,
    ]
    for (let left = 2 + random.int(6); left > 0; left--) {
      x = pick(random, links)()
      if (this.chance(0.3)) this.keep(x)
    }
    this.keep(x)
  }

  /** Sums, means and maxima over some axes, also repeated again beside what they came from. */
  reduce(): void {
    const { random } = this
    const x = this.value()
    const rank = x.shape.length
    if (rank === 0) return
    const axis = random.int(rank)
    const count = 1 + random.int(rank - axis)
    // A mean or a maximum of nothing is not finite: sums only where a size may be 0.
    const reduced = x.shape.slice(axis, axis + count)
    const kinds = reduced.every((dim: Dim) => typeof dim === 'number') ? [ops.sum, ops.mean, ops.max] : [ops.sum]
    const y = this.keep((pick(random, kinds) as (x: Loose, axis: number, count: number) => Loose)(x, axis, count))
    if (this.chance(0.5)) this.keep(ops.subtract(x, ops.broadcast(y, axis, reduced) as Loose) as Loose)
  }

  /** Slices put together again, transposes, pads. */
  move(): void {
    const { random } = this
    const x = this.value()
    const rank = x.shape.length
    if (rank === 0) return
    const axis = random.int(rank)
    const size = x.shape[axis] as Dim
    const moves: (() => Loose)[] = [
      () => ops.transpose(x, random.shuffle([...x.shape.keys()]) as number[]) as Loose,
      () => ops.concat([this.shaped(x.shape.with(axis, 2)), x] as never, axis as never) as Loose,
      () => ops.stack([x, this.shaped(x.shape), x] as never, random.int(rank + 1) as never) as Loose,
    ]
    if (typeof size === 'number') {
      const start = random.int(size)
      const length = 1 + random.int(size - start)
      moves.push(
        () => ops.slice(x, axis, start, length) as Loose,
        () => ops.pad(x, axis, start, size + start + random.int(3)) as Loose,
        () =>
          ops.concat(
            [ops.slice(x, axis, start, size - start), this.shaped(x.shape), ops.slice(x, axis, 0, length)] as never,
            axis as never,
          ) as Loose,
      )
    } else moves.push(() => ops.pad(x, axis, random.int(3), `${size}+${2 + random.int(3)}`) as Loose)
    const moved = pick(random, moves)()
    // Sizes with more than one symbol would grow without bound.
    if (moved.shape.every((dim: Dim) => typeof dim === 'number' || isSymbol(dim))) this.keep(moved)
    else if (moved.shape.length <= 3) this.losses.push(this.small(moved))
  }

  /** Ids of a batch, [batch, count], in [0, limit). */
  ids(limit: number, count: number): Loose {
    return this.feed(ints(this.random, [13, count], 0, limit), ['batch'])
  }

  /** Values and offsets of a ragged feature; rows of all of them together are `history`. */
  bags(limit: number): { readonly ids: Loose; readonly offsets: Loose } {
    const seed = this.random.fork(this.fresh('bags'))
    const ids = this.feed(ints(this.random, [29], 0, limit), ['history'])
    const offsets = this.ragged(['batch+1'], 'int32', ({ batch = 0, history = 0 }) => {
      const draw = seed.fork(batch)
      const cuts = Array.from({ length: Math.max(batch - 1, 0) }, () => draw.int(history + 1)).sort((a, b) => a - b)
      return typed('int32', [batch + 1], (at) => (at === 0 ? 0 : at === batch ? history : (cuts[at - 1] as number)))
    })
    return { ids, offsets }
  }

  /** The seed and step that dropout and sampling read. */
  key(): Loose {
    return this.feed(ints(this.random, [2], 0, 1000))
  }

  /** A number that stays of ordinary size, whatever goes in. */
  small(x: Loose): Loose {
    const all = (y: Loose): Loose => (y.shape.length === 0 ? y : (ops.sum(y) as Loose))
    return this.chance(0.5)
      ? all(ops.tanh(x) as Loose)
      : (ops.multiply(all(ops.multiply(x, x) as Loose), 0.01) as Loose)
  }
}

const literal = (dim: Dim): number => (typeof dim === 'number' ? dim : 6)

export const sizesOf = (shape: Shape, counts: Counts): number[] => shape.map((dim) => evaluateDim(dim, counts))

const product = (sizes: readonly number[]): number => sizes.reduce((left, right) => left * right, 1)

/**
 * A value in another shape: symbols that the shape lacks are summed away, those that the value lacks are repeated, and
 * the rest is cut or filled up. Null for shapes with two symbols, with sums of them, or without elements.
 */
export function bent(value: Loose, shape: Shape, random: Random): Loose | null {
  if (sameShape(value.shape, shape)) return value
  const wanted = shape.filter((dim) => typeof dim !== 'number')
  const symbol = wanted[0]
  if (wanted.length > 1 || shape.includes(0) || (symbol !== undefined && !isSymbol(symbol))) return null
  let x = value
  // Last first, so that axes before keep their places.
  for (let axis = x.shape.length - 1; axis >= 0; axis--) {
    const dim = x.shape[axis] as Dim
    const kept = dim === symbol && x.shape.indexOf(dim) === axis
    if (typeof dim !== 'number' && !kept) x = ops.multiply(ops.sum(x, axis) as Loose, 0.2) as Loose
  }
  const from = symbol === undefined ? -1 : x.shape.indexOf(symbol)
  const lead: Shape = from >= 0 ? [symbol as string] : []
  if (from > 0)
    x = ops.transpose(
      x,
      [from, ...x.shape.keys()].filter((axis, at) => at === 0 || axis !== from),
    ) as Loose
  const sizes = shape.filter((dim) => typeof dim === 'number')
  const [have, need] = [product(x.shape.slice(lead.length) as number[]), product(sizes)]
  x = ops.reshape(x, [...lead, have]) as Loose
  if (have > need) x = ops.slice(x, lead.length, random.int(have - need + 1), need) as Loose
  if (have < need && random.int(2) === 0) x = ops.pad(x, lead.length, random.int(need - have + 1), need) as Loose
  else if (have < need) {
    const times = Math.ceil(need / have)
    const repeated = ops.reshape(ops.broadcast(x, lead.length, [times]) as Loose, [...lead, times * have]) as Loose
    // Rows of one number throughout are where norms lose all digits.
    const uneven = constant(toTyped(floats(random, [need], 0.5, 1.5)) as Float32Array, [need]) as Loose
    const weights = lead.length > 0 ? (ops.broadcast(uneven, 0, lead) as Loose) : uneven
    x = ops.multiply(ops.slice(repeated, lead.length, 0, need) as Loose, weights) as Loose
  }
  x = ops.reshape(x, [...lead, ...sizes]) as Loose
  if (symbol === undefined) return x
  const to = shape.indexOf(symbol)
  if (from < 0) return ops.broadcast(x, to, [symbol]) as Loose
  const rest = Array.from({ length: sizes.length }, (_, axis) => axis + 1)
  return to === 0 ? x : (ops.transpose(x, rest.toSpliced(to, 0, 0)) as Loose)
}
