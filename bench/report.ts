/** Results as they are kept: bench/results/cpu.json, and cpu.md for reading. */
import type { BenchResult, BenchSize } from './support.js'

/** One case of cpu.json. Times are medians in milliseconds. */
export interface ReportCase {
  /** What runs it: `npm run bench -- BENCH`. */
  readonly bench: string
  /** The instruction set that kernels were capped to. */
  readonly variant: string
  readonly name: string
  readonly shape: string
  readonly threads: number
  readonly ours: number
  readonly spread: readonly [number, number]
  readonly peer: number | null
  readonly peerName: string | null
  /** Ours by the peer: below 1 is faster. */
  readonly ratio: number | null
  readonly floor: number | null
  readonly floorName: string | null
  readonly target: string | null
  readonly met: boolean | null
  readonly size: BenchSize | null
  readonly note: string | null
}

export interface Report {
  readonly machine: { readonly name: string; readonly cores: number; readonly variants: readonly string[] }
  readonly cases: readonly ReportCase[]
}

export function reportCase(bench: string, variant: string, result: BenchResult): ReportCase {
  const { name, shape, threads, ours, spread, peer, floor, target, size, note } = result
  return {
    bench,
    variant,
    name,
    shape,
    threads,
    ours,
    spread,
    peer: peer?.time ?? null,
    peerName: peer?.name ?? null,
    ratio: peer ? ours / peer.time : null,
    floor: floor?.time ?? null,
    floorName: floor?.name ?? null,
    target: target?.text ?? null,
    met: target?.met ?? null,
    size: size ?? null,
    note: note ?? null,
  }
}

/**
 * The report with the cases of a bench, variant and count of threads exchanged, so that a case that has gone does not
 * stay. Cases stand best variant first, then in the order of `order`, then by threads.
 */
export function mergeCases(report: Report, fresh: readonly ReportCase[], order: readonly string[]): Report {
  const key = ({ bench, variant, threads }: ReportCase) => `${bench} ${variant} ${threads}`
  const replaced = new Set(fresh.map(key))
  const { variants } = report.machine
  const rank = ({ bench, variant, threads }: ReportCase) => [-variants.indexOf(variant), order.indexOf(bench), threads]
  const byRank = (a: ReportCase, b: ReportCase) => {
    const [left, right] = [rank(a), rank(b)]
    return left.map((value, i) => value - (right[i] as number)).find((difference) => difference !== 0) ?? 0
  }
  const kept = report.cases.filter((each) => order.includes(each.bench) && !replaced.has(key(each)))
  return { ...report, cases: [...kept, ...fresh].sort(byRank) }
}

const time = (milliseconds: number) => (milliseconds >= 10 ? milliseconds.toFixed(1) : milliseconds.toPrecision(3))

const columns: Readonly<Record<string, (each: ReportCase) => string>> = {
  case: ({ name }) => name,
  shape: ({ shape }) => shape,
  threads: ({ threads }) => `${threads}`,
  'ours, ms': ({ ours, spread }) => `${time(ours)} (${spread.map(time).join('-')})`,
  'peer, ms': ({ peer, peerName }) => (peer === null ? '' : `${time(peer)} ${peerName}`),
  'ours / peer': ({ ratio }) => ratio?.toFixed(2) ?? '',
  'floor, ms': ({ floor, floorName }) => (floor === null ? '' : `${time(floor)} ${floorName}`),
  'of the floor': ({ ours, floor }) => (floor === null ? '' : `${Math.round((100 * floor) / ours)} %`),
  target: ({ target, met }) => (target === null ? '' : `${target}: ${met ? 'met' : '**missed**'}`),
  note: ({ note }) => note ?? '',
}

/** One line for the terminal. */
export function formatCase(each: ReportCase): string {
  const cells = Object.entries(columns).map(([title, cell]) => [title, cell(each).replaceAll('*', '')] as const)
  const label: Readonly<Record<string, string>> = {
    threads: 'threads',
    'ours / peer': 'x peer',
    'of the floor': 'of floor',
  }
  return cells
    .filter(([, text]) => text !== '')
    .map(([title, text]) => (label[title] ? `${text} ${label[title]}` : text))
    .join('  ')
}

/** The report as Markdown: what was reached in one line, then a table per variant. */
export function formatReport({ machine, cases }: Report): string {
  const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const titles = Object.keys(columns)
  const sections = machine.variants.toReversed().flatMap((variant) => {
    const own = cases.filter((each) => each.variant === variant)
    if (own.length === 0) return []
    const aimed = own.filter(({ met }) => met !== null)
    const met = aimed.filter(({ met }) => met).length
    const rows = own.map((each) => row(Object.values(columns).map((cell) => cell(each))))
    return [
      `## ${variant}\n\n${met} of ${aimed.length} targets met.\n\n${[row(titles), row(titles.map(() => '---')), ...rows].join('\n')}\n`,
    ]
  })
  return `# Benchmarks on a CPU

${machine.name}, ${machine.cores} cores. Medians in milliseconds with the middle half; below 1, "ours / peer" is faster.
\`npm run bench\` writes this file, \`npm run bench -- NAME --write\` its rows of it.

${sections.join('\n')}`
}
