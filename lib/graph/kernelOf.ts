/** Which native kernel runs a node. */
import { KairosError } from '../core/errors.js'
import { type KernelName, kernelTable } from './kernelTable.js'
import type { Node } from './node.js'

export function kernelOf(node: Node): KernelName {
  const name = node.op?.kernel ?? node.op?.name ?? ''
  if (name in kernelTable) return name as KernelName
  throw new KairosError('KAIROS_INTERNAL', { op: name, got: 'an op without a kernel', source: node.source })
}
