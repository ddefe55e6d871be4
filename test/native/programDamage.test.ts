import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { isKairosError } from '../../lib/core/errors.js'
import { Executor } from '../../lib/runtime/index.js'
import { CONSTANT, encodeFile, INPUT, type ProgramFile, STATE, stepFile, TEMPORARY } from './programFile.js'
import { failure } from './setup.js'

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

const damaged = (edit: (file: ProgramFile) => void): Uint8Array => {
  const file = stepFile()
  edit(file)
  return encodeFile(file)
}

/** Adds a step that adds up the rows by id, and computes their number: symbol 1, dim 3. */
const coalesceOf =
  ({ limit = 0, computed = false, twice = false }: { limit?: number; computed?: boolean; twice?: boolean }) =>
  (file: ProgramFile): void => {
    file.symbols.push('unique')
    file.dims.push([{ coefficient: 1, factors: [1] }])
    const temporary = { name: '', role: TEMPORARY, store: 0 }
    file.buffers.push(
      { ...temporary, dtype: 1, dims: [3], storage: 7 },
      { ...temporary, dtype: 0, dims: [3, 2], storage: 8 },
      { ...temporary, dtype: 1, dims: [], storage: 9 },
    )
    file.storageCount = 10
    const mode = { name: 'mode', type: 3, value: 'sum' } as const
    file.steps.splice(4, 0, { op: 'coalesce', inputs: [2, 6, 7], outputs: [8, 9, 10], attributes: [mode], source: '' })
    file.commitStart = 5
    const entry = { symbol: 1, limit, buffer: 10 }
    if (computed) file.computed.push(entry)
    if (twice) file.computed.push(entry)
  }

describe('a damaged program file is refused, naming the part', () => {
  const cases: [string, (file: ProgramFile) => void, RegExp][] = [
    ['magic', (f) => (f.magic = 'KAIROSPX'), /magic at byte 0/],
    ['version', (f) => (f.version = 3), /version at byte 8 should be 2 but got 3/],
    ['trailing bytes', (f) => f.trailing.push(1, 2), /end of file .* no more bytes but got 2 bytes/],
    ['a symbol twice', (f) => f.symbols.push('batch'), /symbol 1 .* 'batch' again/],
    [
      'a factor of no symbol',
      (f) => (f.dims[0]![0]!.factors[0] = 9),
      /dim 0 factor at byte \d+ should be one of 1 symbols/,
    ],
    ['a store twice', (f) => f.stores.push('parameters'), /store 1/],
    ['too many storages', (f) => (f.storageCount = 1 << 20), /storage count/],
    ['an unknown role', (f) => (f.buffers[0]!.role = 4), /buffer 0 role/],
    ['an unknown dtype', (f) => (f.buffers[0]!.dtype = 3), /buffer 0 dtype/],
    ['a rank beyond 8', (f) => (f.buffers[1]!.dims = Array(9).fill(0)), /buffer 1 rank .* 0 to 8 but got 9/],
    ['a dim out of range', (f) => (f.buffers[1]!.dims[0] = 3), /buffer 1 dim/],
    ['a storage out of range', (f) => (f.buffers[1]!.storage = 7), /buffer 1 storage/],
    ['a store slot out of range', (f) => (f.buffers[2]!.store = 1), /buffer 2 store slot/],
    ['a slot on an input', (f) => (f.buffers[0]!.store = 1), /buffer 0 store slot/],
    ['symbolic state', (f) => (f.buffers[2]!.dims = [0, 2]), /buffer 2 'weight' shape/],
    ['two owners of a storage', (f) => (f.buffers[1]!.storage = 0), /buffer 1 'x' storage/],
    ['two inputs of one name', (f) => (f.buffers[1]!.name = 'ids'), /buffer 1 'ids'/],
    [
      'a constant of another length',
      (f) => Object.assign(f.buffers[2]!, { role: CONSTANT, constant: new Uint8Array(31) }),
      /constant length .* 32/,
    ],
    [
      'state that overflows',
      (f) => {
        f.dims.push([{ coefficient: 2 ** 40, factors: [] }])
        f.buffers[2]!.dims = [3, 3]
      },
      /buffer 2/,
    ],
    ['a negative size', (f) => (f.dims[1]![0]!.coefficient = -4), /buffer 2 .* 0 or more/],
    ['an unknown kernel', (f) => (f.steps[0]!.op = 'gatherer'), /step 0 op .* 'gatherer'/],
    ['an operand too few', (f) => f.steps[0]!.inputs.pop(), /step 0 'gather' inputs .* 2 but got 1/],
    ['a result too many', (f) => f.steps[0]!.outputs.push(5), /step 0 'gather' outputs/],
    ['an operand out of range', (f) => (f.steps[0]!.inputs[0] = 8), /step 0 'gather' input/],
    ['a missing attribute', (f) => f.steps[2]!.attributes.pop(), /step 2 'sum' .* attribute 'count'/],
    ['an unknown attribute', (f) => (f.steps[2]!.attributes[0]!.name = 'axes'), /attribute 'axes'/],
    [
      'an attribute twice',
      (f) => (f.steps[2]!.attributes[1]!.name = 'axis'),
      /attribute 'axis' .* one value but got two/,
    ],
    ['an attribute of another type', (f) => (f.steps[2]!.attributes[0]!.type = 2), /attribute 'axis' .* type 1/],
    [
      'a read before the write',
      (f) => f.steps.splice(0, 1),
      /step 0 'elementwise' input .* but got 'rows', which none did/,
    ],
    ['a write to an input', (f) => (f.steps[2]!.outputs[0] = 1), /step 2 'sum' output .* but got 'x'/],
    [
      'a write to state before the commit',
      (f) => (f.commitStart = 5),
      /step 4 'elementwise' output .* but got 'weight'/,
    ],
    ['a commit that may meet a bad id', (f) => (f.commitStart = 3), /step 3 'gather' .* before the commit/],
    [
      'a result over an operand of a kernel that reads it again',
      (f) => (f.buffers[5]!.storage = 3),
      /step 2 'sum' outputs/,
    ],
    ['a commit start beyond the steps', (f) => (f.commitStart = 6), /commit start/],
    ['an output out of range', (f) => (f.outputs[0]!.buffer = 8), /output 0 buffer/],
    ['an output twice', (f) => (f.outputs[1]!.name = 'y'), /output 1/],
    [
      'an output that nobody writes',
      (f) => {
        f.buffers.push({ ...f.buffers[5]!, storage: f.storageCount++ })
        f.outputs[1]!.buffer = 8
      },
      /output 1/,
    ],
    ['a check of no int32 input', (f) => (f.checks[0]!.buffer = 1), /check 0 buffer .* int32 input/],
    ['a check against no dim', (f) => (f.checks[0]!.dim = 9), /check 0 dim/],
    ['a computed symbol out of range', (f) => f.computed.push({ symbol: 9, limit: 1, buffer: 5 }), /computed symbol 0/],
    [
      'a count that no step computes',
      (f) => f.computed.push({ symbol: 0, limit: 1, buffer: 5 }),
      /computed symbol 0 'batch' buffer .* should be an int32 of rank 0 that one compute step writes but got 'total'/,
    ],
    ['results of a computed number of rows, sized otherwise', coalesceOf({}), /results of 'coalesce'/],
    [
      'a limit that is computed itself',
      coalesceOf({ limit: 3, computed: true }),
      /limit of 'unique' .* should be a size over given symbols/,
    ],
    ['a symbol computed twice', coalesceOf({ computed: true, twice: true }), /computed once but got a second one/],
  ]
  test.each(cases)('%s', async (_, edit, message) => {
    const error = await failure(executor.loadProgram(damaged(edit)))
    expect(error).toMatchObject({ code: 'KAIROS_PROGRAM_FILE' })
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toMatch(/at byte \d+/)
  })

  test('every truncation', async () => {
    const whole = encodeFile(stepFile())
    for (let length = 0; length < whole.length; length++)
      expect(await failure(executor.loadProgram(whole.slice(0, length)))).toMatchObject({ code: 'KAIROS_PROGRAM_FILE' })
  })

  test('counts that the file cannot hold are refused before memory is asked for', async () => {
    const bytes = encodeFile(stepFile())
    new DataView(bytes.buffer).setUint32(24, 0xffffffff, true)
    await expect(executor.loadProgram(bytes)).rejects.toThrow(/symbol count at byte 24/)
  })
})

test('any flipped bytes are refused in words or load as another sound program', async () => {
  const whole = encodeFile(stepFile())
  const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  })
  await fc.assert(
    fc.asyncProperty(flips, async (list) => {
      const bytes = whole.slice()
      for (const [at, value] of list) bytes[at] = value
      try {
        const program = await executor.loadProgram(bytes)
        const symbols = Object.fromEntries(program.description.symbols.map((name) => [name, 3]))
        await program.bind(symbols)
      } catch (error) {
        expect(isKairosError(error)).toBe(true)
        expect(error).not.toMatchObject({ code: 'KAIROS_INTERNAL' })
      }
    }),
    { numRuns: 3000 },
  )
})

describe('binding proves shapes', () => {
  const bind = async (edit: (file: ProgramFile) => void, batch = 4) =>
    (await executor.loadProgram(damaged(edit))).bind({ batch })

  test('a kernel that does not fit names the line', async () => {
    const error = await failure(bind((f) => (f.buffers[1]!.dims = [0, 1])))
    expect(error).toMatchObject({ code: 'KAIROS_SHAPE', details: { op: 'elementwise', source: 'model.ts:7' } })
  })
  test('buffers of one storage have one size', async () => {
    const error = await failure(bind((f) => (f.buffers[4]!.dims = [0, 1])))
    expect(error).toMatchObject({ code: 'KAIROS_PROGRAM_FILE', details: { argument: "buffer 'y'" } })
  })
  test('sizes that overflow', async () => {
    const huge = (f: ProgramFile) => (f.dims[0] = [{ coefficient: 1, factors: Array(4).fill(0) }])
    await expect(bind(huge, 2 ** 40)).rejects.toMatchObject({
      code: 'KAIROS_SHAPE',
      details: { argument: "buffer 'ids'" },
    })
  })
  test('memory that does not exist', async () => {
    await expect(bind((f) => f.outputs.shift(), 2 ** 50)).rejects.toMatchObject({ code: 'KAIROS_OUT_OF_MEMORY' })
  })
  test('a size that grows while a count shrinks', async () => {
    const shrinking = (f: ProgramFile) => {
      f.dims[0] = [
        { coefficient: 9, factors: [] },
        { coefficient: -1, factors: [0] },
      ]
    }
    const executable = await bind(shrinking, 4) // 5 rows
    const error = await failure(
      executable.run({
        counts: { batch: 3 },
        feeds: { ids: new Int32Array(6), other: new Int32Array(6), x: new Float32Array(12) },
        stores: [null],
      }),
    )
    expect(error).toMatchObject({ code: 'KAIROS_SHAPE', details: { expected: 'at most [5]', got: '[6]' } })
  })
  test('capacities by name', async () => {
    const program = await executor.loadProgram(encodeFile(stepFile()))
    await expect(program.bind({})).rejects.toMatchObject({
      code: 'KAIROS_MISSING',
      details: { argument: 'capacities.batch' },
    })
    await expect(program.bind({ batch: 1, time: 2 })).rejects.toMatchObject({ code: 'KAIROS_UNKNOWN_NAME' })
  })
})

test('roles are what the format says', () => {
  expect([TEMPORARY, INPUT, STATE, CONSTANT]).toEqual([0, 1, 2, 3])
})
