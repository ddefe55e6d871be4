/**
 * Pass 9: which values share memory.
 *
 * A storage is a piece of memory; its place in the arena is found natively, when sizes are known. Here is decided
 * only what sizes do not change: views share their operand's storage, and a step may write over an operand of the
 * same size that nobody reads later.
 */
import { sameShape } from '../core/dim.js'
import { bytesOf } from '../core/dtype.js'
import { kernelOf } from './kernelOf.js'
import { type KernelDeclaration, kernelTable } from './kernelTable.js'
import { type Leaf, type Node, specOf, type Value, valueKey } from './node.js'
import { aliasRoot, type Schedule } from './schedule.js'

export interface PlannedBuffer {
  readonly value: Value
  readonly role: 'temporary' | Leaf['kind']
  readonly storage: number
}

export interface Plan extends Schedule {
  /** Every value that has memory, leaves first. */
  readonly buffers: readonly PlannedBuffer[]
  readonly storageCount: number
  /** Steps that run a kernel: views are gone. */
  readonly kernelSteps: readonly Node[]
  readonly kernelCommitStart: number
}

export const plan = (scheduled: Schedule): Plan => new Planner(scheduled).plan()

class Planner {
  private readonly buffers: PlannedBuffer[] = []
  private readonly storageOf = new Map<string, number>()
  /** Per storage: the step that reads its present contents last. */
  private readonly storageEnd: number[] = []
  private readonly kernelSteps: readonly Node[]
  private readonly position: ReadonlyMap<Node, number>
  private readonly lastRead = new Map<string, number>()

  constructor(private readonly scheduled: Schedule) {
    this.kernelSteps = scheduled.steps.filter((node) => this.runs(node))
    this.position = new Map(this.kernelSteps.map((node, position) => [node, position]))
    for (const [node, position] of this.position) {
      for (const operand of node.inputs) this.lastRead.set(valueKey(this.root(operand)), position)
    }
    // What is handed out lives through the whole run.
    for (const { value } of scheduled.graph.outputs)
      this.lastRead.set(valueKey(this.root(value)), Number.POSITIVE_INFINITY)
  }

  plan(): Plan {
    const { graph, steps, commitStart, writes } = this.scheduled
    const leaves = [...graph.nodes, ...[...writes.values()].map(({ node }) => node)].filter(({ leaf }) => leaf !== null)
    for (const node of new Set(leaves)) this.place({ node, index: 0 }, (node.leaf as Leaf).kind, null)
    for (const node of steps) {
      if (this.runs(node)) this.placeResults(node)
      else
        this.buffers.push({
          value: { node, index: 0 },
          role: 'temporary',
          storage: this.storage(node.inputs[0] as Value),
        })
    }
    return {
      ...this.scheduled,
      buffers: this.buffers,
      storageCount: this.storageEnd.length,
      kernelSteps: this.kernelSteps,
      kernelCommitStart: steps.slice(0, commitStart).filter((node) => this.runs(node)).length,
    }
  }

  private runs(node: Node): boolean {
    return !node.op?.alias || this.scheduled.copies.has(node)
  }

  private root(value: Value): Value {
    return aliasRoot(value, this.scheduled.copies)
  }

  private storage(value: Value): number {
    return this.storageOf.get(valueKey(this.root(value))) as number
  }

  private place(value: Value, role: PlannedBuffer['role'], reused: number | null): void {
    const storage = reused ?? this.storageEnd.length
    const made = this.position.get(value.node) ?? 0
    this.storageEnd[storage] = this.lastRead.get(valueKey(value)) ?? made
    this.storageOf.set(valueKey(value), storage)
    this.buffers.push({ value, role, storage })
  }

  private placeResults(node: Node): void {
    const usable = this.overwritable(node)
    node.outputs.forEach((_, index) => {
      const value = { node, index }
      if (this.scheduled.writes.has(valueKey(value))) return
      const reused = usable.find(({ operand }) => fitsIn(value, operand))
      if (reused) usable.splice(usable.indexOf(reused), 1)
      this.place(value, 'temporary', reused?.storage ?? null)
    })
  }

  /** Operands that end with this step and are read element by element, so that a result may be written over them. */
  private overwritable(node: Node): { storage: number; operand: Value }[] {
    const { inPlace = false } = kernelTable[kernelOf(node)] as KernelDeclaration
    if (inPlace === false) return []
    const maps = node.attributes.operands as readonly number[] | undefined
    const result = new Map<number, Value>()
    const excluded = new Set<number>()
    node.inputs.forEach((operand, index) => {
      const storage = this.storage(operand)
      const full = inPlace === true ? maps === undefined || maps[2 * index + 1] === 0 : inPlace === index
      const ends = this.root(operand).node.op !== null && this.storageEnd[storage] === this.position.get(node)
      if (full && ends) result.set(storage, operand)
      else excluded.add(storage)
    })
    return [...result].filter(([storage]) => !excluded.has(storage)).map(([storage, operand]) => ({ storage, operand }))
  }
}

function fitsIn(value: Value, operand: Value): boolean {
  const [result, given] = [specOf(value), specOf(operand)]
  return sameShape(result.shape, given.shape) && bytesOf[result.dtype] === bytesOf[given.dtype]
}
