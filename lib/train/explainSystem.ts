/** `kairos explain`: a model's parameters, and what the compiler makes of one training step. */
import type { BatchSource } from '../core/batchSource.js'
import { leaveOneOut } from '../data/leaveOneOut.js'
import { requestBatches } from '../data/requestBatches.js'
import { readSequences } from '../data/sequences.js'
import { leastBytes } from '../graph/bytes.js'
import type { Compiled } from '../graph/compile.js'
import { explain, formatBytes, formatFlops, profileByKernel, workByKernel } from '../graph/explain.js'
import { namedVariables } from '../graph/module.js'
import type { Tensor } from '../graph/node.js'
import { Executor } from '../runtime/index.js'
import { sequenceSystems } from '../systems/index.js'
import type { LoopProgram } from './loop.js'
import type { ExplainOptions } from './options.js'
import { prepareParts } from './rankingData.js'
import type { RankingTrainOptions } from './rankingOptions.js'
import { compileRankingTraining, featureInputs } from './rankingTrainer.js'
import { compileRanking, compileTraining, prefixSource } from './sequenceTrainer.js'
import { formatTable } from './table.js'
import { buildRanking, targetsOfRun } from './trainRanking.js'
import { buildModel, type Print } from './trainSystem.js'

/** Steps to warm up and to average over for the shares of time. */
const WARM_UP = 2
const MEASURED = 5

const toStdout: Print = (line) => process.stdout.write(`${line}\n`)

/** Prints the model of a sequence system, its parameters and the compiled program. */
export async function explainSystem(options: ExplainOptions, print: Print = toStdout): Promise<void> {
  const split = leaveOneOut(await readSequences(options.data))
  const model = buildModel(options, split.sequences.maxItem)
  if (!options.profile) printParameters(options.system, model, print)
  const executor = new Executor({ threads: options.threads, device: options.device })
  try {
    const batchSize = Math.min(options.batchSize, split.evaluated.length)
    const { trainable } = sequenceSystems[options.system]
    const program = trainable
      ? compileTraining(model, { ...options, executor, profile: true })
      : compileRanking(model, options.maxLength, executor)
    const counts = { batch: batchSize, excluded: 1 }
    if (!options.profile || !trainable) printPasses(program, counts, options.graphs, print)
    if (trainable) await printProfile(program, prefixSource(split, { ...options, batchSize }), options, print)
  } finally {
    await executor.close()
  }
}

/** The same of a ranking system, on rows of its file. */
export async function explainRanking(
  options: RankingTrainOptions & { readonly graphs: boolean; readonly profile: boolean },
  print: Print = toStdout,
): Promise<void> {
  const targets = targetsOfRun(options)
  const { train } = await prepareParts(options)
  const model = buildRanking(options, featureInputs(train), targets)
  if (!options.profile) printParameters(options.system, model, print)
  const executor = new Executor({ threads: options.threads, device: options.device })
  try {
    const source = await requestBatches(train, options, targets.requests)
    const { seed, clipNorm, combine, combineAt, lossWeights } = options
    const settings = { executor, seed, clipNorm, combine, combineAt, lossWeights, profile: true }
    const program = compileRankingTraining(model, targets.tasks, source.schema, settings)
    if (!options.profile) printPasses(program, source.capacities, options.graphs, print)
    await printProfile(program, source, options, print)
  } finally {
    await executor.close()
  }
}

function printParameters(system: string, model: object, print: Print): void {
  const variables = namedVariables(model)
  const size = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)
  const total = variables
    .filter(({ variable }) => variable.trainable)
    .reduce((sum, { variable }) => sum + size(variable.shape), 0)
  const rows = variables.map(({ name, variable }) => [
    name,
    `[${variable.shape.join(', ')}]`,
    size(variable.shape).toLocaleString('en-US'),
  ])
  print(formatTable(['name', 'shape', 'size'], rows))
  print(`\n${system}: ${total.toLocaleString('en-US')} trainable parameters\n`)
}

function printPasses(
  { request }: Pick<LoopProgram, 'request'>,
  counts: Readonly<Record<string, number>>,
  graphs: boolean,
  print: Print,
): void {
  for (const { name, nodes, bytes, flops, text } of explain(request, counts).passes) {
    print(
      `== ${name}: ${nodes} ops, ${formatBytes(bytes)} moved, ${formatFlops(flops)} at batch ${counts.batch as number}`,
    )
    if (graphs || name === 'schedule and plan') print(`${text}\n`)
  }
}

/** Kernels, bytes, memory and time of a step, over a few steps that change nothing that is kept. */
async function printProfile(
  program: Parameters<typeof measure>[0],
  source: BatchSource,
  { learningRate, threads }: { readonly learningRate: number; readonly threads: number },
  print: Print,
): Promise<void> {
  const { plan, nanoseconds, stepTime } = await measure(program, source, learningRate)
  const { description } = await program.runner.prepare(source.capacities)
  const { arenaBytes, temporaryBytes } = description
  const kernelTime = nanoseconds.reduce((sum, time) => sum + time, 0) / 1e6
  const work = workByKernel(plan, source.capacities)
  const moved = [...work.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  const least = leastBytes(plan, source.capacities)
  const commits = plan.kernelSteps.length - plan.kernelCommitStart
  const outside = Math.max(0, stepTime - kernelTime)
  const times = (value: number, of: number) => `${(value / Math.max(of, 1)).toFixed(1)}x`
  print(`Kernels of one step: ${plan.kernelSteps.length}, of which ${commits} write variables.`)
  print(
    `Moved by them: ${formatBytes(moved)}, ${times(moved, least)} the ${formatBytes(least)} that would be left if no temporary left the caches.`,
  )
  print(
    `Temporaries: ${formatBytes(arenaBytes)} in the arena, ${formatBytes(temporaryBytes)} if none were shared (${times(temporaryBytes, arenaBytes)}).`,
  )
  print(
    `Time of one step: ${stepTime.toFixed(2)} ms on ${threads} threads, ${kernelTime.toFixed(2)} ms in kernels and ${((100 * outside) / stepTime).toFixed(1)} % outside.\n`,
  )
  const rows = profileByKernel(plan, nanoseconds).map(({ kernel, steps, milliseconds, share }) => {
    const { bytes, flops } = work.get(kernel) ?? { bytes: 0, flops: 0 }
    const rate = (amount: number) => (milliseconds === 0 ? '' : (amount / milliseconds / 1e6).toFixed(1))
    return [
      kernel,
      steps,
      `${(100 * share).toFixed(1)} %`,
      milliseconds.toFixed(3),
      formatBytes(bytes),
      rate(bytes),
      rate(flops),
    ]
  })
  print(formatTable(['kernel', 'steps', 'share of time', 'ms', 'moved', 'GB/s', 'GFLOP/s'], rows))
}

async function measure(
  // biome-ignore lint/suspicious/noExplicitAny: the schema is the source's, which types do not know.
  program: Compiled<any, Record<string, Tensor>>,
  source: BatchSource,
  learningRate: number,
) {
  const { plan } = program.runner
  const nanoseconds = new Float64Array(plan.kernelSteps.length)
  let step = 0
  let stepTime = 0
  for (let epoch = 1; step < WARM_UP + MEASURED; epoch++) {
    for await (const batch of source.batches(epoch)) {
      if (step >= WARM_UP + MEASURED) break
      const leased = await program.lease(source.capacities)
      batch.fill(leased.views as never)
      const start = performance.now()
      const { profile } = await program.run(leased, { lr: learningRate }, { counts: batch.counts })
      if (step++ < WARM_UP) continue
      stepTime += (performance.now() - start) / MEASURED
      profile?.forEach((time, index) => (nanoseconds[index] = (nanoseconds[index] as number) + time / MEASURED))
    }
  }
  return { plan, nanoseconds, stepTime }
}
