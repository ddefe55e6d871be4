/** One writer per folder: a lock file that names its process, and is void once that process has ended. */
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { KairosError } from '../core/errors.js'

interface Holder {
  readonly pid: number
  readonly host: string
  /** When the process began, where the system tells: a pid is used again by and by. */
  readonly began: string | null
}

const LOCK = 'lock'
let locks = 0

/**
 * Takes the lock of a folder; the function it gives lets go.
 *
 * Throws KAIROS_ARGUMENT, naming the process, while another holds it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, LOCK)
  const own = join(folder, `.lock-${process.pid}-${locks++}`)
  const holder: Holder = { pid: process.pid, host: hostname(), began: await beganAt(process.pid) }
  await writeFile(own, JSON.stringify(holder))
  try {
    // A link is made whole or not at all, so that nobody sees half a lock.
    while (!(await linked(own, path))) await removeIfVoid(path, folder)
  } finally {
    await rm(own, { force: true })
  }
  return () => rm(path, { force: true })
}

async function linked(own: string, path: string): Promise<boolean> {
  try {
    await link(own, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function removeIfVoid(path: string, folder: string): Promise<void> {
  const holder = await holderOf(path)
  if (holder && (await isAlive(holder))) {
    throw new KairosError('KAIROS_ARGUMENT', {
      op: 'checkpoints',
      argument: folder,
      expected: 'a folder that nobody else writes',
      got: `one locked by process ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`}`,
      hint: `Wait for it, choose another folder, or, if it has ended for certain, remove ${path}`,
    })
  }
  // Moved before it is removed: of two that find it void, one moves it and the other finds nothing or the new lock.
  const aside = join(folder, `.lock-void-${process.pid}-${locks++}`)
  const moved = await rename(path, aside).then(
    () => true,
    () => false,
  )
  if (!moved) return
  const taken = await holderOf(aside)
  if (taken && (await isAlive(taken))) await linked(aside, path)
  await rm(aside, { force: true })
}

/** null for a lock that is gone or cannot be read: a machine that lost power may leave an empty one. */
async function holderOf(path: string): Promise<Holder | null> {
  try {
    const holder = JSON.parse(await readFile(path, 'utf8')) as Holder
    return Number.isInteger(holder.pid) && holder.pid > 0 ? holder : null
  } catch {
    return null
  }
}

async function isAlive({ pid, host, began }: Holder): Promise<boolean> {
  // Another machine's processes cannot be asked.
  if (host !== hostname()) return true
  if (!isRunning(pid)) return false
  const now = await beganAt(pid)
  return began === null || now === null || began === now
}

/** Whether a file is what a process that has ended left behind while it took or freed a lock. */
export function isLeftOver(name: string): boolean {
  const pid = /^\.lock-(?:void-)?(\d+)-/.exec(name)?.[1]
  return pid !== undefined && !isRunning(Number(pid))
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Another user's process answers EPERM, and lives.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Start time of a process in ticks since boot: field 22 of /proc/<pid>/stat, counted after the name in parentheses. */
async function beganAt(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended; it only waits to be noticed.
    return fields[0] === 'Z' ? 'ended' : (fields[19] ?? null)
  } catch {
    return null
  }
}
