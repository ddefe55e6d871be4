// Walks over the repository's files, and fingerprints that tell whether something has to be built again.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './process.mjs'

/**
 * Paths of all files under a folder, relative to the root, in a fixed order.
 * @param {string} folder
 * @param {RegExp} [pattern]
 * @returns {string[]}
 */
export function filesUnder(folder, pattern = /./) {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`
      if (entry.isDirectory()) return filesUnder(path, pattern)
      return pattern.test(path) ? [path] : []
    })
}

/** @param {string} path */
export const read = (path) => readFileSync(join(root, path), 'utf8')

/** @param {string} path */
export const exists = (path) => existsSync(join(root, path))

/**
 * A hash of files' names and contents and of whatever else the result depends on.
 * @param {readonly string[]} paths
 * @param {...unknown} more
 */
export function fingerprint(paths, ...more) {
  const hash = createHash('sha256')
  for (const path of paths) hash.update(`${path}\0`).update(readFileSync(join(root, path)))
  return hash.update(JSON.stringify(more)).digest('hex')
}

/**
 * The version of an installed package: builds depend on it.
 * @param {string} name
 */
export const versionOf = (name) => JSON.parse(read(`node_modules/${name}/package.json`)).version

/**
 * @param {string} path
 * @param {string} text
 */
export function write(path, text) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}
