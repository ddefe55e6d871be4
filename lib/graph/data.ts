/**
 * `tensor.data()`: compiles and runs what one tensor needs, by the same road as `compile`.
 *
 * Constants become feeds, so structurally equal graphs share one program, found by the hash of its bytes.
 */
import { createHash } from 'node:crypto'
import type { Shape } from '../core/dim.js'
import type { ArrayOf, DType } from '../core/dtype.js'
import { KairosError } from '../core/errors.js'
import { encode } from './encode.js'
import { makeGraph, rewrite } from './graph.js'
import { input } from './leaf.js'
import { installData, type StoreSlot, specOf, type Tensor, tensorOf } from './node.js'
import { type Feed, GraphRunner, type Stores } from './runner.js'

/** Programs kept for reuse, least recently used first. */
const CACHE_LIMIT = 256
const programs = new Map<string, GraphRunner>()

/** Constants up to this many elements stay in the program, where folding sees them. */
const INLINE_LIMIT = 1

/** How often a program was found by its hash rather than made: for tests and curiosity. */
export const programCache = { hits: 0, misses: 0 }

/** Computes one tensor. `stores` is needed where the tensor depends on parameters or state. */
export async function dataOf<S extends Shape, D extends DType>(
  tensor: Tensor<S, D>,
  stores: Stores = {},
): Promise<ArrayOf<D>> {
  const feeds: Record<string, Feed> = {}
  const graph = rewrite(
    makeGraph({ outputs: [{ name: 'data', value: tensor.value }], updates: [], assignments: [] }),
    (node) => {
      if (node.leaf?.kind !== 'constant' || node.leaf.data.length <= INLINE_LIMIT) return null
      const name = `constant${Object.keys(feeds).length}`
      const { dtype, shape } = specOf({ node, index: 0 })
      feeds[name] = node.leaf.data
      return [input(name, shape, dtype).value]
    },
  )
  refuseFeeds(graph.nodes.flatMap(({ leaf }) => (leaf?.kind === 'input' && !(leaf.name in feeds) ? [leaf.name] : [])))
  for (const { leaf } of graph.nodes) if (leaf?.kind === 'state') requireStore(leaf.store, stores)
  const rooted = tensorOf((graph.outputs[0] as { value: Tensor['value'] }).value)
  const runner = runnerFor(rooted)
  const { outputs } = await runner.run({ feeds, stores })
  return outputs.data?.data as ArrayOf<D>
}

function runnerFor(tensor: Tensor): GraphRunner {
  // A runner loads nothing before its first run, so one that is not needed costs its lowering only.
  const candidate = new GraphRunner({ data: tensor })
  const bytes = encode(candidate.plan, { sources: false })
  const key = createHash('sha256').update(bytes).digest('base64')
  const known = programs.get(key)
  programCache[known ? 'hits' : 'misses']++
  const runner = known ?? candidate
  programs.delete(key)
  programs.set(key, runner)
  if (programs.size > CACHE_LIMIT) programs.delete(programs.keys().next().value as string)
  return runner
}

function refuseFeeds(names: readonly string[]): void {
  if (names.length === 0) return
  throw new KairosError('KAIROS_MISSING', {
    op: 'data',
    argument: names.map((name) => `input '${name}'`).join(', '),
    got: 'a tensor that must be fed',
    hint: 'Use compile() for graphs with inputs, or constant() for literal data',
  })
}

function requireStore(slot: StoreSlot, stores: Stores): void {
  if (stores[slot]) return
  throw new KairosError('KAIROS_MISSING', {
    op: 'data',
    argument: `stores.${slot}`,
    expected: `a ${slot} handle`,
    got: 'nothing',
  })
}

installData(dataOf)
