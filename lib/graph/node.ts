/**
 * Nodes and tensors: what tracing builds.
 *
 * A node is an op applied to values; a value is one result of a node. Both never change after they are made, so passes
 * share them freely and build new ones. A tensor is a value with a typed shape: what users hold.
 */

import type { Dim, Shape } from '../core/dim.js'
import type { ArrayOf, DType } from '../core/dtype.js'
import { Scoped } from '../core/scoped.js'
import type { Store } from '../runtime/index.js'
import type { OpDefinition } from './defineOp.js'

export interface TensorSpec {
  readonly dtype: DType
  readonly shape: Shape
}

export type AttributeValue = boolean | number | string | readonly number[] | readonly Dim[]
export type Attributes = Readonly<Record<string, AttributeValue>>

/** Where a leaf's contents come from. */
export type Leaf =
  /** A feed of the run, by name; `otherwise` feeds a number that was left out. */
  | { readonly kind: 'input'; readonly name: string; readonly otherwise?: number }
  /** A named entry of a store given to the run. */
  | { readonly kind: 'state'; readonly store: StoreSlot; readonly variable: Variable }
  /** Literal contents, kept in the program file. */
  | { readonly kind: 'constant'; readonly data: Float32Array | Int32Array | Uint8Array }

export type StoreSlot = 'parameters' | 'optimizer' | 'state'

/** A named thing that outlives runs. Its name is given by where it stands in the model. */
export interface Variable {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Fills a fresh store's entry. `name` seeds it, so equal names start equal. */
  readonly initialize: (name: string, seed: number) => Float32Array | Int32Array | Uint8Array
  /** The same piece by piece: each call fills the elements that follow. Tables too large for one array start so. */
  readonly pieces?: (name: string, seed: number) => (values: Float32Array) => void
  /** Starts as zeros, which cost no memory before they are written. */
  readonly zeros?: boolean
  readonly trainable: boolean
  /** Its gradient is kept as the rows that a batch looked up, and only those are updated. */
  readonly sparse?: boolean
}

export interface Node {
  readonly id: number
  readonly op: OpDefinition | null
  readonly leaf: Leaf | null
  readonly inputs: readonly Value[]
  readonly attributes: Attributes
  readonly outputs: readonly TensorSpec[]
  /** `file:line` of the user's call that built it. */
  readonly source: string
}

export interface Value {
  readonly node: Node
  readonly index: number
}

let nextId = 1

/** Ids only order nodes for printing and tie-breaking; nothing else may depend on them. */
export function makeNode(fields: Omit<Node, 'id'>): Node {
  // Last, since `fields` may be another node with some fields replaced.
  return { ...fields, id: nextId++ }
}

export const specOf = (value: Value): TensorSpec => value.node.outputs[value.index] as TensorSpec

/** What identifies a value: two values are the same when node and index are. */
export const valueKey = (value: Value): string => `${value.node.id}:${value.index}`

/**
 * A lazy, typed tensor. `S` is a tuple of dims: a literal size, a literal name that gets its size when a step runs, or
 * open (`number`, `string`), checked only while tracing.
 */
export interface Tensor<S extends Shape = Shape, D extends DType = DType> {
  readonly shape: S
  readonly dtype: D
  readonly value: Value
  /** Compiles and runs what this tensor needs; give `stores` where it depends on parameters or state. */
  data(stores?: Stores): Promise<ArrayOf<D>>
}

/** Handles by store slot, as `runner.ts` takes them. */
type Stores = Partial<Readonly<Record<StoreSlot, Store>>>

export function tensorOf<S extends Shape = Shape, D extends DType = DType>(value: Value): Tensor<S, D> {
  const { shape, dtype } = specOf(value)
  return new LazyTensor(value, shape as S, dtype as D)
}

class LazyTensor<S extends Shape, D extends DType> implements Tensor<S, D> {
  constructor(
    readonly value: Value,
    readonly shape: S,
    readonly dtype: D,
  ) {}

  data(stores?: Stores): Promise<ArrayOf<D>> {
    return computeData(this as Tensor, stores) as Promise<ArrayOf<D>>
  }
}

let computeData: (tensor: Tensor, stores?: Stores) => Promise<ArrayOf<DType>>

/** data.ts stands above this file, and hands itself in. */
export function installData(compute: typeof computeData): void {
  computeData = compute
}

const inheritedSource = new Scoped<string | null>(null)

/** Nodes made by `build` belong to the line given: what a pass adds on behalf of a node stands where that node stands. */
export const withSource = <T>(source: string, build: () => T): T => inheritedSource.run(source, build)

/** The user's frame: first line on the stack that is not inside Kairos' own graph, ops or layers. */
export function callSite(): string {
  if (inheritedSource.current !== null) return inheritedSource.current
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 24
  const stack = new Error().stack ?? ''
  Error.stackTraceLimit = limit
  for (const line of stack.split('\n').slice(2)) {
    if (INSIDE.test(line)) continue
    const match = /\(?(?:file:\/\/)?([^()\s]+:\d+):\d+\)?$/.exec(line.trim())
    if (match?.[1]) return match[1].split('/').slice(-2).join('/')
  }
  return 'unknown'
}

const INSIDE = /\/(lib|dist)\/(core|graph|ops|nn|losses|optim)\/|node:internal/
