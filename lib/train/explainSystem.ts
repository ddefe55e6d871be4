/** `kairos explain`: a model's parameters, and what the compiler makes of one training step. */
import { leaveOneOut } from '../data/leaveOneOut.js'
import { createPrefixBatches } from '../data/prefixBatches.js'
import { readSequences } from '../data/sequences.js'
import { explain, formatBytes, formatFlops, profileByKernel } from '../graph/explain.js'
import { namedVariables } from '../graph/module.js'
import { Executor } from '../runtime/index.js'
import { sequenceSystems } from '../systems/index.js'
import type { ExplainOptions } from './options.js'
import { compileRanking, compileTraining } from './sequenceTrainer.js'
import { formatTable } from './table.js'
import { buildModel, type Print } from './trainSystem.js'

/** Steps to warm up and to average over for the shares of time. */
const WARM_UP = 2
const MEASURED = 5

/** Prints the model of a system, its parameters and the compiled program. */
export async function explainSystem(
  options: ExplainOptions,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<void> {
  const sequences = await readSequences(options.data)
  const split = leaveOneOut(sequences)
  const model = buildModel(options, sequences.maxItem)
  const variables = namedVariables(model)
  const size = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)
  const total = variables
    .filter(({ variable }) => variable.trainable)
    .reduce((sum, { variable }) => sum + size(variable.shape), 0)
  print(
    formatTable(
      ['name', 'shape', 'size'],
      variables.map(({ name, variable }) => [
        name,
        `[${variable.shape.join(', ')}]`,
        size(variable.shape).toLocaleString('en-US'),
      ]),
    ),
  )
  print(`\n${options.system}: ${total.toLocaleString('en-US')} trainable parameters\n`)

  const executor = new Executor({ threads: options.threads })
  try {
    const { trainable } = sequenceSystems[options.system]
    const batch = Math.min(options.batchSize, split.evaluated.length)
    const program = trainable
      ? compileTraining(model, { ...options, executor, profile: true })
      : compileRanking(model, options.maxLength, executor)
    const { passes, plan } = explain(program.request, { batch, excluded: 1 })
    for (const { name, nodes, bytes, flops, text } of passes) {
      print(`== ${name}: ${nodes} ops, ${formatBytes(bytes)} moved, ${formatFlops(flops)} at batch ${batch}`)
      if (options.graphs || name === 'schedule and plan') print(`${text}\n`)
    }
    if (!trainable) return
    const batches = createPrefixBatches(split, { length: options.maxLength, batchSize: batch, seed: options.seed })
    const nanoseconds = new Float64Array(plan.kernelSteps.length)
    for (let step = 0; step < WARM_UP + MEASURED; step++) {
      const views = { history: new Int32Array(batch * options.maxLength), target: new Int32Array(batch) }
      batches.fill(0, views)
      const { profile } = await program.run(views as never, { lr: options.learningRate })
      if (step >= WARM_UP)
        profile?.forEach((time, index) => (nanoseconds[index] = (nanoseconds[index] as number) + time / MEASURED))
    }
    const executable = await program.runner.prepare({ batch })
    const { arenaBytes, temporaryBytes } = executable.description
    const stepTime = nanoseconds.reduce((sum, time) => sum + time, 0) / 1e6
    print(`Temporaries: ${formatBytes(arenaBytes)} in the arena, ${formatBytes(temporaryBytes)} if none were shared.`)
    print(`Kernels of one step: ${stepTime.toFixed(2)} ms on ${options.threads} threads.\n`)
    print(
      formatTable(
        ['kernel', 'steps', 'share of time'],
        profileByKernel(plan, nanoseconds).map(({ kernel, steps, share }) => [
          kernel,
          steps,
          `${(100 * share).toFixed(1)} %`,
        ]),
      ),
    )
  } finally {
    await executor.close()
  }
}
