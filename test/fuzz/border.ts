/**
 * Fuzzes the addon's border: episodes of calls, each right up to at most one wrong place.
 *
 * An episode has executors, programs, bindings, stores and staging rings of its own, some disposed, some at work. A
 * call gets arguments that fit, then often one of them, at any depth, is replaced, left out, or given a getter that
 * throws or calls the addon in turn. Whatever happens is an answer, a refusal, or what the getter threw.
 */
import { createRandom, type Random } from '../../lib/core/random.js'
import type { Addon, NativeArray } from '../../lib/runtime/addon.js'
import { loadAddon } from '../../lib/runtime/loader.js'
import { corpus } from './corpus.js'
import { countsOf, decode, namedCounts, type ProgramFile } from './fileFormat.js'
import { Finding, isRefusal, show } from './judge.js'
import { bytesOf, feedsOf, recordOf, storeEntriesOf } from './requests.js'
import type { Fuzzer, Note } from './watch.js'
import { isOurs, sentinels, wildValue, wildView } from './wild.js'

const CALLS = 24
const DAMAGED = 0.6
const FILES = 12

type Name = keyof Addon
type Kind = 'executor' | 'program' | 'executable' | 'store' | 'staging'

interface Live {
  readonly kind: Kind
  readonly handle: object
  readonly file?: ProgramFile | undefined
  readonly bytes?: Uint8Array | undefined
  readonly capacities?: readonly number[] | undefined
  readonly entries?: readonly { readonly name: string; readonly data: NativeArray }[] | undefined
  /** The executor of an executable. */
  readonly owner?: object | undefined
}

const names: readonly Name[] = [
  'executorKernels',
  ...(['describe', 'createExecutor', 'closeExecutor', 'dispose', 'dispose'] as const),
  ...(['loadProgram', 'loadProgram', 'describeProgram', 'bind', 'bind', 'describeExecutable'] as const),
  ...(['run', 'run', 'run', 'run', 'run', 'runBlocking', 'runBlocking'] as const),
  ...([
    'createStore',
    'createStore',
    'storeEntries',
    'cloneStore',
    'readStore',
    'readStoreRange',
    'writeStoreRange',
    'writeStore',
    'writeStore',
    'averageStores',
  ] as const),
  ...(['createStaging', 'acquireStaging', 'acquireStaging', 'releaseStaging'] as const),
]

/** One episode's objects. */
class World {
  readonly all: Live[] = []
  readonly slots: { staging: object; slot: number; buffers: readonly ArrayBuffer[] }[] = []
  readonly pending: Promise<void>[] = []
  log = ''

  constructor(
    readonly addon: Addon,
    readonly random: Random,
    readonly files: readonly Uint8Array[],
    readonly note: Note,
  ) {}

  of(kind: Kind): Live {
    const those = this.all.filter((live) => live.kind === kind)
    return (those[this.random.int(Math.max(1, those.length))] ?? { kind, handle: {} }) as Live
  }

  say(line: string): void {
    this.log += `${line}\n`
    this.note(this.log)
  }
}

export class BorderFuzzer implements Fuzzer {
  private readonly tally = {
    episodes: 0,
    calls: 0,
    'damaged calls': 0,
    answers: 0,
    runs: 0,
    refusals: 0,
    'thrown by getters': 0,
  }
  private readonly addon = loadAddon()
  private readonly files: readonly Uint8Array[]

  constructor(private readonly seed: number) {
    const all = corpus()
    this.files = [all[0] as Uint8Array, ...createRandom(seed).shuffle(all.slice(1)).slice(0, FILES)]
  }

  counts(): Record<string, number> {
    return this.tally
  }

  complaint(): string | undefined {
    const { calls, answers, refusals } = this.tally
    if (calls < 1000 || (answers > 0.1 * calls && refusals > 0.1 * calls)) return undefined
    return `${answers} answers and ${refusals} refusals in ${calls} calls`
  }

  async iterate(iteration: number, note: Note): Promise<void> {
    const random = createRandom(this.seed).fork(iteration)
    const world = new World(this.addon, random, this.files, note)
    this.tally.episodes++
    for (const name of ['createExecutor', 'loadProgram', 'bind', 'createStaging', 'createStore'] as const)
      await this.call(world, name, false, true)
    for (let call = 0; call < CALLS; call++) {
      const name = names[random.int(names.length)] as Name
      // An executor that is closed early leaves little to do.
      if (name === 'closeExecutor' && random.int(4) > 0) continue
      await this.call(world, name, random.uniform() < DAMAGED, random.int(2) === 0)
    }
    if (random.int(16) === 0) (globalThis as { gc?: () => void }).gc?.()
    await Promise.all(world.pending)
    for (const { kind, handle } of world.all) {
      if (kind === 'executor')
        await this.settle(world, 'closeExecutor', [handle], () => this.addon.closeExecutor(handle as never))
      else await this.settle(world, 'dispose', [handle], () => this.addon.dispose(handle as never))
    }
  }

  private async call(world: World, name: Name, damaged: boolean, waits: boolean): Promise<void> {
    const { random } = world
    const live = argumentsOf(world, name)
    let how = ''
    if (damaged) {
      how = this.damage(world, live.args)
      this.tally['damaged calls']++
    }
    const shape = random.int(60)
    const addon = this.addon as unknown as Record<string, (...args: unknown[]) => unknown>
    const call = addon[name] as (...args: unknown[]) => unknown
    const invoke = () =>
      shape === 0
        ? new (call as never as new (...args: unknown[]) => unknown)(...live.args)
        : call.apply(shape === 1 ? null : addon, live.args)
    world.say(`${name}(${live.args.map(describe).join(', ')})${how}${waits ? '' : ' not awaited'}`)
    const settled = this.settle(world, name, live.args, invoke, shape === 0 ? undefined : live)
    if (waits) await settled
    else world.pending.push(settled)
  }

  /** Judges one call. */
  private async settle(world: World, name: Name, args: unknown[], invoke: () => unknown, live?: Call): Promise<void> {
    this.tally.calls++
    let answer: unknown
    try {
      answer = await invoke()
    } catch (error) {
      if (isRefusal(error)) this.tally.refusals++
      else if (isOurs(error)) this.tally['thrown by getters']++
      else throw new Finding(`${name} failed with ${show(error)} in\n${world.log}`)
      return
    }
    this.tally.answers++
    if (name === 'run' || name === 'runBlocking') this.tally.runs++
    if (live) adopt(world, name, args, answer, live)
  }

  /** Changes one place of the arguments; says which and how. */
  private damage(world: World, args: unknown[]): string {
    const { random } = world
    const places = placesIn(args, 'arguments', 4)
    if (places.length === 0) return ''
    const { holder, key, path } = places[random.int(places.length)] as Place
    const before = Reflect.get(holder, key)
    const kind = random.int(10)
    if (kind === 0) {
      if (Array.isArray(holder)) holder.length = Math.min(holder.length, Number(key))
      else Reflect.deleteProperty(holder, key)
      return ` without ${path}`
    }
    if (kind === 1) {
      Reflect.set(holder, Array.isArray(holder) ? holder.length : texts(random), before)
      return ` with more beside ${path}`
    }
    if (kind === 2 && holder !== args) {
      const thrown = sentinels[random.int(sentinels.length)]
      const get = () => {
        throw thrown
      }
      Object.defineProperty(holder, key, { get, enumerable: true })
      return ` with ${path} throwing`
    }
    if (kind === 3 && holder !== args) {
      const name = names[random.int(names.length)] as Name
      const inner = argumentsOf(world, name)
      const get = () => {
        const addon = this.addon as unknown as Record<string, (...args: unknown[]) => unknown>
        world.pending.push(
          this.settle(
            world,
            name,
            inner.args,
            () => (addon[name] as (...args: unknown[]) => unknown)(...inner.args),
            inner,
          ),
        )
        return before
      }
      Object.defineProperty(holder, key, { get, enumerable: true })
      return ` with ${path} calling ${name}(${inner.args.map(describe).join(', ')})`
    }
    const isView = ArrayBuffer.isView(before)
    const value =
      isView && random.int(2) === 0
        ? wildView(random)
        : wildValue(
            random,
            world.all.map(({ handle }) => handle),
          )
    Reflect.set(holder, key, value)
    return ` with ${path} = ${describe(value)}`
  }
}

const texts = (random: Random) => ['more', '__proto__', 'a\0b', '', '0'][random.int(5)] as string

interface Place {
  readonly holder: object
  readonly key: string
  readonly path: string
}

/** All places of the plain objects and arrays that make up some arguments. */
function placesIn(holder: object, path: string, depth: number): Place[] {
  return Object.keys(holder).flatMap((key) => {
    const value = Reflect.get(holder, key)
    const here = { holder, key, path: `${path}.${key}` }
    const plain =
      Array.isArray(value) ||
      (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    return plain && depth > 0 ? [here, ...placesIn(value, here.path, depth - 1)] : [here]
  })
}

function describe(value: unknown): string {
  try {
    if (typeof value === 'string') return JSON.stringify(value.slice(0, 40))
    if (typeof value === 'symbol' || typeof value === 'function' || typeof value === 'bigint') return typeof value
    if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value)
    if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`
    return (
      JSON.stringify(value, (_, inner) =>
        ArrayBuffer.isView(inner) ? `${inner.constructor.name}(${inner.byteLength} bytes)` : inner,
      ) ?? '?'
    ).slice(0, 300)
  } catch {
    return 'an object that does not show itself'
  }
}

// Arguments that fit -------------------------------------------------------------------------------------------------

interface Call {
  readonly args: unknown[]
  /** What the call is about, where its result depends on it. */
  readonly about?: Partial<Live>
}

function argumentsOf(world: World, name: Name): Call {
  const { random } = world
  const executor = () => world.of('executor').handle
  switch (name) {
    case 'describe':
      return { args: [] }
    case 'createExecutor': {
      const { variants } = world.addon.describe().cpu
      const variant = variants[random.int(variants.length)]
      return { args: [{ threads: 1 + random.int(2), variant, matmul: ['own', 'auto'][random.int(2)] }] }
    }
    case 'executorKernels':
    case 'closeExecutor':
      return { args: [executor()] }
    case 'dispose':
      return {
        args: [
          world.of((['program', 'executable', 'store', 'staging', 'executor'] as const)[random.int(5)] as Kind).handle,
        ],
      }
    case 'loadProgram': {
      const bytes = world.files[random.int(2) === 0 ? 0 : random.int(world.files.length)] as Uint8Array
      return { args: [executor(), bytes], about: { bytes } }
    }
    case 'describeProgram':
      return { args: [world.of('program').handle] }
    case 'bind':
      return bindArguments(world)
    case 'describeExecutable':
      return { args: [world.of('executable').handle] }
    case 'run':
    case 'runBlocking':
      return runArguments(world)
    case 'createStore':
      return storeArguments(world)
    case 'storeEntries':
      return { args: [world.of('store').handle] }
    case 'cloneStore': {
      const { handle, entries } = world.of('store')
      return { args: [executor(), handle], about: { entries } }
    }
    case 'readStore': {
      const { handle, entries = [] } = world.of('store')
      return { args: [executor(), handle, entries.map((entry) => entry.name)] }
    }
    case 'writeStore': {
      const { handle, entries = [] } = world.of('store')
      return {
        args: [executor(), handle, recordOf(entries.map(({ name: entry, data }) => [entry, data.slice()] as const))],
      }
    }
    case 'readStoreRange':
    case 'writeStoreRange': {
      const { handle, entries = [] } = world.of('store')
      const entry = entries[random.int(Math.max(1, entries.length))]
      if (!entry) return { args: [executor(), handle, 'none', 0, 0, new Float32Array(0)] }
      const [begin, end] = [random.int(entry.data.length + 1), random.int(entry.data.length + 2)].sort((a, b) => a - b)
      return { args: [executor(), handle, entry.name, begin, end, entry.data.slice(begin, end)] }
    }
    case 'averageStores': {
      const { handle } = world.of('store')
      return {
        args: [
          executor(),
          handle,
          [handle, random.int(2) === 0 ? handle : world.of('store').handle],
          [0.5, random.normal()],
        ],
      }
    }
    case 'createStaging':
      return stagingArguments(world)
    case 'acquireStaging':
      return { args: [world.of('staging').handle] }
    case 'releaseStaging': {
      const leased = world.slots[random.int(Math.max(1, world.slots.length))]
      return { args: [leased?.staging ?? world.of('staging').handle, leased?.slot ?? random.int(3)] }
    }
  }
}

function bindArguments(world: World): Call {
  const { random } = world
  const { handle, file } = world.of('program')
  const capacities = file ? countsOf(file, () => random.int(6)) : []
  const fits = !file || bytesOf(file, capacities) < 1n << 21n
  const counts = recordOf(file ? namedCounts(file, fits ? capacities : capacities.map(() => 0)) : [])
  const owner = world.of('executor').handle
  const options = { poison: random.int(4) === 0, profile: random.int(4) === 0 }
  return { args: [owner, handle, { ...counts }, options], about: { file, capacities, owner } }
}

/** A run with its stores, and with a leased slot where there is one. */
function runArguments(world: World): Call {
  const { random, addon } = world
  const { handle, file, capacities = [], owner } = world.of('executable')
  if (!file) return { args: [owner ?? {}, handle, { counts: {}, feeds: [], stores: [] }] }
  const counts = countsOf(file, (symbol) => random.int((capacities[symbol] ?? 0) + 1))
  const stores = storeEntriesOf(file, random).map((entries) => (entries ? addon.createStore(entries) : null))
  const leased = random.int(3) === 0 ? world.slots[random.int(Math.max(1, world.slots.length))] : undefined
  // What a slot brings needs no feed.
  const feeds = feedsOf(file, counts, random).map((feed) => (leased && random.int(2) === 0 ? undefined : feed))
  const finite = random.int(4) === 0 ? { requireFinite: file.outputs.map(({ name }) => name) } : {}
  const request = {
    ...(leased ? { leased: { staging: leased.staging, slot: leased.slot } } : {}),
    counts: { ...recordOf(namedCounts(file, counts)) },
    stores,
    ...finite,
    feeds,
  }
  return { args: [random.int(10) === 0 ? world.of('executor').handle : (owner ?? {}), handle, request] }
}

function storeArguments({ random }: World): Call {
  const entries = Array.from({ length: random.int(4) }, (_, index) => {
    const shape = Array.from({ length: random.int(4) }, () => random.int(4))
    const length = shape.reduce((product, size) => product * size, 1)
    const kind = random.int(3)
    const data = [new Float32Array(length), new Int32Array(length), new Uint8Array(length)][kind] as NativeArray
    return { name: `entry${index}`, dtype: ['float32', 'int32', 'bool'][kind] as string, shape, data }
  })
  const given = entries.map(({ data, ...entry }) => (random.int(2) === 0 ? { ...entry, data } : { ...entry }))
  return { args: [given], about: { entries } }
}

/** A ring for the inputs of a program, so that runs can take its slots. */
function stagingArguments(world: World): Call {
  const { file } = world.of('program')
  const inputs = (file?.buffers ?? []).filter(({ role, dims }) => role === 1 && dims.length > 0)
  const entries = inputs.map(({ name, dtype }) => ({
    name,
    dtype: ['float32', 'int32', 'bool'][dtype] as string,
    capacity: 512,
  }))
  return { args: [entries.slice(0, 1 + world.random.int(3)), 1 + world.random.int(3)] }
}

/** Takes what a call gave into the world. */
function adopt(world: World, name: Name, args: readonly unknown[], answer: unknown, { about }: Call): void {
  const kinds: Partial<Record<Name, Kind>> = {
    createExecutor: 'executor',
    loadProgram: 'program',
    bind: 'executable',
    createStore: 'store',
    cloneStore: 'store',
    createStaging: 'staging',
  }
  const kind = kinds[name]
  if (kind) {
    const file = about?.bytes && args[1] === about.bytes ? decode(about.bytes).file : about?.file
    world.all.push({ ...about, kind, handle: answer as object, file })
  }
  if (name === 'acquireStaging' && answer !== null) {
    world.slots.push({ staging: args[0] as object, ...(answer as { slot: number; buffers: ArrayBuffer[] }) })
    // A user who gives a buffer away; a run may have taken it by now.
    const [first] = (answer as { buffers: ArrayBuffer[] }).buffers
    if (first && first.byteLength > 0 && world.random.int(6) === 0) structuredClone(first, { transfer: [first] })
  }
}
