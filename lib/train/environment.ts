/** Where a run took place: what a reader of its figures must know to have them again. */
import { execFile } from 'node:child_process'
import { arch, platform, release, totalmem } from 'node:os'
import { promisify } from 'node:util'
import { formatBytes } from '../graph/explain.js'
import { describe, type Executor } from '../runtime/index.js'

export type Environment = Readonly<Record<string, string>>

export async function environmentOf({ device, threads, variant }: Executor): Promise<Environment> {
  const { version, cpu, oneDnn, cuda } = describe()
  const commit = await gitCommit()
  return {
    Kairos: version,
    CPU: `${cpu.name}, ${cpu.cores} cores, kernels for ${variant}`,
    Threads: String(threads),
    Memory: formatBytes(totalmem()),
    oneDNN: oneDnn.available ? 'yes' : 'no',
    CUDA: cuda.available ? cuda.gpus.map(({ name }) => name).join(', ') : 'no',
    Device: device,
    Node: process.version,
    System: `${platform()} ${release()}, ${arch()}`,
    ...(commit ? { Commit: commit } : {}),
  }
}

/** Of the working directory, where it is a repository; with a mark when files differ from it. */
async function gitCommit(): Promise<string | null> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { timeout: 5000 })).stdout.trim()
  try {
    const commit = await git('rev-parse', '--short=12', 'HEAD')
    return (await git('status', '--porcelain', '--untracked-files=no')) ? `${commit}, with changes` : commit
  } catch {
    return null
  }
}
