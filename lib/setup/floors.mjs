// The floors of lib/: an import goes down, never up, and never across to a sibling. `npm run test:lint` enforces it.
import { posix } from 'node:path'

/** What each folder may import; whatever those may import is allowed with them. */
export const floors = {
  core: [],
  runtime: ['core'],
  graph: ['core', 'runtime'],
  data: ['core', 'runtime'],
  ops: ['graph'],
  metrics: ['core'],
  nn: ['ops'],
  optim: ['ops'],
  losses: ['ops'],
  systems: ['nn', 'optim', 'losses', 'metrics'],
  train: ['systems', 'data', 'metrics'],
  federated: ['systems', 'data', 'metrics'],
  serve: ['train'],
  prove: ['train'],
  cli: ['serve', 'prove', 'federated'],
}

/**
 * @param {string} folder
 * @param {Record<string, readonly string[]>} table
 * @returns {Set<string>}
 */
function below(folder, table) {
  const direct = table[folder] ?? []
  return new Set(direct.flatMap((name) => [name, ...below(name, table)]))
}

/**
 * Where a path of lib/ lives: its folder, and the system it belongs to when it is inside one.
 * @param {string} path
 */
function place(path) {
  const [, folder = '', system = '', inside] = path.split('/')
  return { folder, system: folder === 'systems' && inside !== undefined ? system : undefined }
}

/**
 * The sentence that says why `from` may not import `specifier`, or undefined when it may.
 * @param {string} from path of the importing file, as in 'lib/ops/matmul.ts'
 * @param {string} specifier as it stands in the import
 * @param {Record<string, readonly string[]>} [table]
 * @returns {string | undefined}
 */
export function floorViolation(from, specifier, table = floors) {
  const here = place(from)
  if (!from.startsWith('lib/') || from.split('/').length < 3 || here.folder === 'setup') return undefined
  const allowed = table[here.folder]
  if (!allowed) return `${from}: lib/${here.folder} has no floor; give it one in lib/setup/floors.mjs`
  if (!specifier.startsWith('.'))
    return here.folder === 'core' ? `${from} imports ${specifier}: lib/core imports nothing` : undefined
  const target = posix.join(posix.dirname(from), specifier)
  const there = place(target)
  if (!target.startsWith('lib/') || !(there.folder in table)) return `${from} imports ${specifier}: that is on no floor`
  if (here.folder === there.folder) {
    const across = here.system !== undefined && there.system !== undefined && here.system !== there.system
    return across ? `${from} imports ${specifier}: a system does not reach into another` : undefined
  }
  if (!below(here.folder, table).has(there.folder))
    return `${from} imports ${specifier}: lib/${here.folder} may import ${allowed.join(', ') || 'nothing'} and what lies below`
  if (there.system !== undefined && here.folder !== 'cli')
    return `${from} imports ${specifier}: a system's inside is its own; import lib/systems instead`
  return undefined
}

/**
 * All violations among these files.
 * @param {Iterable<readonly [path: string, text: string]>} files
 * @param {(text: string) => readonly string[]} importsOf
 * @returns {string[]}
 */
export function floorViolations(files, importsOf) {
  return [...files].flatMap(([path, text]) =>
    importsOf(text).flatMap((specifier) => floorViolation(path, specifier) ?? []),
  )
}
