/**
 * `kairos prove`: trains the arms of a proof over its points and seeds, compares them and judges every acceptance line.
 *
 *     proof/runs/        finished runs, which a killed proof goes on with; trails (audit) as JSON and SVG
 *     proof/proof.json   sizes, statistics, verdicts
 *     proof/proof.md     the same as tables
 *     proof/cost.md      what it cost, and what the other size would
 *     proof/report.html  the same for the eye
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeWhole } from '../data/wholeFile.js'
import { Executor } from '../runtime/index.js'
import type { Audit, Proof } from '../systems/proof.js'
import { proofs } from '../systems/proofs.js'
import { chartFile } from '../train/chart.js'
import { environmentOf } from '../train/environment.js'
import { Interrupted, interruptible } from '../train/interrupt.js'
import { lockFolder } from '../train/lock.js'
import { createProgress, formatSeconds, type Progress } from '../train/progress.js'
import { formatTable } from '../train/table.js'
import type { Print } from '../train/trainSystem.js'
import { armsOf } from './arms.js'
import { costSheet, speedOf, speedTable } from './costSheet.js'
import type { ProveOptions } from './options.js'
import { type Plan, type PlannedRun, planProof } from './plan.js'
import { type ProofRows, proofRows, type RowSource } from './proofData.js'
import { proofJson } from './proofJson.js'
import { proofReport } from './proofReport.js'
import { Results } from './results.js'
import { type FinishedRun, loadFinished, saveFinished } from './runStore.js'
import { armTable, pointTables, sizeTable, tally, verdictTable } from './tables.js'
import { judgeLines, type LineVerdict } from './verdicts.js'

export interface ProofOptions extends ProveOptions {
  /** Where rows come from; the simulator and the folder of shared data unless told. */
  readonly rows?: RowSource
  /** What is proved; that of `system` unless told. */
  readonly proof?: Proof
}

export interface ProofReport {
  readonly verdicts: readonly LineVerdict[]
  readonly results: Results
  /** Folder with the files. */
  readonly output: string
}

/** Throws Interrupted when a signal ended it; what was finished is kept. */
export async function proveSystem(
  options: ProofOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<ProofReport> {
  const { system, quick, seeds, only, threads, device } = options
  const proof: Proof = options.proof ?? proofs[system]
  const plan = planProof(proof, { quick, seeds, only })
  const output = options.output ?? join('proofs', `${system}-${quick ? 'quick' : 'full'}`)
  await mkdir(output, { recursive: true })
  const unlock = await lockFolder(output)
  const executor = new Executor({ threads, device })
  const started = performance.now()
  try {
    const command = commandOf(options)
    print(`${proof.title}: ${plan.runs.length} runs, ${command}\n`)
    const sizes = sizeTable(proof, plan)
    print(`${formatTable(sizes.header, sizes.rows)}\n`)
    const finished = await runAll(proof, plan, { ...options, output }, executor, print)
    const results = new Results(quick, plan.seeds, finished)
    const verdicts = await judgeLines(proof, plan, results, executor)
    const tables = await pointTables(proof, plan, results)
    const speeds = speedTable(finished)
    const cost = costSheet(proof, finished)
    const facts = {
      command,
      date: new Date().toISOString(),
      environment: await environmentOf(executor),
      seconds: (performance.now() - started) / 1000,
    }
    const sections = [verdictTable(verdicts), ...tables, sizes, armTable(proof), { title: 'Speed', ...speeds }]
    for (const { title, header, rows, note } of sections)
      print(`${title}\n\n${formatTable(header, rows)}${note ? `\n${note}` : ''}\n`)
    print(`${tally(verdicts)}. Speed: ${Math.round(speedOf(finished) ?? 0).toLocaleString('en-US')} samples/s.`)
    const markdown = sections.map(
      ({ title, header, rows, note }) =>
        `## ${title}\n\n\`\`\`\n${formatTable(header, rows)}\n\`\`\`\n${note ? `\n${note}\n` : ''}`,
    )
    const head =
      `# ${proof.title}\n\n\`${command}\`, ${plan.seeds} seeds, ${facts.date.slice(0, 10)}, ` +
      `${facts.environment.CPU}, ${threads} threads. ${finished.length} of ${plan.runs.length} runs. ${tally(verdicts)}.\n`
    await writeWhole(join(output, 'proof.md'), `${head}\n${markdown.join('\n')}\n## Cost\n\n\`\`\`\n${cost}\`\`\`\n`)
    await writeWhole(join(output, 'cost.md'), cost)
    await writeWhole(join(output, 'proof.json'), await proofJson(proof, plan, results, verdicts, facts))
    await writeWhole(
      join(output, 'report.html'),
      await proofReport(proof, plan, results, {
        verdicts,
        sections,
        facts,
        audits: await drawnAudits(output, finished),
      }),
    )
    print(`Report: ${join(output, 'report.html')}`)
    return { verdicts, results, output }
  } finally {
    await executor.close()
    await unlock()
  }
}

/** Writes the charts of trails beside them; gives those of the first seed of each arm. */
async function drawnAudits(output: string, finished: readonly FinishedRun[]): Promise<Audit[]> {
  const first: Audit[] = []
  for (const { run, audit } of finished) {
    if (!audit) continue
    const charts = audit.charts.map((chart) => ({ ...chart, title: `${run.pointName}, ${chart.title}` }))
    for (const [i, chart] of charts.entries())
      await writeWhole(join(output, 'runs', `${run.path}.audit.${i + 1}.svg`), chartFile(chart))
    if (run.seed === 1) first.push({ ...audit, charts })
  }
  return first
}

function commandOf({ system, quick, seeds, only, device, judge }: ProofOptions): string {
  const flags = [
    ...(quick ? ['--quick'] : []),
    ...(seeds === undefined ? [] : [`--seeds ${seeds}`]),
    ...(only === undefined ? [] : [`--only '${only}'`]),
    ...(device === undefined ? [] : [`--device ${device}`]),
    ...(judge ? ['--judge'] : []),
  ]
  return ['kairos prove', system, ...flags].join(' ')
}

/** Makes the runs that are not there yet. A run of absent data is left out. */
async function runAll(
  proof: Proof,
  { runs }: Plan,
  { system, output, threads, judge, rows: rowsOf = proofRows }: ProofOptions & { readonly output: string },
  executor: Executor,
  print: Print,
): Promise<FinishedRun[]> {
  const found = await Promise.all(runs.map((run) => loadFinished(output, run)))
  const done = found.filter((run) => run !== null)
  if (judge || done.length === runs.length) return done
  if (done.length > 0) print(`${done.length} of ${runs.length} runs are there already.`)
  const work = ({ sizes }: PlannedRun) => sizes.train * sizes.epochs
  const total = runs.reduce((sum, run) => sum + work(run), 0)
  let samples = done.reduce((sum, { run }) => sum + work(run), 0)
  const progress = createProgress({ title: `prove ${system}`, total, start: samples })
  const arms = armsOf(proof, output)
  try {
    await interruptible(async (signal) => {
      let rows: ProofRows | null = null
      let key = ''
      for (const [index, run] of runs.entries()) {
        if (found[index]) continue
        if (signal.aborted) throw interruptedAt(done.length, runs.length)
        const wanted = JSON.stringify([run.pointName, run.seed])
        if (wanted !== key) {
          rows = null // The last rows may go before the next come.
          await arms.release()
          rows = await rowsOf(run.data as never, run.sizes, run.seed, threads)
          key = wanted
        }
        const before = samples
        samples += work(run)
        if (!rows) continue
        const result = await arms.train(run, rows, { executor, signal, onStep: stepsFrom(before, progress) })
        if (!result) throw interruptedAt(done.length, runs.length)
        done.push(await saveFinished(output, run, result))
        const { trainSeconds } = result
        const rate = Math.round(work(run) / trainSeconds).toLocaleString('en-US')
        progress.print(
          `${done.length}/${runs.length}  ${run.pointName}, ${run.arm}, seed ${run.seed}: ${formatSeconds(trainSeconds)}, ${rate} samples/s`,
        )
      }
    })
  } finally {
    await arms.release()
    progress.stop()
  }
  // Tables do not tell what was there before.
  return done.sort((a, b) => runs.indexOf(a.run) - runs.indexOf(b.run))
}

function stepsFrom(before: number, progress: Progress) {
  let samples = before
  return ({ examples, loss }: { readonly examples: number; readonly loss: number }) => {
    samples += examples
    progress.update(samples, { loss })
  }
}

const interruptedAt = (done: number, total: number) =>
  new Interrupted(`Interrupted with ${done} of ${total} runs finished; the same command goes on from there.`)
