/** Checkpoints are whole or absent, and what is read from one is what was written, or a refusal in words. */
import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { isKairosError, OptimizerState, ParameterSet, State } from '../../lib/index.js'
import {
  type CheckpointContents,
  CheckpointFolder,
  type CheckpointStores,
  readCheckpoint,
} from '../../lib/train/checkpoint.js'
import { encodeManifest, parseManifest } from '../../lib/train/manifest.js'

let root = ''
let folders = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'kairos-checkpoint-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))
const freshFolder = () => join(root, String(folders++))

function storesOf(seed: number): CheckpointStores {
  const random = createRandom(seed)
  const floats = (length: number) => Float32Array.from({ length }, () => random.normal())
  return {
    parameters: ParameterSet.create([
      { name: 'table.weight', dtype: 'float32', shape: [40, 8], data: floats(320) },
      { name: 'bias', dtype: 'float32', shape: [], data: floats(1) },
    ]),
    optimizer: OptimizerState.create([
      { name: 'loss/step', dtype: 'int32', shape: [], data: Int32Array.of(seed) },
      { name: 'loss/table.weight/exp_avg', dtype: 'float32', shape: [40, 8], data: floats(320) },
    ]),
    state: State.create([{ name: 'seen', dtype: 'bool', shape: [5], data: Uint8Array.of(1, 0, 0, 1, 1) }]),
  }
}

const contentsOf = (step: number, more: Partial<CheckpointContents> = {}): CheckpointContents => ({
  step,
  cursor: { epoch: 2, batch: 7 },
  random: { seed: 3, draws: step },
  metrics: { auc: 0.75 },
  best: false,
  config: { system: 'small', layers: [8, 4] },
  schema: { x: { dtype: 'float32', shape: ['batch', 8] } },
  progress: { stale: 1 },
  stores: storesOf(step),
  program: Uint8Array.of(1, 2, 3, 4),
  ...more,
})

const valuesOf = async ({ parameters, optimizer, state }: CheckpointStores) => ({
  parameters: await parameters.read(),
  optimizer: await optimizer.read(),
  state: await state.read(),
})

const stepsIn = async (path: string) => (await readdir(path)).filter((name) => name.startsWith('step-')).sort()

async function saved(more: Partial<CheckpointContents> = {}): Promise<string> {
  const folder = await CheckpointFolder.open(freshFolder())
  const path = await folder.save(contentsOf(5, more))
  await folder.close()
  return path
}

describe('a folder of checkpoints', () => {
  it('gives back every value and the manifest', async () => {
    const contents = contentsOf(5)
    const path = await saved(contents)
    const checkpoint = await readCheckpoint(path)
    const { stores: _, program, ...rest } = contents
    expect(checkpoint.manifest).toMatchObject(rest)
    expect(new Uint8Array(await checkpoint.program())).toEqual(program)
    const target = storesOf(99)
    await checkpoint.restore(target)
    expect(await valuesOf(target)).toEqual(await valuesOf(contents.stores))
    expect((await readdir(path)).sort()).toEqual([
      'manifest.json',
      'optimizer.safetensors',
      'parameters.safetensors',
      'program.kairos',
      'state.safetensors',
    ])
  })

  it('keeps the last few and the best', async () => {
    const folder = await CheckpointFolder.open(freshFolder(), { keep: 2 })
    for (const step of [10, 20, 30, 40, 50]) await folder.save(contentsOf(step, { best: step === 10 || step === 20 }))
    expect(await stepsIn(folder.path)).toEqual(['step-000000020', 'step-000000040', 'step-000000050'])
    expect((await folder.latest()).checkpoint?.manifest.step).toBe(50)
    expect((await folder.best())?.manifest.step).toBe(20)
    await folder.save(contentsOf(50))
    expect((await folder.latest()).checkpoint?.path).toMatch(/step-000000050-1$/)
    await folder.close()
  })

  it('passes over what is half-written or damaged, and says why', async () => {
    const folder = await CheckpointFolder.open(freshFolder(), { keep: 9 })
    for (const step of [1, 2, 3, 4]) await folder.save(contentsOf(step))
    await rm(join(folder.path, 'step-000000004', 'manifest.json'))
    const flipped = join(folder.path, 'step-000000003', 'parameters.safetensors')
    const bytes = await readFile(flipped)
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
    await writeFile(flipped, bytes)
    await mkdir(join(folder.path, '.writing-1-9'))
    const { checkpoint, skipped } = await folder.latest()
    expect(checkpoint?.manifest.step).toBe(2)
    expect(skipped.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/step-000000004: no readable manifest\.json \(ENOENT\): not a checkpoint, or half of one/),
      expect.stringMatching(/step-000000003\/parameters\.safetensors: contents that are not those of its sha256/),
    ])
    await folder.close()
    const again = await CheckpointFolder.open(folder.path)
    expect(await readdir(again.path)).not.toContain('.writing-1-9')
    await again.close()
  })

  it('is empty at first', async () => {
    const folder = await CheckpointFolder.open(freshFolder())
    expect(await folder.latest()).toEqual({ checkpoint: null, skipped: [] })
    expect(await folder.best()).toBeNull()
    await folder.close()
    await expect(CheckpointFolder.open(folder.path, { keep: 0 })).rejects.toThrow(/keep should be a positive integer/)
  })
})

describe('the lock', () => {
  it('refuses a second writer and names the first', async () => {
    const folder = await CheckpointFolder.open(freshFolder())
    await expect(CheckpointFolder.open(folder.path)).rejects.toThrow(`one locked by process ${process.pid}`)
    await folder.close()
    await (await CheckpointFolder.open(folder.path)).close()
    expect(await readdir(folder.path)).toEqual([])
  })

  it('is void when its process has ended, or is another of the same number', async () => {
    const child = spawn(process.execPath, ['-e', ''])
    await new Promise((resolve) => child.once('exit', resolve))
    const { hostname } = await import('node:os')
    for (const lock of [
      { pid: child.pid, host: hostname(), began: null },
      { pid: process.pid, host: hostname(), began: '1' },
    ]) {
      const path = freshFolder()
      await mkdir(path)
      await writeFile(join(path, 'lock-1.json'), JSON.stringify(lock))
      await writeFile(join(path, `.lock-${child.pid}-0`), '{}')
      const folder = await CheckpointFolder.open(path)
      expect(await readdir(path)).toEqual([expect.stringMatching(/^lock-[0-9a-f-]{36}\.json$/)])
      await folder.close()
    }
  })

  it("holds for another machine's process", async () => {
    const path = freshFolder()
    await mkdir(path)
    await writeFile(join(path, 'lock-1.json'), JSON.stringify({ pid: 1, host: 'elsewhere', began: null }))
    await expect(CheckpointFolder.open(path)).rejects.toThrow(/locked by process 1 on elsewhere\. Wait for it/)
  })

  it('goes to one of many at most', async () => {
    const path = freshFolder()
    await mkdir(path)
    await writeFile(join(path, 'lock-1.json'), '')
    const tries = await Promise.allSettled(Array.from({ length: 12 }, () => CheckpointFolder.open(path)))
    const winners = tries.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    expect(winners.length).toBeLessThan(2)
    await winners[0]?.close()
    await (await CheckpointFolder.open(path)).close()
    expect(await readdir(path)).toEqual([])
  })
})

describe('refusing', () => {
  it.each([
    [
      'config',
      { config: { system: 'small', layers: [8, 5] } },
      /same config but got another: layers\.1 is 4 there, 5 here/,
    ],
    ['config', { config: { system: 'small' } }, /config but got another: layers is \[8,4\] there, nothing here/],
    [
      'schema',
      { schema: { x: { dtype: 'int32', shape: ['batch', 8] } } },
      /schema but got another: x\.dtype is "float32"/,
    ],
  ] as const)('another %s', async (_, more, message) => {
    const checkpoint = await readCheckpoint(await saved())
    const { config, schema } = { ...contentsOf(5), ...more }
    expect(() => checkpoint.requireFit({ config, schema })).toThrow(message)
    checkpoint.requireFit(contentsOf(5))
  })

  it('stores of other entries, writing none of them', async () => {
    const checkpoint = await readCheckpoint(await saved())
    const entries = [
      { name: 'table.weight', dtype: 'float32' as const, shape: [40, 8] },
      { name: 'bias', dtype: 'float32' as const, shape: [] },
    ]
    const wider = ParameterSet.create([entries[0], { ...entries[1], shape: [1] }] as never)
    await expect(checkpoint.restore({ parameters: wider })).rejects.toThrow(
      /parameters 'bias' should be float32 \[1\] but got float32 \[\]/,
    )
    expect((await wider.read()).bias).toEqual(new Float32Array(1))
    const more = ParameterSet.create([...entries, { name: 'extra', dtype: 'float32', shape: [] }] as never)
    await expect(checkpoint.restore({ parameters: more })).rejects.toThrow(/'extra' .* got nothing of that name/)
    const fewer = ParameterSet.create(entries.slice(1) as never)
    await expect(checkpoint.restore({ parameters: fewer })).rejects.toThrow(
      /'table\.weight' .* float32 \[40, 8\] in the checkpoint alone/,
    )
  })

  it.each([
    ['a manifest cut off', (text: string) => text.slice(0, 200), /no JSON .*cut off or damaged/],
    ['a foreign manifest', () => '{"format":"other"}', /no manifest of a Kairos checkpoint/],
    ['a manifest that is null', () => 'null', /no manifest of a Kairos checkpoint/],
    ['a later version', (text: string) => text.replace('"version": 1', '"version": 2'), /format version 2; .* reads 1/],
    ['another step', (text: string) => text.replace('"step": 5', '"step": 6'), /not those of its sha256: damaged/],
    ['a file name with a way out', (text: string) => resigned(text, { files: { '../x': {} } }), /files\.parameters/],
    ['a negative step', (text: string) => resigned(text, { step: -1 }), /step: /],
  ])('%s', async (_, damage, message) => {
    const path = join(await saved(), 'manifest.json')
    await writeFile(path, damage(await readFile(path, 'utf8')))
    await expect(readCheckpoint(join(path, '..'))).rejects.toThrow(message)
  })

  it('a file of another checkpoint, of another length, or none', async () => {
    const [one, two] = [await saved(), await saved({ stores: storesOf(6) })]
    await cp(join(two, 'optimizer.safetensors'), join(one, 'optimizer.safetensors'))
    await expect(readCheckpoint(one)).rejects.toThrow(/optimizer\.safetensors: contents that are not those/)
    await truncate(join(two, 'state.safetensors'), 20)
    await expect(readCheckpoint(two)).rejects.toThrow(/state\.safetensors: 20 bytes; the manifest says \d+/)
    await rm(join(two, 'state.safetensors'))
    await expect(readCheckpoint(two)).rejects.toThrow(/state\.safetensors: no such file/)
  })

  it('a flipped bit or a cut anywhere in any file, or it holds the same', async () => {
    const contents = contentsOf(5)
    const path = await saved(contents)
    const values = await valuesOf(contents.stores)
    const target = storesOf(1)
    const before = await valuesOf(target)
    const random = createRandom(17)
    let refused = 0
    for (const name of await readdir(path)) {
      const file = join(path, name)
      const whole = await readFile(file)
      for (let round = 0; round < 40; round++) {
        const damagedBytes = Buffer.from(whole)
        const at = random.int(whole.length)
        if (round % 4 === 0) await writeFile(file, whole.subarray(0, at))
        else {
          damagedBytes[at] = (damagedBytes[at] as number) ^ (1 << random.int(8))
          await writeFile(file, damagedBytes)
        }
        try {
          const checkpoint = await readCheckpoint(path)
          await checkpoint.restore(target)
          expect(await valuesOf(target)).toEqual(values)
          await Promise.all([
            target.parameters.write(before.parameters),
            target.optimizer.write(before.optimizer),
            target.state.write(before.state),
          ])
        } catch (error) {
          if (!isKairosError(error)) throw error
          expect(error.message).toMatch(/^checkpoint: .*\b(damaged|bytes|manifest|format version)\b/s)
          refused++
        }
      }
      await writeFile(file, whole)
    }
    expect(await valuesOf(target)).toEqual(before)
    // White space of the manifest may change; all else is refused.
    expect(refused).toBeGreaterThan(180)
  })
})

/** The manifest with other fields and a hash that fits them: what damage cannot make, but a stranger can. */
function resigned(text: string, fields: object): string {
  return new TextDecoder().decode(encodeManifest({ ...parseManifest(text, ''), ...fields } as never))
}
