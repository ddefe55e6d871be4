/**
 * Checkpoints: a folder of folders, each complete or absent.
 *
 *     run/checkpoints/lock-<id>.json
 *     run/checkpoints/step-000001200/  parameters.safetensors  optimizer.safetensors  state.safetensors
 *                                      program.kairos  manifest.json
 *
 * A checkpoint is written under a temporary name, every file synced, then renamed: a crash at any byte leaves the ones
 * before it. Nothing is believed that a hash does not confirm.
 */
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isKairosError, KairosError } from '../core/errors.js'
import type { StoreSlot } from '../graph/node.js'
import type { Executor, OptimizerState, ParameterSet, State, Store } from '../runtime/index.js'
import { factsOf, syncDirectory, writeDurably } from './files.js'
import { isLeftOver, lockFolder } from './lock.js'
import {
  encodeManifest,
  FILES,
  firstDifference,
  type Json,
  MANIFEST,
  type Manifest,
  parseManifest,
} from './manifest.js'
import { TensorFile, writeTensors } from './safetensors.js'
import { rangesOf, writeRanges } from './storeRanges.js'

/** What a checkpoint holds natively. */
export interface CheckpointStores {
  readonly parameters: ParameterSet
  readonly optimizer: OptimizerState
  readonly state: State
}

/** What is saved beside the stores; the manifest's other fields follow from them. */
export interface CheckpointContents
  extends Pick<Manifest, 'step' | 'cursor' | 'random' | 'metrics' | 'best' | 'config' | 'schema' | 'progress'> {
  readonly stores: CheckpointStores
  /** The program file, for servers: they trace nothing. */
  readonly program: Uint8Array
  /** Whose queue the stores are read in. */
  readonly executor?: Executor
}

/** What the caller would build; a checkpoint of anything else is refused. */
export interface Expected {
  readonly config: Json
  readonly schema: Json
}

export interface CheckpointFolderOptions {
  /** How many of the newest are kept; the best one is kept besides. */
  readonly keep?: number
}

/** One that was passed over, and why. */
export interface Skipped {
  readonly path: string
  readonly reason: string
}

const SLOTS = ['parameters', 'optimizer', 'state'] as const satisfies readonly StoreSlot[]
const NAME = /^step-(\d{9,16})(?:-(\d+))?$/
/** Half-written and half-removed checkpoints; whoever opens the folder next removes them. */
const TEMPORARY = /^\.(?:writing|removing)-/

const damaged = (argument: string, got: string, hint?: string) =>
  new KairosError('KAIROS_DATA', { op: 'checkpoint', argument, got, ...(hint ? { hint } : {}) })

/** A checkpoint whose manifest is sound. */
export class Checkpoint {
  private verified = false

  private constructor(
    readonly path: string,
    readonly manifest: Manifest,
  ) {}

  /** Checks the manifest, and that every file is there in its full length; `verify` checks the rest. */
  static async open(path: string): Promise<Checkpoint> {
    const text = await readFile(join(path, MANIFEST), 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw damaged(path, `no readable ${MANIFEST} (${error.code}): not a checkpoint, or half of one`)
    })
    const manifest = parseManifest(text, join(path, MANIFEST))
    for (const name of FILES) {
      const found = await stat(join(path, name)).catch(() => null)
      const { bytes } = manifest.files[name]
      if (!found?.isFile()) throw damaged(join(path, name), 'no such file, though the manifest names it')
      if (found.size !== bytes) throw damaged(join(path, name), `${found.size} bytes; the manifest says ${bytes}`)
    }
    return new Checkpoint(path, manifest)
  }

  /** Hashes every file, once. Throws KAIROS_DATA for the first that is not what was written. */
  async verify(): Promise<void> {
    if (this.verified) return
    for (const name of FILES) {
      const path = join(this.path, name)
      const { bytes, sha256 } = await factsOf(path)
      const { files } = this.manifest
      if (bytes !== files[name].bytes) throw damaged(path, `${bytes} bytes; the manifest says ${files[name].bytes}`)
      if (sha256 !== files[name].sha256) throw damaged(path, 'contents that are not those of its sha256: damaged')
    }
    this.verified = true
  }

  /** Throws KAIROS_ARGUMENT that names the first setting which differs. */
  requireFit(expected: Expected): void {
    for (const part of ['config', 'schema'] as const) {
      const difference = firstDifference(this.manifest[part] as Json, JSON.parse(JSON.stringify(expected[part])))
      if (difference === null) continue
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'checkpoint',
        argument: this.path,
        expected: `of the same ${part}`,
        got: `another: ${difference}`,
        hint: 'Train with the settings of the checkpoint, or into another folder',
      })
    }
  }

  /**
   * Puts the saved values into stores. Everything is verified before the first value is written.
   *
   * Throws KAIROS_DATA for damage, KAIROS_SHAPE for stores of other entries.
   */
  async restore(stores: Partial<CheckpointStores>, executor?: Executor): Promise<void> {
    await this.verify()
    const given = SLOTS.flatMap((slot) => (stores[slot] ? [[slot, stores[slot]] as const] : []))
    for (const [slot, store] of given) this.requireEntries(slot, store)
    for (const [slot, store] of given) {
      const file = await TensorFile.open(join(this.path, `${slot}.safetensors`))
      try {
        for (const entry of store.entries) {
          await writeRanges(store, entry, (begin, end) => file.readRange(entry.name, begin, end), { executor })
        }
      } finally {
        await file.close()
      }
    }
  }

  /** The program file. Verify first. */
  program(): Promise<Uint8Array> {
    return readFile(join(this.path, 'program.kairos'))
  }

  private requireEntries(slot: StoreSlot, store: Store): void {
    const saved = new Map(this.manifest.stores[slot].map((entry) => [entry.name, entry]))
    const refuse = (name: string, expected: string, got: string) =>
      new KairosError('KAIROS_SHAPE', { op: 'checkpoint', argument: `${this.path}: ${slot} '${name}'`, expected, got })
    const describe = ({ dtype, shape }: { dtype: string; shape: readonly number[] }) => `${dtype} [${shape.join(', ')}]`
    for (const entry of store.entries) {
      const found = saved.get(entry.name)
      if (!found) throw refuse(entry.name, describe(entry), 'nothing of that name')
      if (describe(found) !== describe(entry)) throw refuse(entry.name, describe(entry), describe(found))
      saved.delete(entry.name)
    }
    for (const [name, entry] of saved)
      throw refuse(name, 'in the model too', `${describe(entry)} in the checkpoint alone`)
  }
}

/** Opens and verifies a checkpoint to read from: no lock is taken. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const checkpoint = await Checkpoint.open(path)
  await checkpoint.verify()
  return checkpoint
}

export class CheckpointFolder {
  private constructor(
    readonly path: string,
    private readonly keep: number,
    private readonly unlock: () => Promise<void>,
  ) {}

  /** Takes the folder for one writer and removes what an earlier one left half-done. */
  static async open(path: string, { keep = 3 }: CheckpointFolderOptions = {}): Promise<CheckpointFolder> {
    if (!Number.isInteger(keep) || keep < 1) {
      throw new KairosError('KAIROS_ARGUMENT', {
        op: 'checkpoints',
        argument: 'keep',
        expected: 'a positive integer',
        got: String(keep),
      })
    }
    await mkdir(path, { recursive: true })
    const unlock = await lockFolder(path)
    for (const name of await readdir(path)) {
      if (TEMPORARY.test(name) || isLeftOver(name)) await rm(join(path, name), { recursive: true, force: true })
    }
    return new CheckpointFolder(path, keep, unlock)
  }

  /** The folder for reading alone: another process may write it meanwhile, and nothing is removed. */
  static reading(path: string): CheckpointFolder {
    return new CheckpointFolder(path, 1, async () => undefined)
  }

  /** Writes a checkpoint and removes those that are no longer kept. Resolves, with its path, once it is on the disk. */
  async save(contents: CheckpointContents): Promise<string> {
    const temporary = join(this.path, `.writing-${process.pid}-${contents.step}`)
    try {
      await writeCheckpoint(temporary, contents)
      const path = await this.freePath(contents.step)
      await rename(temporary, path)
      await syncDirectory(this.path)
      await this.prune()
      return path
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      throw error
    }
  }

  /**
   * The newest checkpoint that is sound, hashes and all, and those passed over on the way.
   *
   * null where none is sound.
   */
  async latest(): Promise<{ readonly checkpoint: Checkpoint | null; readonly skipped: readonly Skipped[] }> {
    return this.find(() => true)
  }

  /** The best checkpoint by the watched metric: the newest that was marked so. */
  async best(): Promise<Checkpoint | null> {
    return (await this.find(({ manifest }) => manifest.best)).checkpoint
  }

  /** Lets another writer in. */
  close(): Promise<void> {
    return this.unlock()
  }

  private async find(accept: (checkpoint: Checkpoint) => boolean) {
    const skipped: Skipped[] = []
    for (const name of await this.names()) {
      const path = join(this.path, name)
      try {
        const checkpoint = await Checkpoint.open(path)
        if (!accept(checkpoint)) continue
        await checkpoint.verify()
        return { checkpoint, skipped }
      } catch (error) {
        if (!isKairosError(error)) throw error
        skipped.push({ path, reason: error.message })
      }
    }
    return { checkpoint: null, skipped }
  }

  /** Newest first. */
  private async names(): Promise<string[]> {
    const order = (name: string) => {
      const [, step, again = '0'] = NAME.exec(name) as RegExpExecArray
      return [Number(step), Number(again)] as const
    }
    const names = (await readdir(this.path)).filter((name) => NAME.test(name))
    return names.sort((a, b) => {
      const [[stepA, againA], [stepB, againB]] = [order(a), order(b)]
      return stepB - stepA || againB - againA
    })
  }

  /** A step may be saved twice, as after a damaged checkpoint was passed over: nothing is ever written over. */
  private async freePath(step: number): Promise<string> {
    const taken = new Set(await readdir(this.path))
    const name = `step-${String(step).padStart(9, '0')}`
    let again = 0
    while (taken.has(again === 0 ? name : `${name}-${again}`)) again++
    return join(this.path, again === 0 ? name : `${name}-${again}`)
  }

  /** Removes what is older than the last few sound ones, but for the best. Damaged newer ones stay, for their reader. */
  private async prune(): Promise<void> {
    let sound = 0
    let bestSeen = false
    for (const name of await this.names()) {
      const path = join(this.path, name)
      const checkpoint = await Checkpoint.open(path).catch(() => null)
      const isBest: boolean = !bestSeen && checkpoint?.manifest.best === true
      bestSeen ||= isBest
      if (sound < this.keep || isBest) {
        sound += Number(checkpoint !== null)
        continue
      }
      // Out of sight first: what is half removed must not look like a checkpoint.
      const aside = join(this.path, `.removing-${name}`)
      await rename(path, aside)
      await rm(aside, { recursive: true, force: true })
    }
  }
}

async function writeCheckpoint(
  folder: string,
  { stores, program, executor, ...rest }: CheckpointContents,
): Promise<void> {
  await mkdir(folder)
  const files: Record<string, unknown> = {}
  for (const slot of SLOTS) {
    const name = `${slot}.safetensors`
    files[name] = await writeTensors(join(folder, name), rangesOf(stores[slot], executor), { format: 'kairos' })
  }
  files['program.kairos'] = await writeDurably(join(folder, 'program.kairos'), [program])
  const manifest = {
    format: 'kairos-checkpoint',
    version: 1,
    created: new Date().toISOString(),
    ...rest,
    stores: Object.fromEntries(SLOTS.map((slot) => [slot, stores[slot].entries])),
    files,
  } as unknown as Manifest
  await writeDurably(join(folder, MANIFEST), [encodeManifest(manifest)])
  await syncDirectory(folder)
}
