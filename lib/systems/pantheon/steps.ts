/** Programs over sources, without a loop's evaluations and checkpoints. */
import type { BatchSource } from '../../core/batchSource.js'
import type { Compiled, Handles } from '../../graph/compile.js'
import type { Tensor } from '../../graph/node.js'

// biome-ignore lint/suspicious/noExplicitAny: the schema is the source's, which types do not know.
export type Program = Compiled<any, Record<string, Tensor>>
export type StepResults = Readonly<Record<string, number | Float32Array>>

/** Steps under way: one runs while the next batch is filled. */
const IN_FLIGHT = 2

/**
 * One pass over the batches of a source; `take` gets what each step gave, in order. False when a signal ended it, after
 * the steps under way.
 */
export async function inFlight(
  program: Program,
  source: BatchSource,
  scalars: Readonly<Record<string, number>>,
  handles: Handles,
  signal: AbortSignal,
  take: (results: StepResults, examples: number) => Promise<void> | void,
): Promise<boolean> {
  const pending: { readonly step: Promise<object>; readonly examples: number }[] = []
  const finish = async () => {
    const { step, examples } = pending.shift() as (typeof pending)[number]
    await take((await step) as StepResults, examples)
  }
  for await (const batch of source.batches(1)) {
    if (signal.aborted) break
    const leased = await program.lease(source.capacities)
    batch.fill(leased.views as never)
    const step = program.step(leased, scalars, { ...handles, counts: batch.counts })
    step.catch(() => undefined) // heard in its turn
    pending.push({ step, examples: batch.counts.batch as number })
    if (pending.length >= IN_FLIGHT) await finish()
  }
  while (pending.length > 0) await finish()
  return !signal.aborted
}
