/** Registers and spills of kernels, as the toolkit's two tools tell them. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { describe as describeAddon } from '../../lib/runtime/index.js'
import { onPath } from '../../lib/setup/process.mjs'
import { parsePtxas, parseResourceUsage, spillsWhereHot } from '../../lib/setup/spills.mjs'

const ptxas = `ptxas info    : Compiling entry function '_ZN6kairos3gpu9RowKernelEv' for 'sm_90'
ptxas info    : Function properties for _ZN6kairos3gpu9RowKernelEv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 132 bytes smem
ptxas info    : Compiling entry function '_ZN6kairos3gpu11GreedyKernelEv' for 'sm_90'
ptxas info    : Function properties for _ZN6kairos3gpu11GreedyKernelEv
    64 bytes stack frame, 48 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
`

const cuobjdump = `Resource usage:
 Common:
  GLOBAL:0
 Function _ZN6kairos3gpu9RowKernelEv:
  REG:40 STACK:0 SHARED:132 LOCAL:0 CONSTANT[0]:600 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN6kairos3gpu11StartKernelEv:
  REG:32 STACK:16 SHARED:0 LOCAL:0 CONSTANT[0]:600 TEXTURE:0 SURFACE:0 SAMPLER:0
`

describe('spills', () => {
  it('are read from the report of ptxas', () => {
    const usages = parsePtxas(ptxas)
    expect(usages).toEqual([
      { name: '_ZN6kairos3gpu9RowKernelEv', registers: 40, stack: 0, spills: 0, shared: 132 },
      { name: '_ZN6kairos3gpu11GreedyKernelEv', registers: 255, stack: 64, spills: 64, shared: 0 },
    ])
    expect(usages.map(spillsWhereHot)).toEqual([false, true])
  })

  it('are read from that of cuobjdump, and cold kernels may', () => {
    const usages = parseResourceUsage(cuobjdump)
    expect(usages.map(({ registers, stack, shared }) => [registers, stack, shared])).toEqual([
      [40, 0, 132],
      [32, 16, 0],
    ])
    expect(usages.map(spillsWhereHot)).toEqual([false, false])
  })
})

/** Built with CUDA. */
const built = () => describeAddon().cuda.runtime !== undefined
const addon = fileURLToPath(new URL('../../build/Release/kairos.node', import.meta.url))

describe.skipIf(!onPath('cuobjdump') || !existsSync(addon) || !built())(
  'the addon (needs cuobjdump of the CUDA toolkit)',
  () => {
    it('holds code for sm_90', () => {
      expect(execFileSync('cuobjdump', ['--list-elf', addon], { encoding: 'utf8' })).toContain('sm_90')
    })
  },
)

describe.skipIf(!existsSync(addon) || !built())('the addon, built with CUDA', () => {
  it('holds code for sm_90, as its own text says', () => {
    // Fat binaries keep the options of ptxas as text, uncompressed.
    const text = execFileSync('grep', ['-aoc', 'sm_90', addon], { encoding: 'utf8' })
    expect(Number(text)).toBeGreaterThan(0)
  })
})
