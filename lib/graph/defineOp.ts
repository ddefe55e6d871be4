/**
 * One op, one place: `defineOp` takes everything Kairos must know about an op and registers it. Tests walk the
 * registry, so an op that is defined is an op that is checked.
 */

import { type Dim, formatShape, type Shape } from '../core/dim.js'
import type { DType } from '../core/dtype.js'
import { type ErrorCode, type ErrorDetails, KairosError } from '../core/errors.js'
import type { Random } from '../core/random.js'
import type { KernelName } from './kernelTable.js'
import {
  type Attributes,
  callSite,
  makeNode,
  type Node,
  specOf,
  type Tensor,
  type TensorSpec,
  tensorOf,
} from './node.js'

/** Concrete values in float64: what references compute with. Bool is 0 and 1. */
export interface ReferenceArray {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export interface GradientContext<A extends Attributes = Attributes> {
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  /** Gradient of the loss by each output; null where the loss does not depend on it. At least one is not null. */
  readonly cotangents: readonly (Tensor | null)[]
  readonly attributes: A
}

/** A call that must work, with concrete operands. */
export interface OpCase<A extends Attributes = Attributes> {
  readonly inputs: readonly ReferenceArray[]
  readonly attributes: A
  /** Operands whose gradient is compared with finite differences; default: every float32 operand. */
  readonly differentiable?: readonly number[]
  /** Allowed error relative to the largest magnitude of a result; say in a comment which value forced a looser one. */
  readonly tolerance?: number
  /** A size that the case uses for one free extent only: live-count tests turn it into a symbol. */
  readonly live?: number
}

/** A call that must be refused, and the text that the refusal must contain. */
export interface InvalidCase<A extends Attributes = Attributes> {
  readonly inputs: readonly TensorSpec[]
  readonly attributes: A
  readonly message: RegExp
}

export interface IdRule {
  readonly operand: number
  /** Ids must lie in [0, limit). */
  limit(inputs: readonly TensorSpec[]): Dim
  /** Name of an int attribute whose value is accepted besides. */
  readonly alsoAllowed?: string
  /** Position of the operand that the ids index, to name it in the error. */
  readonly table?: number
}

/** Which operands of a node are ids, and of what. */
export function idRules({ op, inputs, attributes }: Node): readonly IdRule[] {
  const ids = op?.ids ?? []
  return typeof ids === 'function' ? ids(inputs.map(specOf), attributes) : ids
}

/** Rows of a table that an op reads. */
export interface LookupRule {
  readonly ids: Tensor
  /** They pool rows in bags. */
  readonly offsets?: Tensor
  /** What the result is as rows or bags of the table, where it is kept in another shape. */
  readonly shape?: Shape
}

export interface OpDefinition<A extends Attributes = Attributes> {
  readonly name: string
  /** The native kernel that runs it, by default the one of the same name. Elementwise ops share one. */
  readonly kernel?: KernelName
  /** Results depend on each element alone: chains of such ops are fused. */
  readonly elementwise?: boolean
  /** Only the view changes: no kernel runs when the result can share its operand's memory. */
  readonly alias?: boolean
  /** The result is the operand repeated along new axes [axis, axis + count): chains read it through an index map. */
  readonly broadcasts?: boolean
  /** The result has each of the operand's elements once, in whatever order: what is checked of one holds of the other. */
  readonly permutes?: boolean
  /** Of a binary op: the constants that leave the other operand unchanged. */
  readonly neutral?: { readonly left?: number; readonly right: number }
  /** The kernel can add a bias along the last axis and apply an activation before it stores its result. */
  readonly epilogue?: {
    /** Position of the optional bias operand, and the elementwise op that adds it. */
    readonly bias: number
    readonly biasOp: string
    /** Attribute that names the activation ('none' when there is none), and the elementwise ops it may name. */
    readonly attribute: string
    readonly activations: readonly string[]
  }
  /** The result is operand 0 with some rows replaced: as a commit step it writes the variable itself, and cannot fail. */
  readonly commits?: boolean
  /**
   * The op computes a size: result `output`, an int32 of rank 0, is the count of `symbol`, at most `limit`. Its results
   * may be sized by the symbol.
   */
  readonly computes?: (
    inputs: readonly TensorSpec[],
    attributes: A,
  ) => { readonly symbol: string; readonly limit: Dim; readonly output: number }
  /** Operand 0 is read only at the rows that the ids name, so its gradient can be sparse. */
  lookup?(inputs: readonly Tensor[], attributes: A): LookupRule
  /** Operands that hold ids: fed ids are range-checked before a run, with these words. */
  readonly ids?: readonly IdRule[] | ((inputs: readonly TensorSpec[], attributes: A) => readonly IdRule[])
  /**
   * Operands `tables` are moved only at as many rows as operand `rows` has elements, or not at all where it is null: only
   * their shape counts. Of an op that commits, result i replaces rows of tables[i]. For `explain`; a lookup says it too.
   */
  readonly partial?: (
    operands: number,
    attributes: A,
  ) => { readonly tables: readonly number[]; readonly rows: number | null }
  /** Checks operands and attributes and gives the specs of the results. Throws through `refuse`. */
  infer(inputs: readonly TensorSpec[], attributes: A): readonly TensorSpec[]
  /** Written with ops, per operand; null where no gradient flows. A string says why the op has none at all. */
  readonly vjp: ((context: GradientContext<A>) => readonly (Tensor | null)[]) | string
  /** The plainest correct loops. */
  reference(inputs: readonly ReferenceArray[], attributes: A): readonly ReferenceArray[]
  /** Random valid and invalid calls. Called several times with different randomness. */
  cases(random: Random): { readonly valid: readonly OpCase<A>[]; readonly invalid: readonly InvalidCase<A>[] }
  /** Floating-point operations at concrete shapes, for `explain`; default: one per result element. */
  flops?(inputs: readonly (readonly number[])[], outputs: readonly (readonly number[])[], attributes: A): number
  /**
   * A composite: has no kernel and is replaced by these ops after differentiation. A composite may still have a
   * gradient of its own.
   */
  expand?(inputs: readonly Tensor[], attributes: A): readonly Tensor[]
}

/** A defined op: call it with tensors. The typed function that users see wraps this. */
export interface Op<A extends Attributes = Attributes> {
  readonly definition: OpDefinition<A>
  (inputs: readonly Tensor[], attributes: A): readonly Tensor[]
}

/** Every op that was defined, by name, in order. */
export const registry = new Map<string, OpDefinition>()

/** Defines and registers an op. Throws KAIROS_DUPLICATE when the name is taken. */
export function defineOp<A extends Attributes>(definition: OpDefinition<A>): Op<A> {
  if (registry.has(definition.name)) {
    throw new KairosError('KAIROS_DUPLICATE', {
      op: 'defineOp',
      argument: `op '${definition.name}'`,
      got: 'a second one',
    })
  }
  const erased = definition as unknown as OpDefinition
  registry.set(definition.name, erased)
  const apply = (inputs: readonly Tensor[], attributes: A): readonly Tensor[] => applyOp(erased, inputs, attributes)
  return Object.assign(apply, { definition })
}

/** An op's definition without its attribute type: what nodes hold. */
export const erased = <A extends Attributes>(op: Op<A>): OpDefinition => op.definition as unknown as OpDefinition

/** Adds a node for `definition` and gives its results. */
export function applyOp(
  definition: OpDefinition,
  inputs: readonly Tensor[],
  attributes: Attributes,
  source: string = callSite(),
): readonly Tensor[] {
  let outputs: readonly TensorSpec[]
  try {
    outputs = definition.infer(
      inputs.map(({ dtype, shape }) => ({ dtype, shape })),
      attributes,
    )
  } catch (error) {
    // The same refusal, now with the user's line.
    if (error instanceof KairosError && !error.details.source) {
      throw new KairosError(error.code, { ...error.details, source }, { cause: error })
    }
    throw error
  }
  const node = makeNode({
    op: definition,
    leaf: null,
    inputs: inputs.map(({ value }) => value),
    attributes,
    outputs,
    source,
  })
  return outputs.map((_, index) => tensorOf({ node, index }))
}

/** Refuses a call, in the sentence that every error of Kairos has. */
export function refuse(op: string, argument: string, expected: string, got: string, hint?: string): never {
  const details: ErrorDetails = { op, argument, expected, got, ...(hint === undefined ? {} : { hint }) }
  const code: ErrorCode = /^dtype /.test(expected) ? 'KAIROS_DTYPE' : 'KAIROS_SHAPE'
  throw new KairosError(code, details)
}

/** Refuses unless the operand has the dtype. */
export function requireDtype(op: string, argument: string, spec: TensorSpec, ...allowed: readonly DType[]): void {
  if (!allowed.includes(spec.dtype)) refuse(op, argument, `dtype ${allowed.join(' or ')}`, spec.dtype)
}

/** Refuses unless the operand's rank lies in [least, most]. */
export function requireRank(op: string, argument: string, spec: TensorSpec, least: number, most = 8): void {
  const rank = spec.shape.length
  if (rank >= least && rank <= most) return
  const wanted = least === most ? `rank ${least}` : most === 8 ? `rank ${least} or more` : `rank ${least} to ${most}`
  refuse(op, argument, wanted, `shape ${formatShape(spec.shape)}`)
}
