/** `kairos doctor`: what this machine has and what Kairos makes of it. */
import { arch, availableParallelism, freemem, platform, totalmem } from 'node:os'
import { isKairosError } from '../core/errors.js'
import type { AddonDescription } from '../runtime/addon.js'
import { describe } from '../runtime/index.js'
import { formatTable } from '../train/table.js'
import { version } from './version.js'

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

/** Rows of the report; the native part is absent where the addon does not load. */
export function diagnosis(native: AddonDescription | undefined): [string, string][] {
  const rows: [string, string][] = [
    ['Kairos', native && native.version !== version ? `${version} (addon ${native.version})` : version],
    ['Node', `${process.versions.node}, Node-API ${process.versions.napi}`],
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
    ['variants', `${cpu.variants.join(', ')}; ${best} is used${cap ? ` (KAIROS_CPU=${cap})` : ''}`],
    ['oneDNN', presence(oneDnn)],
    ['CUDA', presence(cuda)],
    ['kernels', `${kernels.length}`],
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
