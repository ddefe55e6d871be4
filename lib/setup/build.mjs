// Brings node_modules, the addon and dist up to date. Each part first asks, in milliseconds, whether it already is.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { exists, filesUnder, fingerprint, read, versionOf, write } from './files.mjs'
import { capture, onPath, root, step } from './process.mjs'
import { ensureSystemPackages } from './system.mjs'

/** Tells the `prepare` script that set-up called npm and will build by itself. */
export const SETUP_VARIABLE = 'KAIROS_SETUP'

/** npm records what it installed in node_modules/.package-lock.json, last of all: compare that with the lockfile. */
export function dependenciesCurrent() {
  if (!exists('node_modules/.package-lock.json')) return false
  const wanted = JSON.parse(read('package-lock.json')).packages
  const installed = JSON.parse(read('node_modules/.package-lock.json')).packages
  return Object.keys(wanted).every((path) => {
    if (path === '') return true
    if (!installed[path]) return wanted[path].optional === true
    return installed[path].version === wanted[path].version && installed[path].integrity === wanted[path].integrity
  })
}

export async function ensureDependencies() {
  if (dependenciesCurrent()) return false
  await step('dependencies: npm ci', () => capture(['npm', 'ci', '--include=dev'], { env: { [SETUP_VARIABLE]: '1' } }))
  return true
}

/** @param {string} folder */
const addonIn = (folder) => `${folder}/Release/kairos.node`

/** Jobs of the compiler: every core, but no more than memory allows at a gigabyte each. */
const jobs = () => String(Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30))))

/**
 * What the environment asks of CMake, as CI does: KAIROS_WERROR=ON treats warnings as errors, and
 * KAIROS_CUDA_ARCHITECTURES=90 compiles CUDA's kernels once.
 */
const environmentOptions = () =>
  Object.fromEntries(
    ['KAIROS_WERROR', 'KAIROS_CUDA_ARCHITECTURES'].flatMap((name) => {
      const value = process.env[name]
      return value ? [[name, value]] : []
    }),
  )

/**
 * Builds the addon with CMake into `folder`, if anything it is made of has changed.
 * @param {{ folder?: string, options?: Record<string, string>, install?: boolean }} [request]
 */
export async function ensureAddon({ folder = 'build', options = environmentOptions(), install = true } = {}) {
  const stamp = `${folder}/kairos.stamp`
  const tools = ['cmake-js', 'node-addon-api'].map(versionOf)
  const now = fingerprint(['CMakeLists.txt', ...filesUnder('native')], options, tools)
  if (exists(stamp) && read(stamp) === now && exists(addonIn(folder))) return false
  await ensureSystemPackages({ install })
  forgetUnusableCache(folder, options)
  const tool = onPath('ninja') ? 'CMake and Ninja' : 'CMake and make'
  await step(`native addon into ${folder}/: ${tool}`, async () => {
    const defines = Object.entries(options).map(([name, value]) => `--CD${name}=${value}`)
    const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ? [] : ['--parallel', jobs()]
    const cmakeJs = join(root, 'node_modules/cmake-js/bin/cmake-js')
    // `build`, never `compile`: on any error `compile` wipes the folder and tries everything again.
    await capture([process.execPath, cmakeJs, 'build', '--out', join(root, folder), ...parallel, ...defines])
  })
  write(stamp, now)
  return true
}

/** Options that choose what is built, as CMakeLists.txt has them unless they are told. @type {Record<string, string>} */
const DEFAULTS = {
  KAIROS_WERROR: 'OFF',
  KAIROS_SANITIZE: 'OFF',
  KAIROS_ONEDNN: 'AUTO',
  KAIROS_CUDA: 'AUTO',
  KAIROS_CUDA_ARCHITECTURES: '80-real;90',
}

/**
 * cmake-js configures only where there is no CMakeCache.txt, so one that does not fit has to go first: left by a
 * configuration that failed, carried along from another folder, or made with other options.
 * @param {string} folder
 * @param {Record<string, string>} options
 */
function forgetUnusableCache(folder, options) {
  const cache = `${folder}/CMakeCache.txt`
  if (!exists(cache)) return
  const text = read(cache)
  const moved = !text.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`)
  const unfinished = !exists(`${folder}/build.ninja`) && !exists(`${folder}/Makefile`)
  const differs = Object.entries(DEFAULTS).some(([name, otherwise]) => {
    const cached = text.match(new RegExp(`^${name}:\\w+=(.*)$`, 'm'))?.[1]
    return cached !== undefined && cached !== (options[name] ?? otherwise)
  })
  if (moved) rmSync(join(root, folder), { recursive: true })
  else if (unfinished || differs) rmSync(join(root, cache))
}

/**
 * Builds the CPU-only addon with node-gyp. It always writes to `build/` beside binding.gyp, which is CMake's folder,
 * so it works in a folder of links to ours.
 */
export async function buildWithGyp() {
  const folder = join(root, 'build-gyp')
  mkdirSync(folder, { recursive: true })
  for (const name of ['binding.gyp', 'native', 'node_modules', 'package.json']) {
    rmSync(join(folder, name), { force: true })
    symlinkSync(join('..', name), join(folder, name))
  }
  const prefix = join(process.execPath, '../..')
  const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
  const compiler = onPath('ccache') && !process.env.CXX ? { CXX: 'ccache g++' } : {}
  const env = { ...compiler, GYP_DEFINES: 'optimize=0' }
  const jobCount = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? jobs()
  const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js')
  await step('native addon into build-gyp/: node-gyp, unoptimised', () =>
    capture([process.execPath, gyp, 'configure', 'build', `--jobs=${jobCount}`, ...headers], { cwd: folder, env }),
  )
}

/** Compiles lib/ to dist/ when a source has changed. */
export async function ensureDist() {
  const stamp = 'dist/kairos.stamp'
  const now = fingerprint(['tsconfig.json', ...filesUnder('lib', /\.ts$/)], versionOf('typescript'))
  if (exists(stamp) && read(stamp) === now) return false
  await step('TypeScript into dist/: tsc', async () => {
    rmSync(join(root, 'dist'), { recursive: true, force: true })
    await capture([process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json'])
  })
  write(stamp, now)
  return true
}
