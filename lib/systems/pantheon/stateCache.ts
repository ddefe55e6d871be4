/** What a ranker held of each row, in a file: read batch by batch, off the event loop, at any number of rows. */
import { type FileHandle, open } from 'node:fs/promises'
import type { BatchSource } from '../../core/batchSource.js'
import { KairosError } from '../../core/errors.js'
import { field } from '../../core/schema.js'

/** Rows of `width` float32 values, in the order in which they were appended. */
export class StateCache {
  private constructor(
    private readonly file: FileHandle,
    readonly width: number,
    private rows = 0,
  ) {}

  static async create(path: string, width: number): Promise<StateCache> {
    return new StateCache(await open(path, 'w+'), width)
  }

  get rowCount(): number {
    return this.rows
  }

  async append(states: Float32Array): Promise<void> {
    const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength)
    const at = this.rows * this.width * 4
    this.rows += states.length / this.width
    await this.file.write(bytes, 0, bytes.length, at)
  }

  async read(first: number, count: number): Promise<Float32Array> {
    const states = new Float32Array(count * this.width)
    const bytes = new Uint8Array(states.buffer)
    let read = 0
    while (read < bytes.length) {
      const { bytesRead } = await this.file.read(bytes, read, bytes.length - read, first * this.width * 4 + read)
      if (bytesRead === 0) throw beyond(first + count, this.rows)
      read += bytesRead
    }
    return states
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

const beyond = (end: number, rows: number) =>
  new KairosError('KAIROS_ARGUMENT', {
    op: 'StateCache.read',
    argument: 'count',
    expected: `rows up to ${rows}, as many as were kept`,
    got: `${end}`,
  })

/** A source with the field `state` beside its own: float32 of the given shape behind the batch, of rows from `first` on. */
export function withStates(
  source: BatchSource,
  shape: readonly number[],
  first: number,
  read: (first: number, count: number) => Promise<Float32Array> | Float32Array,
): BatchSource {
  return {
    ...source,
    schema: { ...source.schema, state: field('float32', 'batch', ...shape) },
    async *batches(epoch, options) {
      let at = first
      for await (const batch of source.batches(epoch, options)) {
        const count = batch.counts.batch as number
        const states = await read(at, count)
        at += count
        yield {
          counts: batch.counts,
          fill(views) {
            batch.fill(views)
            ;(views.state as Float32Array).set(states)
          },
        }
      }
    },
  }
}
