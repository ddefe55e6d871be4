import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rowCount, rowOf } from '../../lib/core/ragged.js'
import { parseSequences, readSequences, type Sequences } from '../../lib/data/sequences.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-sequences-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function fileOf(content: string | Uint8Array): Promise<string> {
  const path = join(folder, 'data.txt')
  await writeFile(path, content)
  return path
}

const rows = (sequences: Sequences) =>
  Array.from({ length: rowCount(sequences) }, (_, row) => [sequences.users[row], ...rowOf(sequences, row)])

describe('readSequences', () => {
  it('reads users and items into flat arrays', async () => {
    const path = await fileOf('7 1 2 3\n9 5\n')
    expect(await readSequences(path)).toEqual({
      source: path,
      users: Int32Array.of(7, 9),
      values: Int32Array.of(1, 2, 3, 5),
      offsets: Int32Array.of(0, 3, 4),
      maxItem: 5,
    })
  })

  it.each([
    ['no newline at the end', '1 2 3\n2 4'],
    ['CR LF', '1 2 3\r\n2 4\r\n'],
    ['CR LF, the last LF cut off', '1 2 3\r\n2 4\r'],
    ['tabs, several spaces, spaces at both ends', '\t1  2 \t3 \n  2\t4  \n'],
    ['blank lines', '\n\n1 2 3\n \t \n2 4\n\n'],
    ['a byte order mark', '\ufeff1 2 3\n2 4\n'],
    ['zeros in front', '01 002 3\n2 04\n'],
  ])('accepts %s', async (_, text) => {
    expect(rows(await readSequences(await fileOf(text)))).toEqual([
      [1, 2, 3],
      [2, 4],
    ])
  })

  it('accepts the greatest id and user 0', async () => {
    expect(rows(await parseSequences('0 2147483646\n'))).toEqual([[0, 2147483646]])
  })

  it('takes words as users when asked', async () => {
    const sequences = await parseSequences('anna 1 2\nBjörk 3\n17 4\n', { userIds: 'text' })
    expect(sequences.users).toEqual(['anna', 'Björk', '17'])
    await expect(parseSequences('anna 1\nbo 2\nanna 3\n', { userIds: 'text' })).rejects.toThrow(
      'readSequences: text, line 3, token 1 should be a user that has no line yet but got user anna, whose line is 1',
    )
  })

  it('gives back what was written, wherever the chunks fall', async () => {
    const history = fc.array(fc.integer({ min: 1, max: 2 ** 31 - 2 }), { minLength: 1, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(fc.array(history, { minLength: 1, maxLength: 60 }), async (histories) => {
        const written = histories.map((items, user) => [user, ...items])
        const text = written.map((row) => row.join(' ')).join('\n')
        expect(rows(await parseSequences(text))).toEqual(written)
      }),
      { numRuns: 50, seed: 1 },
    )
    const large = Array.from({ length: 5000 }, (_, user) => [
      user,
      ...Array.from({ length: 60 }, (_, i) => user + i + 1),
    ])
    const path = await fileOf(large.map((row) => row.join(' ')).join('\r\n'))
    expect(rows(await readSequences(path))).toEqual(large)
  })

  const item = 'an item id, an integer from 1 to 2147483646'
  const user = "a user id, an integer from 0 to 2147483646 but got 'x'. Users may be words with userIds: 'text'"
  it.each([
    ['1 2 1.5\n', `line 1, token 3 should be ${item} but got '1.5'`],
    ['1 2\n2 -5 6\n', `line 2, token 2 should be ${item} but got '-5'`],
    ['1 2 0\n', `line 1, token 3 should be ${item} but got '0'. Id 0 stands for padding; number items from 1`],
    ['1 2147483647\n', `line 1, token 2 should be ${item} but got '2147483647'`],
    [`1 ${'9'.repeat(400)}\n`, `line 1, token 2 should be ${item} but got '${'9'.repeat(40)}...'`],
    ['1 2e3\n', `line 1, token 2 should be ${item} but got '2e3'`],
    ['1 +2\n', `line 1, token 2 should be ${item} but got '+2'`],
    ['1,2,3\n', "line 1, token 1 should be a user id, an integer from 0 to 2147483646 but got '1,2,3'"],
    ['\n\nx 1\n', `line 3, token 1 should be ${user}`],
    ['1 2\n\n17\n', 'line 3 should be a user and at least one item but got user 17 without items'],
    ['1 2\n17', 'line 2 should be a user and at least one item but got user 17 without items'],
    ['5 1\n6 1\n5 2\n', 'line 3, token 1 should be a user that has no line yet but got user 5, whose line is 1'],
    ['1 2\r3 4\r', 'line 1 should be LF or CR LF at the end of a line but got CR alone'],
    ['1 2\n3 \0', 'line 2 should be text but got a NUL byte at byte 6. The file looks binary'],
    ['\x1f\x8b\x08', 'line 1 should be text but got the control byte 0x1f at byte 0. The file looks binary'],
    ['', 'should be at least one line `user item item ...` but got an empty file'],
    [' \n\r\n\t', 'should be at least one line `user item item ...` but got blank lines'],
  ])('refuses %j', async (text, message) => {
    const path = await fileOf(text)
    const error = await readSequences(path).catch((error) => error)
    expect(error).toMatchObject({ name: 'KairosError', code: 'KAIROS_DATA' })
    expect(error.message).toContain(`readSequences: ${path}`)
    expect(error.message).toContain(message)
  })

  it('refuses a missing file and a folder', async () => {
    const readable = 'should be a readable text file of `user item item ...` lines but got'
    for (const [path, reason] of [
      [join(folder, 'missing.txt'), 'no such file'],
      [folder, 'a directory'],
    ] as const) {
      const error = await readSequences(path).catch((error) => error)
      expect(error).toMatchObject({ code: 'KAIROS_DATA', message: `readSequences: ${path} ${readable} ${reason}` })
    }
  })

  it('lets the event loop turn while it reads', async () => {
    const line = (user: number) => `${user} ${'1234567 '.repeat(1000)}\n`
    const path = await fileOf(Array.from({ length: 2500 }, (_, user) => line(user)).join(''))
    await readSequences(path) // compiled by now
    let turns = 0
    let reading = true
    const turn = () => {
      turns++
      if (reading) setImmediate(turn)
    }
    setImmediate(turn)
    const start = performance.now()
    await readSequences(path)
    reading = false
    // Every half millisecond by design; other processes may take the processor for a while.
    expect(turns).toBeGreaterThan((performance.now() - start) / 5)
  })
})
