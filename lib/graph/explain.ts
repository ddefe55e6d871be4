/** Prints what the compiler did: the graph after each pass, with bytes and flops, and the share of time once run. */
import { evaluateDim, formatShape, type Shape } from '../core/dim.js'
import { variableName } from './autodiff.js'
import { nodeBytes } from './bytes.js'
import { withLimits } from './computed.js'
import type { Counts } from './counts.js'
import { nameOfOpcode } from './elementwiseChain.js'
import type { Graph } from './graph.js'
import { INSTRUCTION_WIDTH } from './kernelTable.js'
import { type Node, specOf, type Value, valueKey } from './node.js'
import { lower } from './passes.js'
import type { Plan } from './plan.js'
import type { TraceRequest } from './trace.js'

export interface PassSummary {
  readonly name: string
  readonly nodes: number
  /** Bytes that the ops read and write at the given counts, and their floating-point operations. */
  readonly bytes: number
  readonly flops: number
  readonly text: string
}

export interface Explanation {
  readonly passes: readonly PassSummary[]
  readonly plan: Plan
}

/** Lowers once more, watching. Counts give symbols a size for bytes and flops. */
export function explain(request: TraceRequest, counts: Counts): Explanation {
  const passes: PassSummary[] = []
  const plan = lower(request, { check: true, observe: (name, graph) => passes.push(summarize(name, graph, counts)) })
  const ran = {
    outputs: plan.graph.outputs,
    updates: [],
    assignments: plan.graph.assignments,
    nodes: [...plan.kernelSteps],
  }
  passes.push({ ...summarize('schedule and plan', ran, counts), text: formatPlan(plan, counts) })
  return { passes, plan }
}

function summarize(name: string, graph: Graph, given: Counts): PassSummary {
  const counts = withLimits(graph.nodes, given)
  const ops = graph.nodes.filter(({ op }) => op !== null)
  return {
    name,
    nodes: ops.length,
    bytes: ops.reduce((sum, node) => sum + nodeBytes(node, counts), 0),
    flops: ops.reduce((sum, node) => sum + nodeFlops(node, counts), 0),
    text: formatGraph(graph),
  }
}

export function nodeFlops(node: Node, counts: Counts): number {
  if (!node.op || node.op.alias) return 0
  const sizes = (shape: Shape) => shape.map((dim) => evaluateDim(dim, counts))
  const outputs = node.outputs.map(({ shape }) => sizes(shape))
  if (node.op.flops)
    return node.op.flops(
      node.inputs.map((value) => sizes(specOf(value).shape)),
      outputs,
      node.attributes,
    )
  return (outputs[0] as number[]).reduce((product, dim) => product * dim, 1)
}

/** One line per node: `%7 = matmul(%5, encoder.weight) : float32 [batch, 64]`. */
export function formatGraph(graph: Graph): string {
  const names = new Map<string, string>()
  const nameOf = (value: Value) => names.get(valueKey(value)) ?? '?'
  const lines: string[] = []
  let count = 0
  for (const node of graph.nodes) {
    const specs = node.outputs.map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`).join(', ')
    if (node.leaf) {
      names.set(`${node.id}:0`, leafName(node))
      continue
    }
    const results = node.outputs.map((_, index) => {
      const name = `%${count++}`
      names.set(`${node.id}:${index}`, name)
      return name
    })
    lines.push(
      `  ${results.join(', ')} = ${describeOp(node)}(${node.inputs.map(nameOf).join(', ')}) : ${specs}   # ${node.source}`,
    )
  }
  for (const { name, value } of graph.outputs) lines.push(`  output ${name} = ${nameOf(value)}`)
  for (const { loss, name, groups } of graph.updates) {
    for (const { parameters, optimizer } of groups) {
      lines.push(`  update ${parameters.length} parameters to lower ${name} = ${nameOf(loss)} by ${optimizer.name}`)
    }
  }
  for (const { target, value } of graph.assignments) lines.push(`  ${nameOf(target)} <- ${nameOf(value)}`)
  return lines.join('\n')
}

function leafName(node: Node): string {
  const { leaf } = node
  if (leaf?.kind === 'input') return leaf.name
  if (leaf?.kind === 'state') return variableName(leaf.variable)
  const { dtype, shape } = specOf({ node, index: 0 })
  if (leaf?.kind === 'constant' && leaf.data.length === 1) return `${leaf.data[0]}`
  return `constant ${dtype} ${formatShape(shape)}`
}

/** Longer chains are told by their length. */
const NAMED_INSTRUCTIONS = 6

/** A chain is named by its instructions: `elementwise{multiply add sqrt}`. */
function describeOp(node: Node): string {
  const code = node.attributes.code as readonly number[] | undefined
  if (!code) return node.op?.name ?? ''
  const names: string[] = []
  for (let at = 0; at < code.length; at += INSTRUCTION_WIDTH) {
    const name = nameOfOpcode.get(code[at] as number) ?? ''
    if (name !== 'constant') names.push(name)
  }
  const text = names.length > NAMED_INSTRUCTIONS ? `${names.length} instructions` : names.join(' ')
  return `${node.op?.name}{${text}}`
}

/** Kernel steps in order, with the storage that each result takes. */
function formatPlan(plan: Plan, given: Counts): string {
  const counts = withLimits(plan.kernelSteps, given)
  const storageOf = new Map(plan.buffers.map(({ value, storage }) => [valueKey(value), storage]))
  const leafNames = new Map(
    plan.buffers.flatMap(({ value }) => (value.node.leaf ? [[valueKey(value), leafName(value.node)] as const] : [])),
  )
  const nameOf = (value: Value) => {
    const written = plan.writes.get(valueKey(value))
    if (written) return leafNames.get(valueKey(written)) ?? '?'
    return leafNames.get(valueKey(value)) ?? `s${storageOf.get(valueKey(value))}`
  }
  const lineOf = (node: Node) => {
    const results = node.outputs.map((_, index) => nameOf({ node, index })).join(', ')
    const size = formatBytes(nodeBytes(node, counts))
    return `  ${results} = ${describeOp(node)}(${node.inputs.map(nameOf).join(', ')})   # ${size}, ${node.source}`
  }
  const compute = plan.kernelSteps.slice(0, plan.kernelCommitStart).map(lineOf)
  const commit = plan.kernelSteps.slice(plan.kernelCommitStart)
  if (commit.length === 0) return compute.join('\n')
  const bytes = formatBytes(commit.reduce((sum, node) => sum + nodeBytes(node, counts), 0))
  const summary = `  ---- checks; then ${commit.length} steps write ${plan.writes.size} variables, ${bytes} ----`
  return [
    ...compute,
    summary,
    ...commit.slice(0, COMMIT_LINES).map(lineOf),
    ...(commit.length > COMMIT_LINES ? ['  ...'] : []),
  ].join('\n')
}

/** Updates of parameters look alike: a few of them tell all. */
const COMMIT_LINES = 3

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

export function formatFlops(flops: number): string {
  if (flops >= 1e9) return `${(flops / 1e9).toFixed(2)} GFLOP`
  return flops >= 1e6 ? `${(flops / 1e6).toFixed(2)} MFLOP` : `${flops} FLOP`
}

/** What one kernel's steps do and take together. */
export interface KernelProfile {
  readonly kernel: string
  readonly steps: number
  readonly milliseconds: number
  readonly share: number
}

/** Time by kernel, from one profiled run: nanoseconds per step. */
export function profileByKernel(plan: Plan, nanoseconds: ArrayLike<number>): KernelProfile[] {
  const profiles = new Map<string, { steps: number; milliseconds: number }>()
  let total = 0
  plan.kernelSteps.forEach((node, index) => {
    const kernel = node.op?.kernel ?? node.op?.name ?? ''
    const entry = profiles.get(kernel) ?? { steps: 0, milliseconds: 0 }
    const milliseconds = (nanoseconds[index] ?? 0) / 1e6
    profiles.set(kernel, { steps: entry.steps + 1, milliseconds: entry.milliseconds + milliseconds })
    total += milliseconds
  })
  return [...profiles]
    .map(([kernel, entry]) => ({ kernel, ...entry, share: total === 0 ? 0 : entry.milliseconds / total }))
    .sort((a, b) => b.share - a.share)
}

/** Bytes and operations of each kernel's steps at the given counts, by kernel. */
export function workByKernel(
  plan: Plan,
  given: Counts,
): Map<string, { readonly bytes: number; readonly flops: number }> {
  const counts = withLimits(plan.kernelSteps, given)
  const work = new Map<string, { bytes: number; flops: number }>()
  for (const node of plan.kernelSteps) {
    const kernel = node.op?.kernel ?? node.op?.name ?? ''
    const { bytes, flops } = work.get(kernel) ?? { bytes: 0, flops: 0 }
    work.set(kernel, { bytes: bytes + nodeBytes(node, counts), flops: flops + nodeFlops(node, counts) })
  }
  return work
}
