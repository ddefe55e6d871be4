// Everything that `npm run test:lint` looks at. A check answers a list of sentences; an empty list is a pass.
import { join } from 'node:path'
import { exists, filesUnder, read } from './files.mjs'
import { floorViolations } from './floors.mjs'
import { capture, onPath, root, step } from './process.mjs'

const LONGEST_FILE = 600
const CLANG_FORMAT = 14 // Debian 12's; others break lines elsewhere

/** @param {string} path @param {string} text */
export function lengthViolations(path, text) {
  const lines = text.split('\n').length - 1
  return lines > LONGEST_FILE ? [`${path} has ${lines} lines (at most ${LONGEST_FILE}): split it`] : []
}

/** Package names resolve through whatever registry is configured: the lockfile and the sources name none. */
const hosts = new RegExp(['npmjs\\.(org|com)', 'yarnpkg\\.com', 'npmmirror\\.com', 'jsr\\.io'].join('|'))
const somebodysMachine = /(^|[\s"'`(=])\/(work|root|Users|home\/\w+)\//m

/** @param {string} path @param {string} text */
export function wordViolations(path, text) {
  if (path === 'lib/setup/lint.mjs') return []
  const found = [
    { pattern: hosts, why: 'names a package registry' },
    { pattern: somebodysMachine, why: 'names a path of one machine' },
  ]
  return found.flatMap(({ pattern, why }) => {
    const match = text.match(pattern)
    return match ? [`${path} ${why}: ${match[0].trim()}`] : []
  })
}

/** @param {string} text the lockfile */
export function lockfileViolations(text) {
  const packages = JSON.parse(text).packages
  const resolved = Object.keys(packages).filter((path) => packages[path].resolved !== undefined)
  const fix = 'run npm install with omit-lockfile-registry-resolved=true, as .npmrc says'
  return resolved.length > 0 ? [`package-lock.json names a host for ${resolved.slice(0, 3).join(', ')}; ${fix}`] : []
}

/**
 * Both builds read native/sources.txt; a module of its own, like the one for oneDNN, stands in CMakeLists.txt.
 * @param {readonly string[]} files @param {string} listed
 */
export function sourceListViolations(files, listed) {
  const names = listed.split(/[\s()]+/)
  return files.filter((path) => !names.includes(path)).map((path) => `${path} is not in native/sources.txt`)
}

/** The files that people write, in all languages. */
const sources = () => [
  ...['lib', 'native', 'test', 'bench', '.ci'].flatMap((folder) => filesUnder(folder)),
  ...['README.md', 'CONTRIBUTING.md', 'CMakeLists.txt', 'binding.gyp', 'package.json', 'package-lock.json'].filter(
    exists,
  ),
]

async function checkFloors() {
  const { default: typescript } = await import('typescript')
  /** @param {string} text */
  const importsOf = (text) => typescript.preProcessFile(text).importedFiles.map((file) => file.fileName)
  return floorViolations(
    filesUnder('lib', /\.ts$/).map((path) => /** @type {const} */ ([path, read(path)])),
    importsOf,
  )
}

function checkLengths() {
  const written = ['lib', 'native'].flatMap((folder) => filesUnder(folder)).filter((path) => !path.endsWith('.inc'))
  return written.flatMap((path) => lengthViolations(path, read(path)))
}

/** @param {readonly string[]} command */
const passes = (command) =>
  capture(command, { lines: 10_000 }).then(
    () => [],
    (/** @type {Error} */ error) => [error.message],
  )

/** @param {string} path */
const tool = (path) => [process.execPath, join(root, 'node_modules', path)]

/** The clang-format whose line breaks are ours, if this machine has it. */
async function clangFormat() {
  const name = onPath(`clang-format-${CLANG_FORMAT}`, 'clang-format')
  if (!name) return undefined
  const version = await capture([name, '--version'])
  return version.includes(`version ${CLANG_FORMAT}.`) ? name : undefined
}

const nativeSources = () => filesUnder('native', /\.(h|cc)$/)

async function checkNativeFormat() {
  const name = await clangFormat()
  if (name) {
    const output = (await passes([name, '--dry-run', '-Werror', ...nativeSources()])).join('\n')
    const files = new Set(output.match(/^native\/[^:]+(?=:)/gm))
    return [...files].map((path) => `${path} is not formatted: npm run format`)
  }
  process.stdout.write(`skipped, clang-format ${CLANG_FORMAT} is not here ... `)
  return []
}

const checks = {
  'Biome: rules and format': () => passes([...tool('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings']),
  'clang-format: native/': checkNativeFormat,
  'generated tables': () => passes([process.execPath, 'native/generate.mjs', '--check']),
  'import floors': checkFloors,
  'length of files': checkLengths,
  'lockfile names no host': () => lockfileViolations(read('package-lock.json')),
  'native/sources.txt is complete': () =>
    sourceListViolations(filesUnder('native', /\.cc$/), read('native/sources.txt') + read('CMakeLists.txt')),
  'words that do not belong': () => sources().flatMap((path) => wordViolations(path, read(path))),
}

/** Runs every check, whatever the others say, and answers whether all passed. */
export async function lint() {
  let clean = true
  for (const [title, check] of Object.entries(checks)) {
    const violations = await step(title, check)
    for (const sentence of violations) console.log(`    ${sentence}`)
    if (violations.length > 0) clean = false
  }
  return clean
}

export async function format() {
  const left = await passes([...tool('@biomejs/biome/bin/biome'), 'check', '--write'])
  for (const sentence of left) console.log(sentence)
  const name = await clangFormat()
  if (name) await capture([name, '-i', ...nativeSources()])
  else console.log(`native/ is left alone: clang-format ${CLANG_FORMAT} is not here`)
}
