/** Pass 4: replaces composites by the ops that they are made of, until none is left. */
import { KairosError } from '../core/errors.js'
import { type Graph, rewrite } from './graph.js'
import { tensorOf, withSource } from './node.js'

/** Composites may stand on composites, but not endlessly. */
const DEPTH_LIMIT = 32

export function expand(graph: Graph): Graph {
  let current = graph
  for (let depth = 0; depth < DEPTH_LIMIT; depth++) {
    if (!current.nodes.some(({ op }) => op?.expand)) return current
    current = rewrite(current, (node, inputs) => {
      const { op, attributes, source } = node
      if (!op?.expand) return null
      const { expand: rule } = op
      return withSource(source, () =>
        rule(
          inputs.map((value) => tensorOf(value)),
          attributes,
        ),
      ).map(({ value }) => value)
    })
  }
  const name = current.nodes.find(({ op }) => op?.expand)?.op?.name ?? ''
  throw new KairosError('KAIROS_INTERNAL', { op: name, got: 'a composite that expands into itself' })
}
