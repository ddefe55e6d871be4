// `npm run spills`: registers, shared memory and spills of every CUDA kernel. From the built addon by cuobjdump where the
// toolkit has it, else by compiling once more with ptxas's own report.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exists, read } from './files.mjs'
import { capture, onPath, root } from './process.mjs'

const addon = 'build/Release/kairos.node'
const ARCHITECTURE = 'sm_90'

/** Kernels that may spill: they run once per step and not per element. @type {readonly RegExp[]} */
const COLD = [/StartKernel|TakeCountKernel|GateKernel|KeepKernel|CheckFiniteKernel/, /Solver|Weights/]

/**
 * What a kernel takes of a multiprocessor.
 * @typedef {{ name: string, registers: number, stack: number, spills: number | undefined, shared: number }} Usage
 */

/**
 * Reads `cuobjdump --dump-resource-usage`. It tells the stack of a thread, which spills and local arrays share.
 * @param {string} text
 * @returns {Usage[]}
 */
export function parseResourceUsage(text) {
  const pattern = /^\s*Function (\S+?):\s*\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+)/gm
  return [...text.matchAll(pattern)].map(([, name = '', registers, stack, shared]) => ({
    name,
    registers: Number(registers),
    stack: Number(stack),
    spills: undefined,
    shared: Number(shared),
  }))
}

/**
 * Reads what `ptxas -v` reports.
 * @param {string} text
 * @returns {Usage[]}
 */
export function parsePtxas(text) {
  const kernels = text.split(/Compiling entry function '/).slice(1)
  return kernels.map((part) => {
    const number = (/** @type {RegExp} */ pattern) => Number(pattern.exec(part)?.[1] ?? 0)
    return {
      name: part.slice(0, part.indexOf("'")),
      registers: number(/Used (\d+) registers/),
      stack: number(/(\d+) bytes stack frame/),
      spills: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
      shared: number(/(\d+) bytes smem/),
    }
  })
}

/** Whether a hot kernel keeps in memory what it should hold in registers. @param {Usage} usage */
export const spillsWhereHot = ({ name, stack, spills }) =>
  (spills ?? stack) > 0 && !COLD.some((pattern) => pattern.test(name))

/** @param {readonly string[]} names */
async function demangle(names) {
  if (!onPath('c++filt')) return names
  const lines = (await capture(['c++filt', ...names])).trimEnd().split('\n')
  return lines.map((line) =>
    line
      .replace(/^void /, '')
      .replaceAll('kairos::gpu::', '')
      .replaceAll('(anonymous namespace)::', ''),
  )
}

/** @returns {Promise<Usage[]>} */
async function fromPtxas() {
  const folder = mkdtempSync(join(tmpdir(), 'kairos-spills-'))
  try {
    const usages = []
    for (const name of read('native/cuda/sources.txt').trim().split('\n')) {
      const file = join(root, 'native/cuda', name)
      const flags = [
        '-std=c++20',
        '-O3',
        '--expt-relaxed-constexpr',
        `-I${join(root, 'native')}`,
        `-arch=${ARCHITECTURE}`,
      ]
      const report = await capture(['nvcc', ...flags, '-cubin', '-Xptxas=-v', '-o', join(folder, 'out'), file], {
        lines: 100_000,
      })
      usages.push(...parsePtxas(report))
    }
    return usages
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Lists every kernel; false where a hot one spills. Where neither tool is here it says so, and that is no failure. */
export async function spills() {
  let usages
  if (onPath('cuobjdump') && exists(addon))
    usages = parseResourceUsage(
      await capture(['cuobjdump', '--dump-resource-usage', '-arch', ARCHITECTURE, join(root, addon)], {
        lines: 100_000,
      }),
    )
  else if (onPath('nvcc')) usages = await fromPtxas()
  else {
    console.log('Skipped: registers and spills need cuobjdump or nvcc of the CUDA toolkit, and neither is on PATH.')
    return true
  }
  const names = await demangle(usages.map(({ name }) => name))
  console.log('registers  stack  spills  shared  kernel')
  const rows = usages.map((usage, index) => ({ ...usage, title: (names[index] ?? usage.name).replace(/\(.*$/, '') }))
  for (const { registers, stack, spills, shared, title } of rows.toSorted((a, b) => b.registers - a.registers))
    console.log(
      `${[registers, stack, spills ?? '?', shared].map((cell, i) => String(cell).padStart([9, 5, 6, 6][i] ?? 0)).join('  ')}  ${title}`,
    )
  const bad = rows.filter(spillsWhereHot)
  for (const { title } of bad) console.log(`${title} spills, and is no cold kernel.`)
  console.log(`${rows.length} kernels for ${ARCHITECTURE}, ${bad.length} hot ones spill.`)
  return bad.length === 0 && rows.length > 0
}
