/**
 * What the columns of a data set are: a table of features by name, from which the type of a batch follows.
 *
 *     const ads = defineSchema({
 *       age: numeric(),
 *       country: categorical(),
 *       history: sequence('item'),
 *       item: categorical({ vocabulary: 'item' }),
 *       click: label(),
 *     })
 *     compile(model, build, { schema: ads.fields })
 *
 * | feature                    | field of a batch                                                          |
 * | categorical, domain        | `name` int32[batch]                                                       |
 * | numeric                    | `name` float32[batch]; with nulls: 'indicator' also `name.missing`        |
 * | sequence                   | `name.values` int32[name_count], `name.offsets` int32[batch + 1]          |
 * | sequence, padded: L        | `name` int32[batch, L], `name.length` int32[batch]                        |
 * | dense(n)                   | `name` float32[batch, n]                                                  |
 * | label                      | `name` float32[batch]                                                     |
 * | groupId                    | none; with input: true `name` int32[batch]                                |
 * | time                       | none                                                                      |
 */
import type { Dim } from '../core/dim.js'
import { KairosError } from '../core/errors.js'
import { type Field, field, type Schema } from '../core/schema.js'
import { MAX_ID } from './sequenceParser.js'

interface InFile {
  /** Name of the column in the file, where it is not the feature's. */
  readonly column?: string
}

/** How values become ids: through a vocabulary, or as they are. */
interface Ids extends InFile {
  /** The values are ids already, integers from 0 to size - 1, and there is no vocabulary. */
  readonly size?: number
}

export interface CategoricalOptions extends Ids {
  /** Features that name the same vocabulary share their ids; by default a feature has its own, by its name. */
  readonly vocabulary?: string
  /** With `size`: the id that a null becomes. Without it a null is an error. A vocabulary has an id for null. */
  readonly nullId?: number
}

export interface NumericOptions extends InFile {
  /**
   * 'zero' (the default): a null is 0, the mean of a standardised feature. 'indicator': also, a field `name.missing` is
   * 1 there. 'error': the file is refused.
   */
  readonly nulls?: 'zero' | 'indicator' | 'error'
  /** Subtract the mean and divide by the standard deviation, both fitted on the training part and saved with it. */
  readonly standardise?: boolean
}

export interface SequenceOptions extends Ids {
  readonly vocabulary?: string
  /** Longer rows keep their last, most recent items. */
  readonly maxLength?: number
  /** Rows of exactly this width: items first, then id 0, with the number of items in `name.length`. */
  readonly padded?: number
  /** Between the items where a row is text, as in CSV; a blank by default. */
  readonly separator?: string
}

export interface DenseOptions extends InFile {
  readonly separator?: string
}

export interface LabelOptions extends InFile {
  /** Any finite number; otherwise 0 or 1 (or false or true). */
  readonly real?: boolean
  /** 1 where the value is this text, or one of these; 0 elsewhere. */
  readonly positive?: string | readonly string[]
}

export interface GroupIdOptions extends InFile {
  /** Whether the id is a field of the batch. */
  readonly input?: boolean
  /** Values are any text, numbered 0, 1, ... in their order for each file read; otherwise they are int32. */
  readonly text?: boolean
}

export interface TimeOptions extends InFile {
  /** Of numbers in the file, and of what is kept: seconds (the default) or milliseconds since 1970. */
  readonly unit?: 's' | 'ms'
}

export interface Categorical extends CategoricalOptions {
  readonly kind: 'categorical'
}
export interface Numeric extends NumericOptions {
  readonly kind: 'numeric'
}
export interface Sequence extends SequenceOptions {
  readonly kind: 'sequence'
}
export interface Dense<N extends number = number> extends DenseOptions {
  readonly kind: 'dense'
  readonly width: N
}
export interface Label extends LabelOptions {
  readonly kind: 'label'
}
export interface GroupId extends GroupIdOptions {
  readonly kind: 'groupId'
}
export interface Time extends TimeOptions {
  readonly kind: 'time'
}
export interface Domain extends InFile {
  readonly kind: 'domain'
  readonly values: readonly string[]
}

export type Feature = Categorical | Numeric | Sequence | Dense | Label | GroupId | Time | Domain
export type Features = Readonly<Record<string, Feature>>

/**
 * One value out of many. With a vocabulary (the default) the ids are 0 padding (only sequences hold it), 1 unknown,
 * 2 null, then the values from 3 on, the most frequent first.
 */
export const categorical = (options: CategoricalOptions = {}): Categorical => ({ kind: 'categorical', ...options })

/** A finite float32. */
export const numeric = <const O extends NumericOptions = {}>(options?: O): Numeric & O =>
  ({ kind: 'numeric', ...options }) as Numeric & O

/**
 * A list of categorical values, oldest first. A null list is an empty one; nulls inside a list are left out, as a
 * place in it says nothing without its item; unknown values keep their place, as id 1.
 */
export function sequence<const O extends SequenceOptions = {}>(vocabulary: string, options?: O): Sequence & O
export function sequence<const O extends SequenceOptions & { readonly size: number }>(options: O): Sequence & O
export function sequence(first: string | SequenceOptions, options: SequenceOptions = {}): Sequence {
  return { kind: 'sequence', ...(typeof first === 'string' ? { vocabulary: first, ...options } : first) }
}

/** A vector of `width` finite float32, such as an embedding of content; never null. */
export const dense = <const N extends number>(width: N, options: DenseOptions = {}): Dense<N> => ({
  kind: 'dense',
  width,
  ...options,
})

/** What a model learns to predict; never null. */
export const label = (options: LabelOptions = {}): Label => ({ kind: 'label', ...options })

/** Whose example it is: for grouped metrics such as GAUC and for splits by user. Never null. */
export const groupId = <const O extends GroupIdOptions = {}>(options?: O): GroupId & O =>
  ({ kind: 'groupId', ...options }) as GroupId & O

/** When: numbers since 1970, or dates (UTC where they name no zone). For splits; never null. Kept as float64. */
export const time = (options: TimeOptions = {}): Time => ({ kind: 'time', ...options })

/** One of a few values known beforehand; its id is the place in the list. Never null, and nothing else is accepted. */
export const domain = (values: readonly string[], options: InFile = {}): Domain => ({
  kind: 'domain',
  values,
  ...options,
})

type Padded = { readonly padded: number }

type FieldNames<F extends Features> = {
  [K in keyof F & string]: F[K] extends Sequence
    ? F[K] extends Padded
      ? K | `${K}.length`
      : `${K}.values` | `${K}.offsets`
    : F[K] extends Numeric
      ? F[K] extends { readonly nulls: 'indicator' }
        ? K | `${K}.missing`
        : K
      : F[K] extends GroupId
        ? F[K] extends { readonly input: true }
          ? K
          : never
        : F[K] extends Time
          ? never
          : K
}[keyof F & string]

type Int32<S extends readonly Dim[]> = Field<S, 'int32'>
type Float32<S extends readonly Dim[]> = Field<S, 'float32'>

type MainField<T> = T extends Padded
  ? Int32<readonly ['batch', T['padded']]>
  : T extends Dense<infer N>
    ? Float32<readonly ['batch', N]>
    : T extends Numeric | Label
      ? Float32<readonly ['batch']>
      : Int32<readonly ['batch']>

/** The fields of a batch that features make: what `compile` takes as its schema. */
export type BatchFields<F extends Features> = string extends keyof F ? Schema : KnownFields<F>

type KnownFields<F extends Features> = {
  readonly [N in FieldNames<F>]: N extends keyof F
    ? MainField<F[N]>
    : N extends `${infer K}.values`
      ? Int32<readonly [`${K}_count`]>
      : N extends `${string}.offsets`
        ? Int32<readonly ['batch+1']>
        : N extends `${string}.missing`
          ? Float32<readonly ['batch']>
          : Int32<readonly ['batch']>
}

/** Any schema of data, whatever its features. */
export interface AnySchema {
  readonly features: Features
  readonly fields: Schema
}

export interface DataSchema<F extends Features = Features> {
  readonly features: F
  /** The fields of a batch, as `compile` takes them. */
  readonly fields: BatchFields<F>
}

/**
 * A schema of data. Names are letters, digits and `_`, as they become names of tensors and sizes.
 *
 * Throws KAIROS_ARGUMENT on a name or an option that cannot be, naming it.
 */
export function defineSchema<const F extends Features>(features: F): DataSchema<F> {
  if (Object.keys(features).length === 0) throw refuse('features', 'at least one feature', 'none')
  for (const [name, feature] of Object.entries(features)) checkFeature(name, feature)
  const fields: Schema[] = Object.entries(features).map(([name, feature]) => fieldsOf(name, feature))
  return { features, fields: Object.assign({}, ...fields) as BatchFields<F> }
}

/** The symbol that counts the items of a sequence in a batch. */
export const countSymbol = (name: string) => `${name}_count`

function fieldsOf(name: string, feature: Feature): Schema {
  switch (feature.kind) {
    case 'categorical':
    case 'domain':
      return { [name]: field('int32', 'batch') }
    case 'numeric':
      return {
        [name]: field('float32', 'batch'),
        ...(feature.nulls === 'indicator' ? { [`${name}.missing`]: field('float32', 'batch') } : {}),
      }
    case 'sequence':
      return feature.padded === undefined
        ? { [`${name}.values`]: field('int32', countSymbol(name)), [`${name}.offsets`]: field('int32', 'batch+1') }
        : { [name]: field('int32', 'batch', feature.padded), [`${name}.length`]: field('int32', 'batch') }
    case 'dense':
      return { [name]: field('float32', 'batch', feature.width) }
    case 'label':
      return { [name]: field('float32', 'batch') }
    case 'groupId':
      return feature.input ? { [name]: field('int32', 'batch') } : {}
    case 'time':
      return {}
    default:
      return feature satisfies never
  }
}

/** The vocabulary that gives a feature its ids, if one does. */
export function vocabularyOf(name: string, feature: Feature): string | undefined {
  if (feature.kind !== 'categorical' && feature.kind !== 'sequence') return undefined
  return feature.size === undefined ? (feature.vocabulary ?? name) : undefined
}

export const columnOf = (name: string, feature: Feature): string => feature.column ?? name

/** Names of all vocabularies, each once. */
export const vocabularyNames = (features: Features): string[] => [
  ...new Set(Object.entries(features).flatMap(([name, feature]) => vocabularyOf(name, feature) ?? [])),
]

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
/** What `compile` calls the input of dropout, and the symbol of every schema. */
const RESERVED = ['random', 'batch']
/** Widest row of a dense vector or a padded sequence. */
const MAX_WIDTH = 65536

function checkFeature(name: string, feature: Feature): void {
  if (!NAME.test(name))
    throw refuse('features', 'names of letters, digits and _, not starting with a digit', `'${name}'`)
  if (RESERVED.includes(name)) throw refuse('features', 'a name that is not reserved', `'${name}'`)
  if (feature.column === '') throw refuse(`${name}.column`, 'the name of a column', "''")
  const width = (option: string, value: number | undefined, most: number) => {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= most))
      throw refuse(`${name}.${option}`, `an integer from 1 to ${most}`, String(value))
  }
  if (feature.kind === 'dense') width('width', feature.width, MAX_WIDTH)
  if (feature.kind === 'sequence') {
    width('padded', feature.padded, MAX_WIDTH)
    width('maxLength', feature.maxLength, MAX_ID)
    if (feature.padded !== undefined && feature.maxLength !== undefined)
      throw refuse(`${name}.maxLength`, 'left out beside padded, which says the same', String(feature.maxLength))
  }
  if (feature.kind === 'sequence' || feature.kind === 'dense') {
    if (feature.separator === '') throw refuse(`${name}.separator`, 'a character or more', "''")
  }
  if (feature.kind === 'sequence' || feature.kind === 'categorical') {
    width('size', feature.size, MAX_ID)
    if (feature.size !== undefined && feature.vocabulary !== undefined)
      throw refuse(`${name}.vocabulary`, 'left out beside size, which takes values as ids', `'${feature.vocabulary}'`)
    if (feature.vocabulary !== undefined && !NAME.test(feature.vocabulary))
      throw refuse(`${name}.vocabulary`, 'letters, digits and _', `'${feature.vocabulary}'`)
  }
  if (feature.kind === 'categorical' && feature.nullId !== undefined) {
    const { size, nullId } = feature
    if (size === undefined) throw refuse(`${name}.nullId`, 'left out: a vocabulary has an id for null', String(nullId))
    if (!(Number.isInteger(nullId) && nullId >= 0 && nullId < size))
      throw refuse(`${name}.nullId`, `an integer from 0 to ${size - 1}`, String(nullId))
  }
  if (feature.kind === 'label' && feature.real && feature.positive !== undefined)
    throw refuse(`${name}.positive`, 'left out beside real', JSON.stringify(feature.positive))
  if (feature.kind === 'domain') {
    if (feature.values.length === 0) throw refuse(`${name}.values`, 'at least one value', 'none')
    const twice = feature.values.find((value, i) => feature.values.indexOf(value) !== i)
    if (twice !== undefined) throw refuse(`${name}.values`, 'different values', `'${twice}' twice`)
  }
}

const refuse = (argument: string, expected: string, got: string): KairosError =>
  new KairosError('KAIROS_ARGUMENT', { op: 'defineSchema', argument, expected, got })
