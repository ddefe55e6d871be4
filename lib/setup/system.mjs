// What the machine has to bring: Node, a C++ compiler, CMake and Highway's headers.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { capture, onPath, Stop, step } from './process.mjs'

const OLDEST_NODE = [20, 19]

export function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  throw new Stop(`Kairos needs Node ${OLDEST_NODE.join('.')} or newer, and this is Node ${process.versions.node}.`)
}

/** @param {string} header */
function headerFound(header) {
  const prefixes = (process.env.CMAKE_PREFIX_PATH ?? '').split(delimiter).filter(Boolean)
  return [...prefixes, '/usr', '/usr/local', '/opt/homebrew'].some((prefix) =>
    existsSync(join(prefix, 'include', header)),
  )
}

/** What CMake's build takes. */
const addonNeeds = [
  { what: 'a C++ compiler', apt: 'g++', brew: 'gcc', found: () => onPath('g++', 'clang++') },
  { what: 'CMake', apt: 'cmake', brew: 'cmake', found: () => onPath('cmake') },
  { what: 'Ninja or make', apt: 'ninja-build', brew: 'ninja', found: () => onPath('ninja', 'make') },
  { what: "Highway's headers", apt: 'libhwy-dev', brew: 'highway', found: () => headerFound('hwy/highway.h') },
]

/** What node-gyp's build takes besides. */
const gypNeeds = [
  { what: 'make', apt: 'make', brew: 'make', found: () => onPath('make') },
  { what: 'Python 3', apt: 'python3', brew: 'python', found: () => onPath('python3') },
]

/** How to run apt-get without asking anybody, or undefined where that is not permitted. */
function permittedApt() {
  if (!onPath('apt-get')) return undefined
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']
  if (process.getuid?.() === 0) return apt
  const sudo = onPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0
  return sudo ? ['sudo', '-n', ...apt] : undefined
}

/** @param {readonly (typeof addonNeeds)[number][]} missing */
function sentence(missing) {
  const what = missing.map((need) => need.what).join(', ')
  const apt = missing.map((need) => need.apt).join(' ')
  if (process.platform === 'darwin')
    return `Kairos needs ${what}; install with: brew install ${missing.map((need) => need.brew).join(' ')}`
  if (!onPath('apt-get'))
    return `Kairos needs ${what}; install with your package manager (Debian calls them ${apt}), then run this again.`
  const sudo = process.getuid?.() === 0 ? '' : 'sudo '
  return `Kairos needs ${what}; install with: ${sudo}apt-get update && ${sudo}apt-get install -y ${apt}`
}

/**
 * Finds what the build needs, and fetches it from apt where that is permitted.
 * @param {{ install: boolean, gyp?: boolean }} options
 */
export async function ensureSystemPackages({ install, gyp = false }) {
  const needs = gyp ? [...addonNeeds, ...gypNeeds] : addonNeeds
  let missing = needs.filter((need) => !need.found())
  if (missing.length === 0) return
  const apt = install ? permittedApt() : undefined
  if (!apt) throw new Stop(sentence(missing))
  const packages = missing.map((need) => need.apt)
  await step(`system packages: apt-get install ${packages.join(' ')}`, async () => {
    // One unreachable list among several must not stop the installation: whether it worked shows below.
    await capture([...apt, 'update']).catch(() => {})
    await capture([...apt, 'install', '-y', '--no-install-recommends', ...packages])
  })
  missing = needs.filter((need) => !need.found())
  if (missing.length > 0) throw new Stop(sentence(missing))
}

export function cudaSentence() {
  return onPath('nvcc') ? 'CUDA: nvcc found, GPU kernels are built' : 'CUDA: nvcc is not here, CPU kernels only'
}
