/** The report of a GPU: each case beside its roof, its peer and its target. */
import type { GpuCase } from './cases.js'

/** A line of `kairos_run_program --time --json`; the first names the device instead. */
export interface Timed {
  readonly device?: string
  /** Bytes per second of a copy on the device. */
  readonly copy?: number
  readonly name?: string
  /** Milliseconds of a whole run, and of the kernels that count. */
  readonly run?: number
  readonly timed?: number
}

/** What `kairos_gpu_roofs` prints: bytes and operations per second. */
export interface Roofs {
  readonly gpu: string
  readonly copy: number
  readonly read: number
  readonly gather: number
  readonly matrix: number
}

/** A line of bench/peers/gpu.py; `error` where the peer could not run it. */
export interface PeerTime {
  readonly case: string
  readonly variant: string
  readonly milliseconds?: number
  readonly error?: string
}

export interface GpuReport {
  readonly gpu: string
  readonly roofs: Roofs | null
  readonly cases: readonly GpuReportCase[]
}

export interface GpuReportCase {
  readonly name: string
  /** Milliseconds; null where the device has no kernel for it, or the case failed. */
  readonly ours: number | null
  /** Bytes or operations per second. */
  readonly rate: number | null
  readonly ofRoof: number | null
  readonly roof: string | null
  readonly peers: readonly { readonly variant: string; readonly milliseconds: number; readonly factor: number }[]
  readonly target: string
  /** null where something that the target speaks of was not measured. */
  readonly met: boolean | null
}

/** JSON objects, one a line. */
export const linesOf = <T>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as T)

export function reportOf(
  cases: readonly GpuCase[],
  { roofs, ours, peers }: { roofs: Roofs | null; ours: readonly Timed[]; peers: readonly PeerTime[] },
): GpuReport {
  const gpu = roofs?.gpu ?? ours.find(({ device }) => device !== undefined)?.device ?? 'unknown'
  return { gpu, roofs, cases: cases.map((each) => judged(each, { roofs, ours, peers })) }
}

function judged(
  { name, bytes = 0, flops = 0, timed, roof, share, peers: factors = {} }: GpuCase,
  { roofs, ours, peers }: { roofs: Roofs | null; ours: readonly Timed[]; peers: readonly PeerTime[] },
): GpuReportCase {
  const line = ours.find((each) => each.name === name)
  // A whole step is what users wait for; chosen kernels are by themselves.
  const time = (timed ? line?.timed : line?.run) ?? null
  const rate = time === null || time === 0 ? null : (1000 * (roof === 'matrix' ? flops : bytes)) / time
  const ofRoof = rate !== null && roof && roofs ? rate / roofs[roof] : null
  const measured = Object.keys(factors).flatMap((variant) => {
    const peer = peers.find((each) => each.case === name && each.variant === variant)
    if (peer?.milliseconds === undefined || time === null) return []
    return [{ variant, milliseconds: peer.milliseconds, factor: peer.milliseconds / time }]
  })
  const target = [
    ...(share === undefined ? [] : [`${100 * share} % of ${roof}`]),
    ...Object.entries(factors).map(([variant, factor]) => `${factor}x ${variant}`),
  ]
  const verdicts = [
    ...(share === undefined ? [] : [ofRoof === null ? null : ofRoof >= share]),
    ...Object.entries(factors).map(([variant, factor]) => {
      const found = measured.find((each) => each.variant === variant)
      return found ? found.factor >= factor : null
    }),
  ]
  const known = verdicts.filter((verdict) => verdict !== null)
  const met = known.includes(false) ? false : known.length === verdicts.length && known.length > 0 ? true : null
  return {
    name,
    ours: time,
    rate: rate || null,
    ofRoof,
    roof: roof ?? null,
    peers: measured,
    target: target.join(', '),
    met,
  }
}

const verdictOf = { true: 'met', false: '**missed**', null: 'not measured' } as const

export function formatGpuReport({ gpu, roofs, cases }: GpuReport): string {
  const rate = ({ rate, roof }: GpuReportCase) => {
    if (rate === null) return ''
    return roof === 'matrix' ? `${(rate / 1e12).toFixed(1)} TFLOP/s` : `${(rate / 1e9).toFixed(0)} GB/s`
  }
  const rows = cases.map((each) => [
    each.name,
    each.ours === null ? 'did not run' : each.ours.toPrecision(4),
    rate(each),
    each.ofRoof === null ? '' : `${Math.round(100 * each.ofRoof)} % of ${each.roof}`,
    each.peers
      .map(({ variant, milliseconds, factor }) => `${variant} ${milliseconds.toPrecision(4)} (${factor.toFixed(2)}x)`)
      .join(', '),
    each.target,
    verdictOf[`${each.met}`],
  ])
  const titles = ['case', 'ours, ms', 'rate', 'of the roof', 'PyTorch, ms (its time by ours)', 'target', '']
  const table = [titles, titles.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  const measured = roofs
    ? `copy ${(roofs.copy / 1e9).toFixed(0)} GB/s, read ${(roofs.read / 1e9).toFixed(0)} GB/s, random rows of 256 B ` +
      `${(roofs.gather / 1e9).toFixed(0)} GB/s, tensor cores by wmma in bfloat16 ${(roofs.matrix / 1e12).toFixed(0)} TFLOP/s`
    : 'not measured'
  return `# Benchmarks on ${gpu}

Medians of 20 runs; kernels by their events, whole steps by the clock. Roofs of the same run: ${measured}.
\`npm run bench:gpu\` writes this file.

${table.join('\n')}
`
}
