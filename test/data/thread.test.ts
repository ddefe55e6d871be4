/** The reading thread: it leaves the event loop free, and goes when it should. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { defineSchema, fileBatches, numeric, readDataset, sequence } from '../../lib/data/index.js'
import { temporaryFolder } from './support.js'

const files = temporaryFolder()
const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const none = { vocabularies: {}, scales: {} }
const schema = defineSchema({ x: numeric(), h: sequence({ size: 20, maxLength: 20 }) })
const query = 'select i::float as x, [k::integer for k in range(i % 20)] as h from range(400000) t(i)'

describe('the reading thread', () => {
  it('leaves the event loop free', async () => {
    const path = await files.parquet('free.parquet', query)
    await readDataset(path, schema) // started and compiled by now
    let turns = 0
    let reading = true
    const turn = () => {
      turns++
      if (reading) setImmediate(turn)
    }
    setImmediate(turn)
    const start = performance.now()
    await readDataset(path, schema)
    reading = false
    expect(turns).toBeGreaterThan((performance.now() - start) / 2)
  })

  it('serves jobs beside one another', async () => {
    const path = await files.parquet('beside.parquet', query)
    const sets = await Promise.all([1, 2, 3].map(() => readDataset(path, schema, { threads: 1 })))
    expect(sets.map(({ rowCount }) => rowCount)).toEqual([400000, 400000, 400000])
  })

  const run = (path: string, body: string) => {
    const script = `
      import { defineSchema, fileBatches, numeric, readDataset } from '${root}/lib/data/index.ts'
      const schema = defineSchema({ x: numeric() })
      const path = '${path}'
      const none = { vocabularies: {}, scales: {} }
      ${body}`
    const result = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: root,
      timeout: 30_000,
      encoding: 'utf8',
    })
    return { status: result.status, signal: result.signal, output: result.stdout.trim(), errors: result.stderr }
  }

  it.each([
    ['ends: nothing is left to wait for', 'console.log((await readDataset(path, schema)).rowCount)', 0, '400000'],
    ['exits amid a read', 'readDataset(path, schema); setTimeout(() => process.exit(3), 700)', 3, ''],
    [
      'forgets a loop that it began',
      `const source = await fileBatches(path, schema, { batchSize: 10, encoding: none })
       const batches = source.batches(0)[Symbol.asyncIterator]()
       console.log((await batches.next()).value.counts.batch)`,
      0,
      '10',
    ],
    [
      'throws amid a loop',
      `const source = await fileBatches(path, schema, { batchSize: 10, encoding: none })
       try { for await (const batch of source.batches(0)) throw new Error('mine') } catch (error) { console.log(error.message) }`,
      0,
      'mine',
    ],
  ])('lets a process go that %s', async (_, body, status, output) => {
    const path = await files.parquet('process.parquet', query)
    expect(run(path, body)).toEqual({ status, signal: null, output, errors: '' })
  })

  it('reads on while batches are used', async () => {
    const path = await files.parquet('on.parquet', query)
    const source = await fileBatches(path, schema, { batchSize: 4096, encoding: none })
    let rows = 0
    for await (const { counts } of source.batches(0)) {
      rows += counts.batch as number
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(rows).toBe(400000)
  })
})
