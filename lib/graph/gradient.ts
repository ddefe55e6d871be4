/** Gradients of parameters: whole, or the rows of a table that were looked up, for one loss or several. */
import { addDims, type Dim, multiplyDims } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { type Lookup, opNamed, variableName, variableOf } from './autodiff.js'
import { mostElements } from './computed.js'
import { applyOp } from './defineOp.js'
import { scalar } from './leaf.js'
import { type Attributes, specOf, type Tensor, type Value, valueKey } from './node.js'
import type { ParameterGroup } from './update.js'

/** The gradient of a parameter: whole, or the rows of a table that were looked up. */
export type Gradient =
  | { readonly kind: 'dense'; readonly parameter: Tensor; readonly values: Tensor }
  | { readonly kind: 'sparse'; readonly parameter: Tensor; readonly values: Tensor; readonly slots: Tensor }

export interface GroupGradients {
  readonly group: ParameterGroup<Value>
  readonly gradients: readonly Gradient[]
}

export const op = (name: string, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor =>
  applyOp(opNamed(name), inputs, attributes)[0] as Tensor

/** A lookup and what arrives there from each of several losses. */
interface SharedLookup extends Omit<Lookup, 'dy'> {
  readonly dys: readonly Tensor[]
}

/** Rows of a table, each once: `rows` has one tensor per loss, at the same slots. */
export interface SparseRows {
  readonly slots: Tensor
  readonly rows: readonly Tensor[]
}

/** All lookups of a table as one sparse gradient. */
export function sparseGradient(parameter: Tensor, lookups: readonly Lookup[], symbol: string): Gradient {
  const { slots, rows } = rowsOf(parameter, lookups.map(alone), symbol)
  return { kind: 'sparse', parameter, slots, values: rows[0] as Tensor }
}

const alone = ({ dy, ...lookup }: Lookup): SharedLookup => ({ ...lookup, dys: [dy] })

/** Gradients of one table by several losses, over one sort of all ids that any of them looked up. */
export function sparseGradients(
  parameter: Tensor,
  perLoss: readonly (readonly Lookup[])[],
  symbol: string,
): SparseRows {
  const shared = new Map<string, { lookup: Lookup; dys: (Tensor | null)[] }>()
  perLoss.forEach((lookups, loss) => {
    for (const lookup of lookups) {
      const key = lookupKey(lookup)
      const known = shared.get(key) ?? { lookup, dys: perLoss.map(() => null) }
      const before = known.dys[loss]
      known.dys[loss] = before ? op('add', [before, lookup.dy]) : lookup.dy
      shared.set(key, known)
    }
  })
  const lookups = [...shared.values()].map(
    ({ lookup: { dy, ...lookup }, dys }): SharedLookup => ({
      ...lookup,
      dys: dys.map((arriving) => arriving ?? zerosLike(dy)),
    }),
  )
  return rowsOf(parameter, lookups, symbol)
}

const lookupKey = ({ ids, offsets, attributes }: Lookup): string =>
  [valueKey(ids.value), offsets ? valueKey(offsets.value) : '', JSON.stringify(attributes)].join(' ')

/** The gradient by a loss that a value does not reach. */
export function zerosLike({ value }: Tensor): Tensor {
  const { shape } = specOf(value)
  return shape.length === 0 ? zero() : op('broadcast', [zero()], { axis: 0, count: shape.length, dims: shape })
}

const zero = () => scalar(0) as Tensor

function rowsOf(parameter: Tensor, lookups: readonly SharedLookup[], symbol: string): SparseRows {
  const [first] = lookups as readonly [SharedLookup]
  const one = lookups.length === 1 ? first : joined(parameter, lookups)
  if (one) return coalesced(parameter, one, symbol)
  // Bags among them: each is added up by itself, then all together.
  const parts = lookups.map((lookup, index) => coalesced(parameter, lookup, `${symbol}_${index}`))
  const limit = addDims(...lookups.map(({ ids }) => mostElements(ids.value)))
  const all: SharedLookup = {
    ids: concatenated(parts.map(({ slots }) => slots)),
    dys: first.dys.map((_, loss) => concatenated(parts.map(({ rows }) => rows[loss] as Tensor))),
    offsets: null,
    attributes: {},
  }
  return coalesced(parameter, all, symbol, limit)
}

const concatenated = (tensors: readonly Tensor[]): Tensor => op('concat', tensors, { axis: 0 })

/** Plain lookups one after another; null where they differ in kind. */
function joined(parameter: Tensor, lookups: readonly SharedLookup[]): SharedLookup | null {
  const [first] = lookups as readonly [SharedLookup]
  const padding = first.attributes.paddingIndex
  if (lookups.some(({ offsets, attributes }) => offsets || attributes.paddingIndex !== padding)) return null
  const row = parameter.shape.slice(1)
  const flat = (tensor: Tensor, ids: Tensor, shape: readonly Dim[]) =>
    op('reshape', [tensor], { shape: [multiplyDims(...ids.shape), ...shape] })
  return {
    ids: concatenated(lookups.map(({ ids }) => flat(ids, ids, []))),
    dys: first.dys.map((_, loss) => concatenated(lookups.map(({ ids, dys }) => flat(dys[loss] as Tensor, ids, row)))),
    offsets: null,
    attributes: padding === undefined ? {} : { paddingIndex: padding },
  }
}

function coalesced(
  table: Tensor,
  { ids, dys, offsets, attributes }: SharedLookup,
  symbol: string,
  limit = mostElements(ids.value),
): SparseRows {
  const { paddingIndex, mode = 'sum' } = attributes
  const inputs = offsets ? [table, ids, ...dys, offsets] : [table, ids, ...dys]
  const [slots, first, , ...others] = applyOp(opNamed('coalesce'), inputs, {
    symbol,
    mode,
    ...(limit === multiplyDims(...ids.shape) ? {} : { limit }),
    ...(paddingIndex === undefined ? {} : { paddingIndex }),
  }) as readonly Tensor[]
  return { slots: slots as Tensor, rows: [first as Tensor, ...others] }
}

// Names and refusals ------------------------------------------------------------------------------------------------

export const symbolText = (name: string) => name.replaceAll(/[^A-Za-z0-9_]/g, '_')

export function unreached(update: string, parameter: Tensor): KairosError {
  const variable = variableOf(parameter)
  return new KairosError('KAIROS_GRADIENT', {
    op: 'compile',
    argument: `updates.${update}`,
    expected: 'parameters that the loss depends on',
    got: `${variable ? `'${variableName(variable)}', which it does not` : 'something that is no parameter'}`,
    hint: 'Leave it out of `parameters`, or use it in the loss',
  })
}
