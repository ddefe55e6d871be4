/** PyTorch beside us: a Python process that trains on request, with the settings that are fastest for it. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Compiled } from '../lib/graph/compile.js'
import { profileByKernel } from '../lib/graph/explain.js'
import type { ParameterSet } from '../lib/index.js'
import { describe } from '../lib/runtime/index.js'
import { type ImportOptions, importStateDict } from '../lib/train/importStateDict.js'
import { TensorFile } from '../lib/train/safetensors.js'
import { PeerServer } from './peerServer.js'
import { type BenchResult, fasterThan, median, quantile } from './support.js'

/** A Python that has PyTorch, the one that PYTHON names or that of the system; or null. */
export function findPython(): string | null {
  const works = (python: string) => {
    try {
      execFileSync(python, ['-c', 'import numpy, torch'], { stdio: 'ignore' })
      return true
    } catch {
      return false
    }
  }
  const { PYTHON } = process.env
  return (PYTHON ? [PYTHON] : ['python3', '/usr/bin/python3']).find(works) ?? null
}

/**
 * Debian's OpenBLAS takes new processors for old ones unless told, and the build on POSIX threads fights with the
 * OpenMP threads of PyTorch; PyTorch itself stops at AVX2 unless told. OpenMP threads that spin are fastest, but on
 * a machine that is busy otherwise they spin for a core that they have not got.
 */
export function tuned(): NodeJS.ProcessEnv {
  const folders = existsSync('/usr/lib')
    ? readdirSync('/usr/lib').map((name) => join('/usr/lib', name, 'openblas-openmp'))
    : []
  const openMp = folders.filter((folder) => existsSync(folder))
  const path = [...openMp, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':')
  return {
    ...(describe().cpu.variants.includes('avx512')
      ? { OPENBLAS_CORETYPE: 'SkylakeX', ATEN_CPU_CAPABILITY: 'avx512' }
      : {}),
    ...((loadavg()[0] ?? 0) > availableParallelism() ? { OMP_WAIT_POLICY: 'PASSIVE' } : {}),
    ...process.env,
    ...(path ? { LD_LIBRARY_PATH: path } : {}),
  }
}

const script = (name: string) => fileURLToPath(new URL(`peers/${name}.py`, import.meta.url))

export type Feeds = Readonly<Record<string, Int32Array | Float32Array>>

export interface PeerOptions {
  readonly rename?: NonNullable<ImportOptions['rename']>
  /** Told to the peer. */
  readonly args?: readonly string[]
  /** Reads what else the peer has written into the folder, before it goes. */
  readonly read?: (folder: string) => Promise<void>
}

/** A peer's initial weights, taken over, and its batches: it writes them into a folder that is gone afterwards. */
export async function importPeer(
  python: string,
  name: string,
  model: object,
  parameters: ParameterSet,
  { rename = {}, args = [], read }: PeerOptions = {},
): Promise<readonly Feeds[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kairos-peer-'))
  try {
    execFileSync(python, [script(name), 'export', folder, ...args], {
      env: tuned(),
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    await importStateDict(model, join(folder, 'weights.safetensors'), { parameters, rename })
    const file = await TensorFile.open(join(folder, 'batches.safetensors'))
    const batches: Record<string, Int32Array | Float32Array>[] = []
    for (const { name } of file.tensors.values()) {
      const [index = '', field = ''] = name.split('.')
      batches[Number(index)] ??= {}
      Object.assign(batches[Number(index)] as Feeds, { [field]: await file.read(name) })
    }
    await file.close()
    await read?.(folder)
    return batches
  } finally {
    await rm(folder, { recursive: true })
  }
}

interface Answer {
  readonly milliseconds: readonly number[]
  readonly losses: readonly number[]
}

/** A Python peer that runs so many steps of a variant when asked. */
export class Peer {
  private readonly server: PeerServer

  constructor(python: string, name: string, threads: number, args: readonly string[]) {
    const env = { ...tuned(), THREADS: `${threads}` }
    this.server = new PeerServer(python, [script(name), 'serve', ...args], env)
  }

  async ready(): Promise<void> {
    await this.server.answer()
  }

  async train(variant: string, steps: number): Promise<Answer> {
    return (await this.server.ask(`${variant} ${steps}`)) as Answer
  }

  close(): void {
    this.server.close()
  }
}

export interface Comparison {
  readonly name: string
  readonly shape: string
  readonly threads: number
  /** Examples of a step. */
  readonly batch: number
  readonly program: Compiled<never, never>
  readonly parameters: ParameterSet
  readonly batches: readonly Feeds[]
  readonly peer: string
  readonly args?: readonly string[]
  /** Variants of the peer, and what they are called in the report. */
  readonly variants: Readonly<Record<string, string>>
  /** Whether the losses of the first steps must be ours; dropout draws apart. */
  readonly sameLosses: boolean
  /** So many times faster than the best variant. */
  readonly target?: number
  readonly steps?: number
  readonly rounds?: number
}

/**
 * Ours and every variant of the peer by turns, a few steps each; medians over all rounds. With one thread times are CPU
 * time of each process, so that other work on the machine counts for neither; with more they are wall time.
 */
export async function compareWithPeer(comparison: Comparison): Promise<BenchResult> {
  const { name, shape, threads, batch, variants, sameLosses, target, args = [], steps = 6, rounds = 5 } = comparison
  const python = findPython()
  const peer = python ? new Peer(python, comparison.peer, threads, args) : null
  await peer?.ready()
  const ours = new Ours(comparison)
  const contenders: Contender[] = [{ name: 'ours', times: [], train: () => ours.train(steps) }]
  for (const [key, title] of peer ? Object.entries(variants) : [])
    contenders.push({ name: title, times: [], train: () => (peer as Peer).train(key, steps) })
  for (let round = 0; round <= rounds; round++) {
    const answers: Answer[] = []
    for (const { train } of contenders) answers.push(await train())
    // The first round warms up, and is compared: later, rounding has grown.
    if (round > 0) contenders.forEach(({ times }, i) => times.push(...(answers[i] as Answer).milliseconds))
    else if (sameLosses) for (const { losses } of answers) requireSame(name, (answers[0] as Answer).losses, losses)
  }
  peer?.close()
  for (const { times } of contenders) times.sort((a, b) => a - b)
  const rate = (time: number) => `${Math.round((1000 * batch) / time).toLocaleString('en-US')} samples/s`
  const theirs = contenders.slice(1).map(({ name, times }) => ({ name, time: median(times) }))
  const best = theirs.toSorted((a, b) => a.time - b.time)[0]
  const mine = (contenders[0] as Contender).times
  const others = theirs.map(({ name, time }) => `PyTorch ${name} ${rate(time)}`)
  return {
    name,
    shape,
    threads,
    ours: median(mine),
    spread: [quantile(mine, 0.25), quantile(mine, 0.75)],
    ...(best ? { peer: { name: `PyTorch, ${best.name}`, time: best.time } } : {}),
    ...(best && target ? { target: fasterThan(median(mine), best.time, target, 'PyTorch') } : {}),
    note: [rate(median(mine)), ...(peer ? others : ['no PyTorch here to compare with']), ours.shares()].join('; '),
  }
}

interface Contender {
  readonly name: string
  readonly times: number[]
  train(): Promise<Answer>
}

class Ours {
  private turn = 0
  private profile: ArrayLike<number> = []

  constructor(private readonly comparison: Comparison) {}

  async train(steps: number): Promise<Answer> {
    const { program, parameters, batches, threads } = this.comparison
    const [milliseconds, losses]: [number[], number[]] = [[], []]
    for (let i = 0; i < steps; i++) {
      const [cpu, wall] = [process.cpuUsage(), performance.now()]
      const { outputs, profile = [] } = await program.run(
        batches[this.turn++ % batches.length] as never,
        {},
        { parameters },
      )
      const { user, system } = process.cpuUsage(cpu)
      milliseconds.push(threads === 1 ? (user + system) / 1000 : performance.now() - wall)
      losses.push(outputs.loss?.data[0] as number)
      this.profile = profile
    }
    return { milliseconds, losses }
  }

  /** The three kernels that take most of a step. */
  shares(): string {
    return profileByKernel(this.comparison.program.runner.plan, this.profile)
      .slice(0, 3)
      .map(({ kernel, share }) => `${kernel} ${Math.round(100 * share)} %`)
      .join(', ')
  }
}

function requireSame(name: string, ours: readonly number[], theirs: readonly number[]): void {
  if (ours.every((loss, i) => Math.abs(loss - (theirs[i] as number)) <= 1e-4)) return
  throw new Error(`${name}: losses differ, ${ours.join(', ')} and ${theirs.join(', ')}`)
}
