/** The safetensors reader refuses everything but a well-formed file, in words; the writer writes what it reads. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { isKairosError } from '../../lib/index.js'
import { TensorFile, type TensorSource, writeTensors } from '../../lib/train/safetensors.js'
import { parseHeader } from '../../lib/train/safetensorsHeader.js'

let folder = ''
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kairos-safetensors-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const freshPath = () => join(folder, `${count++}.safetensors`)

const source = (
  name: string,
  shape: readonly number[],
  values: Float32Array | Int32Array | Uint8Array,
): TensorSource => ({
  name,
  shape,
  dtype: values instanceof Float32Array ? 'float32' : values instanceof Int32Array ? 'int32' : 'bool',
  read: (begin, end) => values.slice(begin, end),
})

/** A file of this header text and so many bytes of contents. */
function fileOf(header: string | Uint8Array, contents: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const bytes = new Uint8Array(8 + text.length + contents.length)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true)
  bytes.set(text, 8)
  bytes.set(contents, 8 + text.length)
  return bytes
}

async function reading(bytes: Uint8Array): Promise<TensorFile> {
  const path = freshPath()
  await writeFile(path, bytes)
  return TensorFile.open(path)
}

const entry = (dtype: string, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets })

describe('writing', () => {
  it('gives back what was written, over several pieces, with metadata', async () => {
    const long = Float32Array.from({ length: 300_001 }, (_, i) => Math.sin(i))
    const path = freshPath()
    const tensors = [
      source('seen', [3], Uint8Array.of(1, 0, 1)),
      source('long', [300_001], long),
      source('none', [0, 7], new Float32Array(0)),
      source('step', [], Int32Array.of(-7)),
      source('ünïcode "x"', [1, 2], Float32Array.of(Number.NaN, -0)),
    ]
    const { bytes, sha256 } = await writeTensors(path, tensors, { format: 'kairos' })
    expect(bytes).toBe((await readFile(path)).length)
    expect(sha256).toMatch(/^[0-9a-f]{64}$/)
    const file = await TensorFile.open(path)
    expect(file.metadata).toEqual({ format: 'kairos' })
    for (const { name, shape, read } of tensors) {
      expect(file.tensors.get(name)?.shape).toEqual(shape)
      expect(await file.read(name)).toEqual(await read(0, 1e9))
    }
    expect(await file.readRange('long', 299_990, 300_001)).toEqual(long.slice(299_990))
    await expect(file.readRange('long', 0, 700_002)).rejects.toThrow(/within its 300001 elements/)
    await expect(file.read('other')).rejects.toThrow(/no tensor 'other'/)
    await file.close()
  })

  it('refuses a name twice, and a file that exists', async () => {
    const path = freshPath()
    const twice = [source('a', [1], new Float32Array(1)), source('a', [1], new Float32Array(1))]
    expect(() => writeTensors(path, twice)).toThrow(/'a': a name in use/)
    await writeTensors(path, twice.slice(1))
    await expect(writeTensors(path, [])).rejects.toThrow(/EEXIST/)
  })
})

describe('types of other writers', () => {
  it('reads F64, F16, BF16 and I64', async () => {
    const contents = new DataView(new ArrayBuffer(8 * 2 + 8 * 2 + 2 * 6 + 2 * 2))
    contents.setFloat64(0, 0.1, true)
    contents.setFloat64(8, Number.NEGATIVE_INFINITY, true)
    contents.setBigInt64(16, -2147483648n, true)
    contents.setBigInt64(24, 2147483647n, true)
    for (const [i, half] of [0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x8000].entries()) {
      contents.setUint16(32 + 2 * i, half, true)
    }
    contents.setUint16(44, 0x3fc0, true)
    contents.setUint16(46, 0xff80, true)
    const header = JSON.stringify({
      d: entry('F64', [2], [0, 16]),
      l: entry('I64', [2], [16, 32]),
      h: entry('F16', [6], [32, 44]),
      b: entry('BF16', [2], [44, 48]),
    })
    const file = await reading(fileOf(header, new Uint8Array(contents.buffer)))
    expect(await file.read('d')).toEqual(Float32Array.of(0.1, Number.NEGATIVE_INFINITY))
    expect(await file.read('l')).toEqual(Int32Array.of(-2147483648, 2147483647))
    expect(await file.read('h')).toEqual(Float32Array.of(1, -2, 2 ** -24, 65504, Number.POSITIVE_INFINITY, -0))
    expect(await file.read('b')).toEqual(Float32Array.of(1.5, Number.NEGATIVE_INFINITY))
    await file.close()
  })

  it.each([
    ['F64', new Uint8Array(Float64Array.of(0, 1e39).buffer), 2, /tensor 'x' \(F64\): element 1 is 1e\+39/],
    ['I64', new Uint8Array(BigInt64Array.of(2n ** 31n).buffer), 1, /tensor 'x' \(I64\): element 0 is 2147483648/],
    ['BOOL', Uint8Array.of(1, 0, 2), 3, /tensor 'x' \(BOOL\): element 2 is 2/],
  ])('refuses %s that do not fit', async (dtype, contents, length, message) => {
    const header = JSON.stringify({ x: entry(dtype, [length], [0, contents.length]) })
    const file = await reading(fileOf(header, contents))
    await expect(file.read('x')).rejects.toThrow(message)
    await file.close()
  })
})

const good = '"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
const eight = new Uint8Array(8)
const bad: [string, Uint8Array, RegExp][] = [
  ['an empty file', new Uint8Array(0), /only 0 bytes/],
  ['five bytes', new Uint8Array(5), /only 5 bytes/],
  ['a header over 100 MB', fileOf(`{${good}}`, eight, 100_000_001n), /a header of 100000001 bytes, more than/],
  ['a header length of 2^64 - 1', fileOf(`{${good}}`, eight, 2n ** 64n - 1n), /18446744073709551615 bytes, more than/],
  ['a header past the file', fileOf(`{${good}}`, eight, 1000n), /a header of 1000 bytes in a file of \d+/],
  ['an empty header', fileOf(''), /does not start with '\{'/],
  ['a header that starts with a space', fileOf(` {${good}}`, eight), /does not start with '\{'/],
  ['a list', fileOf('[]'), /does not start with '\{'/],
  ['bad JSON', fileOf(`{${good}`, eight), /not JSON/],
  ['bad UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22)), /not JSON/],
  ['deep nesting', fileOf(`{"x":${'['.repeat(200_000)}`), /not JSON/],
  ['a name twice', fileOf(`{${good},${good}}`, eight), /'x' twice in the header/],
  ['a name twice, escaped', fileOf(`{${good},${good.replace('x', '\\u0078')}}`, eight), /'x' twice in the header/],
  ['a key twice', fileOf(`{${good.replace('{', '{"dtype":"F32",')}}`, eight), /'dtype' twice/],
  ['an unknown dtype', fileOf(`{${good.replace('F32', 'F8')}}`, eight), /tensor 'x': dtype "F8"; known are/],
  ['an inherited dtype', fileOf(`{${good.replace('F32', 'toString')}}`, eight), /dtype "toString"/],
  ['a dtype that is no string', fileOf(`{${good.replace('"F32"', '4')}}`, eight), /dtype 4/],
  ['no dtype', fileOf('{"x":{"shape":[2],"data_offsets":[0,8]}}', eight), /dtype undefined/],
  ['an entry that is a number', fileOf('{"x":1}'), /no object with dtype/],
  ['an entry that is null', fileOf('{"x":null}'), /no object with dtype/],
  ['an unknown key', fileOf(`{${good.replace('}', ',"strides":[1]}')}}`, eight), /unknown key 'strides'/],
  ['a negative size', fileOf(`{${good.replace('[2]', '[-2]')}}`, eight), /shape \[-2\], not a list of whole numbers/],
  ['a fraction', fileOf(`{${good.replace('[2]', '[1.5]')}}`, eight), /shape \[1.5\]/],
  ['a huge size', fileOf(`{${good.replace('[2]', '[1e300]')}}`, eight), /shape \[1e\+300\]/],
  [
    'sizes that multiply to too much',
    fileOf(`{${good.replace('[2]', '[9e15,9e15]')}}`, eight),
    /which takes 3\.24e\+32/,
  ],
  ['a size that is text', fileOf(`{${good.replace('[2]', '["2"]')}}`, eight), /shape \["2"\]/],
  ['no shape', fileOf('{"x":{"dtype":"F32","data_offsets":[0,8]}}', eight), /shape undefined/],
  [
    'bytes that are not the shape',
    fileOf(`{${good.replace('[2]', '[3]')}}`, eight),
    /8 bytes for F32 \[3\], which takes 12/,
  ],
  ['three offsets', fileOf(`{${good.replace('[0,8]', '[0,4,8]')}}`, eight), /data_offsets \[0,4,8\], not two/],
  ['negative offsets', fileOf(`{${good.replace('[0,8]', '[-8,0]')}}`, eight), /data_offsets \[-8,0\]/],
  ['offsets that are fractions', fileOf(`{${good.replace('[0,8]', '[0.5,8.5]')}}`, eight), /data_offsets \[0.5,8.5\]/],
  ['offsets turned round', fileOf(`{${good.replace('[0,8]', '[8,0]')}}`, eight), /end before they begin/],
  ['offsets past the end', fileOf(`{${good.replace('[0,8]', '[4,12]')}}`, eight), /past the 8 bytes of contents/],
  ['trailing bytes', fileOf(`{${good}}`, new Uint8Array(9)), /1 trailing bytes that no tensor covers/],
  ['contents without tensors', fileOf('{}', new Uint8Array(1)), /1 trailing bytes/],
  ['a hole', fileOf(`{${good.replace('[0,8]', '[4,12]')}}`, new Uint8Array(12)), /a hole of 4 bytes before it/],
  [
    'an overlap',
    fileOf(`{${good},${good.replace('"x"', '"y"').replace('[0,8]', '[4,12]')}}`, new Uint8Array(12)),
    /tensor 'y': data_offsets that overlap at byte 4/,
  ],
  ['metadata that are not strings', fileOf('{"__metadata__":{"step":3}}'), /__metadata__: not a mapping/],
  ['metadata that are a list', fileOf('{"__metadata__":[]}'), /__metadata__: not a mapping/],
]

describe('refusing', () => {
  it.each(bad)('%s', async (_, bytes, message) => {
    await expect(reading(bytes)).rejects.toThrow(message)
    await expect(reading(bytes)).rejects.toMatchObject({ code: 'KAIROS_DATA' })
  })

  it('a file that is not there, and a folder', async () => {
    await expect(TensorFile.open(join(folder, 'nothing'))).rejects.toThrow(/nothing: ENOENT/)
    await expect(TensorFile.open(folder)).rejects.toThrow(/not a file|EISDIR/)
  })

  it("takes '__proto__' for a name like others", async () => {
    const file = await reading(fileOf(`{${good.replace('"x"', '"__proto__"')}}`, eight))
    expect([...file.tensors.keys()]).toEqual(['__proto__'])
    await file.close()
  })
})

it('a header with any damage reads as ranges that cover the contents, or is refused in words', () => {
  const header = new TextEncoder().encode(
    '{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"y":{"dtype":"BOOL","shape":[],"data_offsets":[24,25]}}',
  )
  const random = createRandom(5)
  let refused = 0
  for (let round = 0; round < 4000; round++) {
    const bytes = header.slice(0, round % 5 === 0 ? random.int(header.length) : header.length)
    for (let change = random.int(3); change >= 0 && bytes.length > 0; change--) {
      bytes[random.int(bytes.length)] = random.int(2) ? random.int(256) : (header[random.int(header.length)] as number)
    }
    try {
      const { tensors } = parseHeader(bytes, 25, 'file')
      const covered = [...tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0)
      expect(covered).toBe(25)
    } catch (error) {
      if (!isKairosError(error, 'KAIROS_DATA')) throw error
      refused++
    }
  }
  expect(refused).toBeGreaterThan(2000)
})
