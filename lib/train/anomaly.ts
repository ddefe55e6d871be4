/**
 * Finds where a non-finite value came from.
 *
 * The traced program is run once more with every float value of it watched: forward, backward, and what the update would
 * write. x * 0 is 0 for every finite x and NaN for all others, so the sum of it over a tensor tells in one number
 * whether all of it is finite, and the program's outputs stay small however large its values are. Nothing is written.
 */

import type { PreparedBatch } from '../core/batchSource.js'
import { evaluateDim, sizeOf } from '../core/dim.js'
import { arrayOf } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import type { Schema } from '../core/schema.js'
import { variableName } from '../graph/autodiff.js'
import { RANDOM } from '../graph/compile.js'
import { type Graph, reachable } from '../graph/graph.js'
import { type Node, specOf, type Tensor, tensorOf, type Value, withSource } from '../graph/node.js'
import { lower } from '../graph/passes.js'
import { type Feed, GraphRunner, type Stores } from '../graph/runner.js'
import type { TraceRequest } from '../graph/trace.js'
import { KEEP } from '../graph/training.js'
import { multiply, sum } from '../ops/index.js'
import type { Loose } from '../ops/support.js'
import type { Executor } from '../runtime/index.js'

/** What `detectAnomaly` needs of a compiled program. */
export interface TracedProgram {
  readonly request: TraceRequest
  readonly executor: Executor
  readonly seed: number
  readonly accumulate: number
}

/** A step as it was run. */
export interface StepInputs {
  readonly schema: Schema
  readonly batch: PreparedBatch
  readonly scalars: Readonly<Record<string, number>>
  readonly stores: Stores
  /** The program's step count when it ran: dropout draws the same again. */
  readonly draws: number
}

export interface Anomaly {
  /** `log`, or for a value that came in bad: `parameter 'head'`, `feed 'x'`. */
  readonly what: string
  readonly part: 'a value given' | 'forward' | 'backward or update'
  /** File and line of the call that built it. */
  readonly source: string
}

export class AnomalyDetector {
  private readonly runner: GraphRunner
  private readonly watched: readonly Value[]
  private readonly forward: ReadonlySet<Node>

  constructor(private readonly program: TracedProgram) {
    const graph = afterAutodiff(program.request)
    this.forward = new Set(reachable(graph.outputs.map(({ value }) => value)))
    this.watched = graph.nodes
      .flatMap((node) => node.outputs.map((_, index) => ({ node, index })))
      .filter((value) => specOf(value).dtype === 'float32' && value.node.leaf?.kind !== 'constant')
    const outputs = Object.fromEntries(this.watched.map((value, index) => [`v${index}`, finiteness(value)]))
    this.runner = new GraphRunner(outputs, { executor: program.executor })
  }

  /** The first value of the step, operands before users, that is not finite; null when all are. */
  async find(step: StepInputs): Promise<Anomaly | null> {
    const { outputs } = await this.runner.run({
      feeds: this.feedsOf(step),
      stores: step.stores,
      counts: step.batch.counts,
    })
    const value = this.watched.find((_, index) => outputs[`v${index}`]?.data[0] !== 0)
    return value ? this.describe(value.node) : null
  }

  private describe(node: Node): Anomaly {
    const { leaf, source } = node
    if (leaf?.kind === 'input') return { what: `feed '${leaf.name}'`, part: 'a value given', source }
    if (leaf?.kind === 'state') {
      const kind = leaf.store === 'parameters' ? 'parameter' : leaf.store
      return { what: `${kind} '${variableName(leaf.variable)}'`, part: 'a value given', source }
    }
    const part = this.forward.has(node) ? 'forward' : 'backward or update'
    return { what: node.op?.name ?? '', part, source }
  }

  private feedsOf({ schema, batch, scalars, draws }: StepInputs): Record<string, Feed> {
    const views = Object.fromEntries(
      Object.entries(schema).map(([name, { dtype, shape }]) => [
        name,
        arrayOf(dtype, evaluateDim(sizeOf(shape), batch.counts)),
      ]),
    )
    batch.fill(views)
    const { seed, accumulate } = this.program
    const random = Int32Array.of(seed, draws)
    const all: Record<string, Feed> = { ...views, ...scalars, [RANDOM]: random, [KEEP]: Number(draws % accumulate > 0) }
    const known = this.runner.inputs.filter(({ name }) => name in all)
    return Object.fromEntries(known.map(({ name }) => [name, all[name] as Feed]))
  }
}

/** The error that names an anomaly. */
export function anomalyError({ what, part, source }: Anomaly, at: string, cause?: unknown): KairosError {
  const given = part === 'a value given'
  return new KairosError(
    'KAIROS_NON_FINITE',
    {
      op: what,
      got: given
        ? `a value that is not finite came in, ${at}`
        : `made the first value that is not finite, ${part}, ${at}`,
      source,
      hint: given
        ? 'A feed: check the data. A parameter: an earlier update made it; look with detectAnomaly: "steps"'
        : 'Look at its operands: a division by zero, a logarithm of zero, a learning rate that is too high',
    },
    { cause },
  )
}

function finiteness(value: Value): Tensor {
  return withSource(value.node.source, () => {
    const zeros = multiply(tensorOf(value) as Loose, 0) as Tensor
    return zeros.shape.length === 0 ? zeros : (sum(zeros as Loose) as Tensor)
  })
}

/** Forward, backward and update as one graph, before anything is fused; what would be assigned stands among its nodes. */
function afterAutodiff(request: TraceRequest): Graph {
  let found: Graph | undefined
  lower(request, {
    observe: (pass, graph) => {
      if (pass === 'autodiff') found = graph
    },
  })
  return found as Graph
}
