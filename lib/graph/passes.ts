/** The compiler: every pass in its order, each from a graph to a graph, each checked in debug runs. */
import { expand } from './expand.js'
import { fuseElementwise } from './fuseElementwise.js'
import { fuseEpilogues } from './fuseEpilogues.js'
import type { Graph } from './graph.js'
import { type Plan, plan } from './plan.js'
import { fuseRowUpdates } from './rowUpdate.js'
import { schedule } from './schedule.js'
import { simplify } from './simplify.js'
import { checkGraph, checkPlan, checkSchedule } from './spec.js'
import { type TraceRequest, trace } from './trace.js'
import { applyUpdates } from './training.js'

/** Graph passes by the names that `kairos explain` prints. */
export const graphPasses: readonly { readonly name: string; readonly run: (graph: Graph) => Graph }[] = [
  { name: 'simplify', run: simplify },
  { name: 'autodiff', run: applyUpdates },
  { name: 'expand', run: expand },
  { name: 'simplify again', run: simplify },
  { name: 'fuse epilogues', run: fuseEpilogues },
  { name: 'fuse elementwise', run: fuseElementwise },
  { name: 'fuse row updates', run: fuseRowUpdates },
]

export interface LowerOptions {
  /** Sees the graph after tracing and after each pass. */
  readonly observe?: (pass: string, graph: Graph) => void
  /** Check the graph after each pass. Default: when KAIROS_CHECK or KAIROS_DEBUG is set. */
  readonly check?: boolean
}

/** From tensors to a planned program. Runs once per model and mode, on the calling thread. */
export function lower(request: TraceRequest, options: LowerOptions = {}): Plan {
  const { observe, check = Boolean(process.env.KAIROS_CHECK || process.env.KAIROS_DEBUG) } = options
  let graph = trace(request)
  observe?.('trace', graph)
  if (check) checkGraph(graph, 'trace')
  for (const { name, run } of graphPasses) {
    graph = run(graph)
    observe?.(name, graph)
    if (check) checkGraph(graph, name)
  }
  const scheduled = schedule(graph)
  if (check) checkSchedule(scheduled)
  const planned = plan(scheduled)
  if (check) checkPlan(planned)
  return planned
}
