/** SQL for reading features: one expression each, whose results are the numbers that a column holds. */
import { FIRST_VALUE_ID, UNKNOWN_ID } from '../columns.js'
import type { ResolvedFile } from '../dataFile.js'
import { columnOf, type Feature, type Features, vocabularyOf } from '../features.js'

export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`
export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`
const textList = (texts: readonly string[]): string => `[${texts.map(quoteText).join(', ')}]`

/** A path as DuckDB takes it: not as a pattern. */
const literalPath = (path: string): string => quoteText(path.replace(/[*?[]/g, '[$&]'))

/** `read_csv(...)` and its kin over all files, in order. `types` gives a type to every column of a text file. */
export function sourceOf(file: ResolvedFile, types: ReadonlyMap<string, string>): string {
  const paths = `[${file.paths.map(literalPath).join(', ')}]`
  const compression = compressionOf(file)
  const columns = `columns = {${[...types].map(([name, type]) => `${quoteText(name)}: '${type}'`).join(', ')}}`
  switch (file.format) {
    case 'parquet':
      return `read_parquet(${paths}, union_by_name = true)`
    case 'jsonl':
      return `read_json(${paths}, format = 'newline_delimited', ${compression}, ${columns})`
    case 'csv':
      return `read_csv(${paths}, auto_detect = false, header = ${file.header}, ${csvDialect(file)}, nullstr = ${textList(
        file.nulls,
      )}, ${compression}, ${columns})`
    default:
      return file.format satisfies never
  }
}

const csvDialect = (file: ResolvedFile): string =>
  `delim = ${quoteText(file.delimiter)}, quote = '"', escape = '"', null_padding = false`

export const describeParquet = (path: string): string => `describe select * from read_parquet(${literalPath(path)})`

/** Names of JSON Lines, by looking at some of the rows, or at all. */
export function describeJson(file: ResolvedFile, path: string, rows: number): string {
  const options = `format = 'newline_delimited', ${compressionOf(file)}, sample_size = ${rows}, maximum_depth = 1`
  return `describe select * from read_json(${literalPath(path)}, ${options})`
}

const compressionOf = ({ gzip, format }: ResolvedFile): string =>
  `compression = '${gzip ? 'gzip' : format === 'csv' ? 'none' : 'uncompressed'}'`

const NUMBERS = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))$/
const INT32 = /^(U?TINYINT|U?SMALLINT|INTEGER)$/
const DATES = /^(DATE|TIMESTAMP.*)$/
const NESTED = /^(STRUCT|MAP|UNION|VARIANT)|^BLOB$|\]$/
const LIST = /^(.*)\[\d*\]$/

const isNumber = (type: string) => NUMBERS.test(type)

/** The type of a list's elements, or undefined. */
export const elementType = (type: string): string | undefined => LIST.exec(type)?.[1]

/** How a vocabulary is applied: through an ENUM of DuckDB, or by the reading thread from the integers as they are. */
export const fitsInt32 = (type: string): boolean => INT32.test(type)

/**
 * What a column has to be for a feature, where it is something else. A text file's columns are text, and each value is
 * judged by itself; where a file has types, they have to be right.
 */
export function typeMistake(feature: Feature, type: string, isText: boolean): string | undefined {
  const scalar = !NESTED.test(type)
  switch (feature.kind) {
    case 'categorical':
      if (feature.size !== undefined) return isNumber(type) || isText ? undefined : 'a column of ids'
      return scalar ? undefined : 'a column of single values'
    case 'domain':
      return scalar ? undefined : 'a column of single values'
    case 'groupId':
      if (feature.text) return scalar ? undefined : 'a column of single values'
      return isNumber(type) || isText ? undefined : 'a column of int32 (or groupId({ text: true }))'
    case 'numeric':
      return isNumber(type) || isText || type === 'BOOLEAN' ? undefined : 'a column of numbers'
    case 'label':
      if (feature.positive !== undefined) return scalar ? undefined : 'a column of single values'
      return isNumber(type) || isText || type === 'BOOLEAN' ? undefined : 'a column of numbers'
    case 'time':
      return isNumber(type) || DATES.test(type) || type === 'VARCHAR' ? undefined : 'a column of times or numbers'
    case 'sequence':
    case 'dense': {
      const element = elementType(type)
      const numbers = feature.kind === 'dense' || feature.size !== undefined
      if (element === undefined) {
        return isText || (type === 'VARCHAR' && feature.separator !== undefined) ? undefined : 'a column of lists'
      }
      const right = numbers ? isNumber(element) || isText : !NESTED.test(element)
      return right ? undefined : `a column of lists of ${numbers ? 'numbers' : 'single values'}`
    }
    default:
      return feature satisfies never
  }
}

/** Every value that is not null becomes a double; NaN, which the reader refuses with its row, where it is no number. */
const numberOf = (value: string, type: string): string =>
  type === 'FLOAT'
    ? value
    : isNumber(type)
      ? `cast(${value} as double)`
      : `case when ${value} is not null then coalesce(try_cast(${value} as double), try_cast(try_cast(${value} as boolean) as double), 'nan'::double) end`

/** As `numberOf` without booleans: 'yes' is no id and no measure. */
const plainNumberOf = (value: string, type: string): string =>
  type === 'FLOAT'
    ? value
    : isNumber(type) || type === 'BOOLEAN'
      ? `cast(${value} as double)`
      : `case when ${value} is not null then coalesce(try_cast(${value} as double), 'nan'::double) end`

const idOf = (value: string, type: string): string =>
  fitsInt32(type) ? `cast(${value} as integer)` : plainNumberOf(value, type)

export const enumName = (vocabulary: string): string => quoteName(`vocabulary ${vocabulary}`)
export const groupEnumName = (feature: string): string => quoteName(`group ${feature}`)

/** Ids through a vocabulary; a null is null. Empty vocabularies have no ENUM: everything is unknown. */
function lookupOf(value: string, type: string, vocabulary: string, empty: boolean): string {
  if (fitsInt32(type)) return `cast(${value} as integer)`
  const code = `enum_code(try_cast(cast(${value} as varchar) as ${enumName(vocabulary)}))`
  const known = empty ? 'null' : `cast(${code} as integer) + ${FIRST_VALUE_ID}`
  return `case when ${value} is null then null else coalesce(${known}, ${UNKNOWN_ID}) end`
}

const listOf = (value: string, type: string, separator: string | undefined): string =>
  elementType(type) === undefined
    ? `list_filter(string_split(${value}, ${quoteText(separator ?? ' ')}), lambda v: v <> '')`
    : value

const eachOf = (list: string, element: (value: string) => string): string => {
  const body = element('v')
  return body === 'v' ? list : `list_transform(${list}, lambda v: ${body})`
}

/** A column's value: trimmed, and null where it stands for null, when the file asks for that. */
export function columnValue(file: ResolvedFile, name: string): string {
  const column = quoteName(name)
  if (!file.trim) return column
  const trimmed = `trim(${column})`
  return file.nulls.length === 0
    ? trimmed
    : `case when ${trimmed} in (${file.nulls.map(quoteText).join(', ')}) then null else ${trimmed} end`
}

export interface ExpressionContext {
  readonly file: ResolvedFile
  readonly types: ReadonlyMap<string, string>
  /** Vocabularies without a value. */
  readonly isEmpty: (vocabulary: string) => boolean
}

/** The numbers of a feature, as its decoder takes them. */
export function expressionOf(name: string, feature: Feature, { file, types, isEmpty }: ExpressionContext): string {
  const column = columnOf(name, feature)
  const value = columnValue(file, column)
  const type = types.get(column) as string
  const vocabulary = vocabularyOf(name, feature)
  switch (feature.kind) {
    case 'categorical':
      return vocabulary === undefined ? idOf(value, type) : lookupOf(value, type, vocabulary, isEmpty(vocabulary))
    case 'domain':
      return `case when ${value} is not null then coalesce(list_position(${textList(feature.values)}, cast(${value} as varchar)), 0)::integer - 1 end`
    case 'groupId':
      return feature.text
        ? `cast(enum_code(try_cast(cast(${value} as varchar) as ${groupEnumName(name)})) as integer)`
        : idOf(value, type)
    case 'numeric':
      return plainNumberOf(value, type)
    case 'label': {
      if (feature.positive === undefined) return numberOf(value, type)
      const texts = typeof feature.positive === 'string' ? [feature.positive] : feature.positive
      return `case when ${value} is not null then (cast(${value} as varchar) in (${texts.map(quoteText).join(', ')}))::integer end`
    }
    case 'time':
      return timeOf(value, type, feature.unit === 'ms' ? 1000 : 1)
    case 'sequence': {
      const list = listOf(value, type, feature.separator)
      const element = elementType(type) ?? 'VARCHAR'
      // Arrays of a fixed width become lists; integers that fit cross as they are.
      if (fitsInt32(element)) return `cast(${list} as integer[])`
      return eachOf(list, (v) =>
        vocabulary === undefined ? plainNumberOf(v, element) : lookupOf(v, element, vocabulary, isEmpty(vocabulary)),
      )
    }
    case 'dense': {
      const list = listOf(value, type, feature.separator)
      const element = elementType(type) ?? 'VARCHAR'
      if (isNumber(element)) return `cast(${list} as ${element === 'FLOAT' ? 'float' : 'double'}[])`
      return eachOf(list, (v) => plainNumberOf(v, element))
    }
    default:
      return feature satisfies never
  }
}

function timeOf(value: string, type: string, perSecond: number): string {
  if (isNumber(type)) return `cast(${value} as double)`
  const seconds = (date: string) => `epoch(${date}) * ${perSecond}.0::double`
  if (type.startsWith('TIMESTAMP WITH')) return seconds(value)
  if (DATES.test(type)) return seconds(`cast(${value} as timestamp)`)
  return `case when ${value} is not null then coalesce(try_cast(${value} as double), ${seconds(
    `try_cast(${value} as timestamp)`,
  )}, 'nan'::double) end`
}

/** Number of values by vocabulary and text, the most frequent first, equally frequent ones in order: one query. */
export function countValues(features: Features, source: string, context: Omit<ExpressionContext, 'isEmpty'>): string {
  const { file, types } = context
  const scalars: string[] = []
  const lists: string[] = []
  for (const [name, feature] of Object.entries(features)) {
    const vocabulary = vocabularyOf(name, feature)
    if (vocabulary === undefined) continue
    const column = columnOf(name, feature)
    const value = columnValue(file, column)
    if (feature.kind === 'sequence') {
      const list = listOf(value, types.get(column) as string, feature.separator)
      lists.push(`select ${quoteText(vocabulary)} as k, cast(unnest(${list}) as varchar) as v from ${source}`)
    } else {
      scalars.push(`{'k': ${quoteText(vocabulary)}, 'v': cast(${value} as varchar)}`)
    }
  }
  // All single values in one pass over the file.
  if (scalars.length > 0)
    lists.push(`select p.k, p.v from (select unnest([${scalars.join(', ')}]) as p from ${source})`)
  return `select k, v, count(*)::double as n from (${lists.join(' union all ')}) where v is not null group by k, v order by k, n desc, v`
}

/** Mean and deviation of numeric features that are standardised, nulls aside. */
export function countScales(
  names: readonly string[],
  features: Features,
  source: string,
  context: Omit<ExpressionContext, 'isEmpty'>,
): string {
  const sums = names.flatMap((name) => {
    const value = `cast(${expressionOf(name, features[name] as Feature, { ...context, isEmpty: () => false })} as double)`
    return [`avg(${value})`, `stddev_pop(${value})`]
  })
  return `select ${sums.join(', ')} from ${source}`
}
