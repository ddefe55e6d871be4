/**
 * One writer per folder. Each puts down a lock file of its own and then looks for others: of two that come together at
 * least one sees the other. A lock names its process and is void once that process has ended.
 */
import { randomUUID } from 'node:crypto'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { KairosError } from '../core/errors.js'

interface Holder {
  readonly pid: number
  readonly host: string
  /** When the process began, where the system tells: a pid is used again by and by. */
  readonly began: string | null
}

const LOCK = /^lock-.*\.json$/
/** Two that came together have both stepped back; at different times they come again. */
const ATTEMPTS = 3
const LONGEST_PAUSE = 60

/**
 * Takes the lock of a folder; the function it gives lets go.
 *
 * Throws KAIROS_ARGUMENT, naming the process, while another holds it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const id = randomUUID()
  const own = `lock-${id}.json`
  const half = join(folder, `.lock-${process.pid}-${id}`)
  const holder: Holder = { pid: process.pid, host: hostname(), began: await beganAt(process.pid) }
  for (let attempt = 1; ; attempt++) {
    // Renamed into place, so that nobody reads half a lock and takes it for a void one.
    await writeFile(half, JSON.stringify(holder))
    await rename(half, join(folder, own))
    const other = await otherHolder(folder, own)
    if (!other) return () => rm(join(folder, own), { force: true })
    await rm(join(folder, own), { force: true })
    if (attempt === ATTEMPTS) throw held(folder, other.holder, other.name)
    await setTimeout(Math.random() * LONGEST_PAUSE)
  }
}

async function otherHolder(folder: string, own: string): Promise<{ holder: Holder; name: string } | null> {
  for (const name of await readdir(folder)) {
    if (!LOCK.test(name) || name === own) continue
    const holder = await holderOf(join(folder, name))
    if (holder && (await isAlive(holder))) return { holder, name }
    await rm(join(folder, name), { force: true })
  }
  return null
}

const held = (folder: string, { pid, host }: Holder, name: string) =>
  new KairosError('KAIROS_ARGUMENT', {
    op: 'checkpoints',
    argument: folder,
    expected: 'a folder that nobody else writes',
    got: `one locked by process ${pid}${host === hostname() ? '' : ` on ${host}`}`,
    hint: `Wait for it, choose another folder, or, if it has ended for certain, remove ${name} there`,
  })

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
  const pid = /^\.lock-(\d+)-/.exec(name)?.[1]
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
