/** Runs a reading job on a DuckDB of its own; in the reading thread. */
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { KairosError } from '../../core/errors.js'
import type { Column, Encoding, Scale } from '../columns.js'
import { dataError } from '../dataFile.js'
import { columnOf, type Features, vocabularyNames, vocabularyOf } from '../features.js'
import { type Decoder, decoderOf, Fault, integerLookup } from './decode.js'
import { explainFailure } from './failure.js'
import { checkGzip, columnTypes } from './inspect.js'
import type { Answer, Block, FitLimits, Job } from './protocol.js'
import {
  columnValue,
  countScales,
  countValues,
  elementType,
  enumName,
  expressionOf,
  fitsInt32,
  groupEnumName,
  quoteName,
  quoteText,
  sourceOf,
} from './sql.js'

export interface Reply {
  send(answer: Answer): void
  /** Resolves once the owner has room for another block, to false when it wants no more. */
  room(): Promise<boolean>
}

export async function runJob(job: Job, reply: Reply): Promise<void> {
  await checkGzip(job.op, job.file)
  const instance = await DuckDBInstance.create(':memory:', {
    // Nothing is ever downloaded.
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    ...(job.threads === null ? {} : { threads: String(job.threads) }),
  })
  const connection = await instance.connect()
  try {
    await new Reader(job, connection, reply).run()
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

class Reader {
  private types: ReadonlyMap<string, string> = new Map()
  private source = ''

  constructor(
    private readonly job: Job,
    private readonly connection: DuckDBConnection,
    private readonly reply: Reply,
  ) {}

  async run(): Promise<void> {
    const { job, reply } = this
    this.types = await columnTypes(job.op, job.file, job.features, this.connection)
    this.source = sourceOf(job.file, this.types)
    try {
      switch (job.task) {
        case 'count': {
          const [count] = await this.query(`select count(*)::double from ${this.source}`)
          reply.send({ type: 'count', rowCount: count?.[0] as number })
          return
        }
        case 'fit':
          reply.send({ type: 'encoding', encoding: await this.fit(job.rows, job.limits, true) })
          return
        case 'collect': {
          if (job.encoding) this.checkScales(job.encoding)
          const encoding = job.encoding ?? (await this.fit(null, {}, false))
          reply.send({ type: 'encoding', encoding })
          const blocks = this.scan(encoding, Number.POSITIVE_INFINITY, 0)
          for await (const block of blocks) reply.send({ type: 'block', block })
          return
        }
        case 'stream':
          this.checkScales(job.encoding)
          for await (const block of this.scan(job.encoding, job.blockRows, job.firstRow)) {
            if (!(await reply.room())) return
            reply.send({ type: 'block', block })
          }
          return
        default:
          return job satisfies never
      }
    } catch (error) {
      if (error instanceof KairosError) throw error
      throw await explainFailure(job.op, job.file, this.types, error)
    }
  }

  private async query(sql: string): Promise<unknown[][]> {
    return (await this.connection.runAndReadAll(sql)).getRows() as unknown[][]
  }

  private async fit(
    rows: readonly [number, number] | null,
    limits: Readonly<Record<string, FitLimits>>,
    withScales: boolean,
  ): Promise<Encoding> {
    const { file, features } = this.job
    const part = rows ? `(select * from ${this.source} limit ${rows[1] - rows[0]} offset ${rows[0]})` : this.source
    const context = { file, types: this.types }
    const names = vocabularyNames(features)
    const vocabularies: Record<string, string[]> = Object.fromEntries(names.map((name) => [name, []]))
    if (names.length > 0) {
      const result = await this.connection.stream(countValues(features, part, context))
      for (;;) {
        const chunk = await result.fetchChunk()
        if (!chunk || chunk.rowCount === 0) break
        const [keys, values, counts] = chunk.getColumns() as [string[], string[], number[]]
        for (const [i, key] of keys.entries()) {
          const { minCount = 1, maxSize = Number.POSITIVE_INFINITY } = limits[key] ?? {}
          const list = vocabularies[key] as string[]
          if ((counts[i] as number) >= minCount && list.length < maxSize) list.push(values[i] as string)
        }
      }
    }
    const scales: Record<string, Scale> = {}
    const scaled = Object.keys(features).filter((name) => {
      const feature = features[name]
      return feature?.kind === 'numeric' && feature.standardise
    })
    if (withScales && scaled.length > 0) {
      const [sums = []] = await this.query(countScales(scaled, features, part, context))
      for (const [i, name] of scaled.entries()) {
        scales[name] = scaleOf(sums[2 * i] as number | null, sums[2 * i + 1] as number | null)
      }
    }
    return { vocabularies, scales }
  }

  /** A standardised feature without its scale would come raw, and nobody would notice. */
  private checkScales(encoding: Encoding): void {
    for (const [name, feature] of Object.entries(this.job.features)) {
      if (feature.kind !== 'numeric' || !feature.standardise || encoding.scales[name]) continue
      const got = Object.keys(encoding.scales).join(', ') || 'none'
      throw new KairosError('KAIROS_MISSING', {
        op: this.job.op,
        argument: 'encoding',
        expected: `a scale of '${name}'`,
        got,
      })
    }
  }

  /** Gives every vocabulary and every group of texts its ENUM, whose codes are the order of its values. */
  private async createEnums(encoding: Encoding): Promise<void> {
    const { features, file } = this.job
    for (const name of vocabularyNames(features)) {
      const values = encoding.vocabularies[name]
      if (values === undefined)
        throw new KairosError('KAIROS_MISSING', {
          op: this.job.op,
          argument: 'encoding',
          expected: `a vocabulary '${name}'`,
          got: Object.keys(encoding.vocabularies).join(', ') || 'none',
        })
      if (values.length === 0 || !this.needsEnum(name)) continue
      await this.connection.run(
        `create or replace temp table entries as select unnest(from_json($1, '["VARCHAR"]')) as v`,
        [JSON.stringify(values)],
      )
      await this.connection.run(`create type ${enumName(name)} as enum (select v from entries)`)
      await this.connection.run('drop table entries')
    }
    for (const [name, feature] of Object.entries(features)) {
      if (feature.kind !== 'groupId' || !feature.text) continue
      const value = `cast(${columnValue(file, columnOf(name, feature))} as varchar)`
      const distinct = `select distinct ${value} as v from ${this.source} where ${value} is not null order by v`
      await this.connection.run(`create type ${groupEnumName(name)} as enum (${distinct})`)
    }
  }

  /** Integers that fit int32 cross as they are and are looked up by the decoder; an ENUM is for everything else. */
  private needsEnum(vocabulary: string): boolean {
    return Object.entries(this.job.features).some(
      ([name, feature]) => vocabularyOf(name, feature) === vocabulary && !fitsInt32(this.leafType(name)),
    )
  }

  /** Type of the single values of a feature's column. */
  private leafType(name: string): string {
    const type = this.types.get(columnOf(name, this.job.features[name] as Features[string])) as string
    return elementType(type) ?? type
  }

  private async *scan(encoding: Encoding, blockRows: number, firstRow: number): AsyncGenerator<Block> {
    const { features, file } = this.job
    await this.createEnums(encoding)
    const isEmpty = (vocabulary: string) => encoding.vocabularies[vocabulary]?.length === 0
    const names = Object.keys(features)
    const lookups = new Map<string, (value: number) => number>()
    const decoders: Decoder[] = names.map((name) => {
      const feature = features[name] as Features[string]
      const vocabulary = vocabularyOf(name, feature)
      const integers = vocabulary !== undefined && fitsInt32(this.leafType(name))
      if (integers && !lookups.has(vocabulary)) {
        lookups.set(vocabulary, integerLookup(encoding.vocabularies[vocabulary] ?? []))
      }
      const lookup = integers ? lookups.get(vocabulary) : undefined
      return decoderOf({ name, feature, scale: encoding.scales[name], lookup })
    })
    const expressions = names.map((name) =>
      expressionOf(name, features[name] as Features[string], { file, types: this.types, isEmpty }),
    )
    const offset = firstRow > 0 ? ` offset ${firstRow}` : ''
    const result = await this.connection.stream(`select ${expressions.join(', ')} from ${this.source}${offset}`)

    let rowCount = 0
    let done = firstRow
    const take = (): Block => {
      const columns: Record<string, Column> = {}
      for (const [i, name] of names.entries()) columns[name] = (decoders[i] as Decoder).take()
      const block = { rowCount, columns }
      done += rowCount
      rowCount = 0
      return block
    }
    for (;;) {
      const chunk = await result.fetchChunk()
      if (!chunk || chunk.rowCount === 0) break
      for (let begin = 0; begin < chunk.rowCount; ) {
        const end = Math.min(chunk.rowCount, begin + blockRows - rowCount)
        for (const [i, decoder] of decoders.entries()) {
          try {
            decoder.append(chunk.getColumnVector(i), begin, end)
          } catch (error) {
            if (!(error instanceof Fault)) throw error
            throw await this.refuse(error, names[i] as string, done + rowCount - begin + error.row)
          }
        }
        rowCount += end - begin
        begin = end
        if (rowCount === blockRows) yield take()
      }
    }
    if (rowCount > 0) yield take()
    else if (done === 0) throw dataError(this.job.op, file.shown[0] as string, 'at least one row', 'none')
  }

  /** Says which value of which file a decoder refused; rows count from 1, a header aside. */
  private async refuse(fault: Fault, name: string, row: number): Promise<KairosError> {
    const { op, file, features } = this.job
    const column = columnOf(name, features[name] as Features[string])
    let left = row
    let which = 0
    for (; which < file.paths.length - 1; which++) {
      const one = sourceOf({ ...file, paths: [file.paths[which] as string] }, this.types)
      const [count] = await this.query(`select count(*)::double from ${one}`)
      const rows = count?.[0] as number
      if (left < rows) break
      left -= rows
    }
    let { got } = fault
    if (got === undefined) {
      const [found] = await this.query(
        `select cast(${quoteName(column)} as varchar) from ${this.source} limit 1 offset ${row}`,
      )
      got = shown(found?.[0])
    }
    const place = `${file.shown[which]}, row ${left + 1}, column ${quoteText(column)}`
    return dataError(op, place, fault.expected, got, fault.hint)
  }
}

const SHOWN = 60
const shown = (value: unknown): string => {
  const text = String(value)
  return `'${text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text}'`
}

/** A constant is not divided by 0, and a column of nulls has no mean. */
const scaleOf = (mean: number | null, deviation: number | null): Scale => ({
  mean: mean ?? 0,
  deviation: deviation !== null && deviation > 0 ? deviation : 1,
})
