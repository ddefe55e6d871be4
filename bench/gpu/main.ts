/**
 * `npm run bench:gpu [-- --device emulated --tiny] [--record FILE] [--from FILE [--roofs FILE] [--peers FILE]]`: times the
 * cases of bench/gpu/cases.ts on a GPU beside PyTorch and what the GPU can do at most, and writes bench/results/<gpu>.md.
 *
 * The timing itself needs no Node: `--record` writes what `kairos_run_program --time --json` takes on another machine,
 * `--from` makes the report of what it printed there.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isKairosError } from '../../lib/core/errors.js'
import { type DeviceKind, Executor } from '../../lib/runtime/index.js'
import { encodeRecording } from '../../test/cuda/recording.js'
import { findPython } from '../peer.js'
import { gpuCases } from './cases.js'
import { formatGpuReport, type GpuReport, linesOf, type PeerTime, type Roofs, reportOf, type Timed } from './report.js'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    tiny: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    record: { type: 'string' },
    from: { type: 'string' },
    roofs: { type: 'string' },
    peers: { type: 'string' },
    output: { type: 'string', default: fileURLToPath(new URL('../results', import.meta.url)) },
  },
})
const { device, tiny, only } = values
const built = (name: string) => fileURLToPath(new URL(`../../build/Release/${name}`, import.meta.url))
const textOf = (path: string | undefined) => (path === undefined ? '' : readFileSync(path, 'utf8'))

/** Why the device cannot be had; null where it can. */
async function whyNot(): Promise<string | null> {
  try {
    await new Executor({ device: device as DeviceKind }).close()
    return existsSync(built('kairos_run_program')) ? null : 'kairos_run_program is not built'
  } catch (error) {
    if (isKairosError(error, 'KAIROS_UNSUPPORTED')) return error.message
    throw error
  }
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 })
  if (stderr) process.stderr.write(stderr)
  if (status !== 0) throw new Error(`${command} ended with ${status ?? error?.message}: ${stdout.slice(-2000)}`)
  return stdout
}

async function record(path: string): Promise<void> {
  await using executor = new Executor({ device: 'cpu' })
  const cases = gpuCases(tiny, executor).filter(({ name }) => name.includes(only))
  writeFileSync(path, await encodeRecording(cases, executor))
}

/** Roofs, ours and the peer's, one after another on the device. */
async function measure(): Promise<{ roofs: Roofs | null; ours: readonly Timed[]; peers: readonly PeerTime[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'kairos-gpu-'))
  try {
    const path = join(folder, 'cases.recording')
    await record(path)
    const onGpu = device === 'cuda'
    const roofs = onGpu && existsSync(built('kairos_gpu_roofs')) ? JSON.parse(run(built('kairos_gpu_roofs'), [])) : null
    const rounds = tiny ? '2' : '20'
    const ours = linesOf<Timed>(
      run(built('kairos_run_program'), ['--device', device, '--time', '--json', '--rounds', rounds, path]),
    )
    const python = onGpu ? findPython() : null
    const script = fileURLToPath(new URL('../peers/gpu.py', import.meta.url))
    const peers = python ? linesOf<PeerTime>(run(python, [script])) : []
    return { roofs, ours, peers }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function save(report: GpuReport): void {
  const text = formatGpuReport(report)
  console.log(text)
  // Tiny arrays and a pretended GPU say nothing that is worth keeping.
  if (tiny || device === 'emulated') return
  const name = report.gpu.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')
  writeFileSync(join(values.output, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(join(values.output, `${name}.md`), text)
}

async function reportFrom(measured: Awaited<ReturnType<typeof measure>>): Promise<GpuReport> {
  await using executor = new Executor({ device: 'cpu' })
  return reportOf(gpuCases(tiny, executor), measured)
}

if (values.record !== undefined) {
  await record(values.record)
  console.log(
    `Carry kairos_run_program, kairos_gpu_roofs and ${values.record} to the GPU; bench/NOTES.md says what to run.`,
  )
} else if (values.from !== undefined) {
  const [roofs] = linesOf<Roofs>(textOf(values.roofs))
  const peers = linesOf<PeerTime>(textOf(values.peers))
  save(await reportFrom({ roofs: roofs ?? null, ours: linesOf<Timed>(textOf(values.from)), peers }))
} else {
  const reason = await whyNot()
  if (reason === null) save(await reportFrom(await measure()))
  else console.log(`Skipped: bench:gpu needs a GPU: ${reason}`)
}
