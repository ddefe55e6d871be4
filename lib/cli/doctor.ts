/** `kairos doctor`: what this machine has and what Kairos makes of it. */
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, freemem, platform, totalmem } from 'node:os'
import { isKairosError } from '../core/errors.js'
import type { AddonDescription } from '../runtime/addon.js'
import { describe } from '../runtime/index.js'
import { formatTable } from '../train/table.js'
import { version } from './version.js'

/** Instruction sets that kernels use or could use, as Linux names them. */
const NOTEWORTHY =
  /^(sse4_2|avx|avx2|fma|avx512f|avx512bw|avx512dq|avx512vl|avx512_vnni|avx512_bf16|avx512_fp16|amx_\w+|asimd|sve\w*)$/

function features(): [string, string][] {
  try {
    const [, flags = ''] = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? []
    const known = flags.split(' ').filter((flag) => NOTEWORTHY.test(flag))
    return known.length > 0 ? [['features', known.join(' ')]] : []
  } catch {
    return [] // Not Linux.
  }
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

/** Rows of the report; the native part is absent where the addon does not load. */
export function diagnosis(native: AddonDescription | undefined): [string, string][] {
  const rows: [string, string][] = [
    ['Kairos', native && native.version !== version ? `${version} (addon ${native.version})` : version],
    ['Node', `${process.versions.node}, Node-API ${process.versions.napi}, V8 ${process.versions.v8}`],
    ['platform', `${platform()}-${arch()}`],
    ['memory', `${gibibytes(totalmem())}, ${gibibytes(freemem())} free`],
    ['threads', `${availableParallelism()} available`],
  ]
  if (!native) return rows
  const { cpu, cuda, oneDnn, kernels } = native
  const cap = process.env.KAIROS_CPU
  const best = cpu.variants.at(-1) ?? 'none'
  return [
    ...rows,
    ['processor', `${cpu.name}, ${cpu.cores} cores`],
    ...features(),
    ['variants', `${cpu.variants.join(', ')}; ${best} is used${cap ? ` (KAIROS_CPU=${cap})` : ''}`],
    ['oneDNN', presence(oneDnn)],
    ['CUDA', presence(cuda)],
    ...cudaRows(cuda),
    ['kernels', `${kernels.length}`],
  ]
}

/** What the driver shows: versions, each GPU, and the library for matrix products that may stand beside ours. */
function cudaRows({ runtime, driver, gpus, cublasLt }: AddonDescription['cuda']): [string, string][] {
  return [
    ...(runtime
      ? [['CUDA runtime', `${runtime}${driver ? `, driver for ${driver}` : ', no driver'}`] as [string, string]]
      : []),
    ...gpus.map(({ name, bytes, capability, multiprocessors }, index): [string, string] => [
      `GPU ${index}`,
      `${name}, ${gibibytes(bytes)}, compute capability ${capability}, ${multiprocessors} multiprocessors`,
    ]),
    ['cuBLASLt', presence(cublasLt)],
  ]
}

export const doctor = {
  meta: { name: 'doctor', description: 'Says what this machine has: processor, threads, libraries, GPU, versions' },
  args: {},
  async run() {
    let native: AddonDescription | undefined
    let failure: unknown
    try {
      native = describe()
    } catch (error) {
      if (!isKairosError(error, 'KAIROS_NATIVE_LOAD')) throw error
      failure = error
    }
    process.stdout.write(`${formatTable(['', ''], diagnosis(native)).trimStart()}\n`)
    // The machine's rows are worth reading first; then the reason, with exit code 1.
    if (failure) throw failure
  },
}

/** `present`, `absent: libcuda.so.1 is not on this machine` */
const presence = ({ available, reason }: { readonly available: boolean; readonly reason: string }): string =>
  [available ? 'present' : 'absent', reason].filter((text) => text !== '').join(': ')
