/** Values that no function of the addon expects. */
import type { Random } from '../../lib/core/random.js'

/** What getters and traps of ours throw: these, and only these, may come out of the addon again. */
export const sentinels: readonly unknown[] = [
  new Error('thrown by a getter'),
  'a thrown string',
  Symbol('thrown'),
  undefined,
  null,
  17,
]

/** An error that a value made here is meant to cause in any function that touches it. */
export const isOurs = (error: unknown): boolean =>
  sentinels.includes(error) || (error instanceof TypeError && /revoked|Cannot convert|proxy/i.test(error.message))

const throwOurs = (random: Random) => (): never => {
  throw sentinels[random.int(sentinels.length)]
}

const Resizable = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(length: number): void }

// Node has it, the library of types does not. Its buffers can be read but not detached.
const { Memory: WasmMemory } = (
  globalThis as unknown as { WebAssembly: { Memory: new (o: object) => { buffer: ArrayBuffer } } }
).WebAssembly

const numbers = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  3,
  63,
  64,
  255,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 40,
  2 ** 53,
  2 ** 53 + 2,
  2 ** 63,
  1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
]
const texts = [
  '',
  'a\0b',
  'x'.repeat(100_000),
  '\ud800',
  '\u{1f600}',
  '__proto__',
  'constructor',
  'toString',
  'length',
  'float32',
  'float64',
  'batch',
  '0',
]
const arrayTypes = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
] as const

function buffer(random: Random): { make: () => ArrayBuffer; after: (made: ArrayBuffer) => void } {
  const nothing = () => undefined
  switch (random.int(6)) {
    case 0:
      return { make: () => new SharedArrayBuffer(64) as unknown as ArrayBuffer, after: nothing }
    case 1:
      return { make: () => new ArrayBuffer(64), after: (made) => void structuredClone(made, { transfer: [made] }) }
    case 2:
      return {
        make: () => new Resizable(64, { maxByteLength: 64 }),
        after: (made) => (made as InstanceType<typeof Resizable>).resize(8),
      }
    case 3:
      return {
        make: () => new Resizable(64, { maxByteLength: 128 }),
        after: (made) => (made as InstanceType<typeof Resizable>).resize(128),
      }
    case 4:
      return { make: () => new WasmMemory({ initial: 1 }).buffer, after: nothing }
    default:
      return { make: () => new ArrayBuffer(64), after: nothing }
  }
}

/** A view of every kind over a buffer of every kind: attached, shared, detached, shrunk, grown. */
export function wildView(random: Random): unknown {
  const { make, after } = buffer(random)
  const made = make()
  const Type = arrayTypes[random.int(arrayTypes.length)] as typeof Uint8Array
  const view = random.int(2) === 0 ? new Type(made) : new Type(made, 8, random.int(5))
  after(made)
  return random.int(8) === 0 ? made : view
}

function wildObject(random: Random): unknown {
  const throwing = throwOurs(random)
  const empty: Record<string, unknown> = {}
  const all = {
    get: throwing,
    has: throwing,
    ownKeys: throwing,
    getPrototypeOf: throwing,
    getOwnPropertyDescriptor: throwing,
  }
  const one = Object.keys(all)[random.int(5)] as keyof typeof all
  switch (random.int(16)) {
    case 0:
      return {}
    case 1:
      return []
    case 2:
      return Object.create(null)
    case 3:
      return new Proxy(empty, all)
    case 4:
      return new Proxy(random.int(2) === 0 ? empty : [1, 2, 3], { [one]: all[one] })
    case 5: {
      const { proxy, revoke } = Proxy.revocable(random.int(2) === 0 ? empty : [], {})
      revoke()
      return proxy
    }
    case 6:
      return new Proxy([{}, {}], {})
    case 7:
      return new Array(random.int(2) === 0 ? 3 : 2 ** 32 - 1)
    case 8: {
      const holed: unknown[] = [1, 2, 3]
      delete holed[1]
      return holed
    }
    case 9:
      return Object.defineProperty([], 0, { get: throwing, enumerable: true })
    case 10:
      return { [Symbol.toPrimitive]: throwing, toString: throwing, valueOf: throwing, length: 2 ** 31 }
    case 11:
      return new Proxy(new Float32Array(4), {})
    case 12:
      return [new Date(), /x/, new Map(), new Error('x'), new WeakMap(), Promise.resolve()][random.int(6)]
    case 13:
      return globalThis
    case 14:
      return Array.from({ length: 1000 }, (_, index) => index)
    default:
      return Object.freeze({ name: 'x', dtype: 'float32', shape: [2], capacity: 2 })
  }
}

/** Any value; `handles` are live and dead ones of all kinds. */
export function wildValue(random: Random, handles: readonly object[]): unknown {
  const handle = handles[random.int(Math.max(1, handles.length))]
  switch (random.int(13)) {
    case 0:
      return undefined
    case 1:
      return null
    case 2:
      return random.int(2) === 0
    case 3:
    case 4:
      return numbers[random.int(numbers.length)]
    case 5:
      return texts[random.int(texts.length)]
    case 6:
      return [Symbol('x'), Symbol.iterator, 1n, 2n ** 70n, () => undefined, class {}, Math.max][random.int(7)]
    case 7:
    case 8:
      return wildView(random)
    case 9:
      return handle
    case 10:
      return handle && [Object.create(handle), new Proxy(handle, {}), { ...handle }, [handle]][random.int(4)]
    default:
      return wildObject(random)
  }
}
