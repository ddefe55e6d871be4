import { describe, expect, it } from 'vitest'
import { gradients } from '../../lib/graph/autodiff.js'
import { type Graph, makeGraph } from '../../lib/graph/graph.js'
import { constant, input, scalar } from '../../lib/graph/leaf.js'
import { namedVariables, normal, parameter, state } from '../../lib/graph/module.js'
import { type Node, type Tensor, tensorOf, valueKey } from '../../lib/graph/node.js'
import { graphPasses, lower } from '../../lib/graph/passes.js'
import type { Plan } from '../../lib/graph/plan.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { checkGraph, checkPlan, checkSchedule } from '../../lib/graph/spec.js'
import { type TraceRequest, trace } from '../../lib/graph/trace.js'
import {
  add,
  addBias,
  broadcast,
  embedding,
  gelu,
  matmul,
  mean,
  multiply,
  relu,
  reshape,
  sqrt,
  square,
  subtract,
  sum,
} from '../../lib/ops/index.js'
import { adam } from '../../lib/optim/index.js'

const opsOf = (graph: Pick<Graph, 'nodes'>) => graph.nodes.flatMap(({ op }) => (op ? [op.name] : []))

/** The graph after the named pass. */
function after(pass: string, request: TraceRequest): Graph {
  let graph = trace(request)
  for (const { name, run } of graphPasses) {
    graph = run(graph)
    checkGraph(graph, name)
    if (name === pass) return graph
  }
  throw new Error(`no pass ${pass}`)
}

const kernels = (plan: Plan) => plan.kernelSteps.map((node) => node.op?.kernel ?? node.op?.name)

const updateOf = (loss: Tensor, parameters: readonly Tensor[]) => ({
  name: 'loss',
  loss,
  groups: [{ name: 'loss', parameters, optimizer: adam() }],
})

describe('trace', () => {
  it('makes one node of feeds with one name', () => {
    const a = input('x', ['batch', 4])
    const b = input('x', ['batch', 4])
    const graph = trace({ outputs: { y: add(a, b) } })
    expect(graph.nodes.filter(({ leaf }) => leaf?.kind === 'input')).toHaveLength(1)
  })

  it('refuses one name for two shapes, naming both', () => {
    const request = { outputs: { y: add(sum(input('x', ['batch', 4])), sum(input('x', ['batch', 5]))) } }
    expect(() => trace(request)).toThrow(
      /input 'x' should be one dtype and shape \(float32 \[batch, 4\].*but got float32 \[batch, 5\]/,
    )
  })
})

describe('simplify', () => {
  it('folds constants, merges equal work, drops identities', () => {
    const x = input('x', [3])
    const twice = add(multiply(x, 2), multiply(x, 2))
    const folded = multiply(add(twice, multiply(scalar(0), scalar(5))), 1)
    const graph = after('simplify', { outputs: { y: folded } })
    expect(opsOf(graph)).toEqual(['multiply', 'add'])
  })

  it('keeps negative zero apart from zero', () => {
    const x = input('x', [2])
    const graph = after('simplify', { outputs: { a: multiply(x, 0), b: multiply(x, -0) } })
    expect(opsOf(graph)).toEqual(['multiply', 'multiply'])
  })
})

describe('autodiff', () => {
  it('adds cotangents that meet', () => {
    const x = input('x', [3])
    const [dx] = gradients(sum(multiply(x, x)), [x])
    const graph = after('simplify again', { outputs: { dx: dx as Tensor } })
    expect(opsOf(graph)).toContain('add')
  })

  it('gives null where the loss does not depend on a value', () => {
    const x = input('x', [3])
    expect(gradients(sum(x), [input('z', [3])])).toEqual([null])
  })

  it('refuses a loss that is no scalar', () => {
    expect(() => gradients(input('x', [3]), [])).toThrow(
      /gradients: loss should be a float32 of rank 0 but got float32 \[3\]/,
    )
  })

  it('names a parameter that the loss does not reach', () => {
    const model = { used: parameter([2], normal(1)), unused: parameter([2], normal(1)) }
    namedVariables(model)
    const request = {
      outputs: { loss: sum(model.used) },
      updates: [updateOf(sum(model.used), [model.used, model.unused])],
    }
    expect(() => lower(request)).toThrow(
      /updates\.loss should be parameters that the loss depends on but got 'unused', which it does not/,
    )
  })
})

describe('fusion', () => {
  it('puts bias and activation into the product', () => {
    const y = gelu(addBias(matmul(input('x', ['batch', 4]), input('w', [4, 3])), input('b', [3])))
    const plan = lower({ outputs: { y } }, { check: true })
    expect(kernels(plan)).toEqual(['matmul'])
    expect(plan.kernelSteps[0]?.attributes.activation).toBe('gelu')
    expect(plan.kernelSteps[0]?.inputs).toHaveLength(3)
  })

  it('keeps what somebody else reads', () => {
    const product = matmul(input('x', ['batch', 4]), input('w', [4, 3]))
    const plan = lower({ outputs: { product, y: relu(product) } }, { check: true })
    expect(kernels(plan)).toEqual(['matmul', 'elementwise'])
  })

  it('makes one step of a chain and reads broadcasts in place', () => {
    const x = input('x', ['batch', 8])
    const row = input('row', [8])
    const y = sqrt(add(square(multiply(x, broadcast(row, 0, ['batch']))), 1))
    const plan = lower({ outputs: { y } }, { check: true })
    expect(kernels(plan)).toEqual(['elementwise'])
    expect(plan.kernelSteps[0]?.attributes.operands).toEqual([0, 0, 0, 1])
  })

  it('does not fuse across a step that needs the first half', () => {
    const x = input('x', ['batch', 8])
    const a = multiply(x, 2)
    const y = add(a, broadcast(sum(a, 1), 1, [8]))
    const plan = lower({ outputs: { y } }, { check: true })
    expect(kernels(plan)).toEqual(['elementwise', 'sum', 'elementwise'])
  })

  it('does not close a cycle through another group', () => {
    // g -> a, b -> n with a and b in one group: joining n with g would make each group wait for the other.
    const x = input('x', [8])
    const g = square(x)
    const s = broadcast(sum(g), 0, [8])
    const a = multiply(s, 2)
    const b = add(a, x)
    const n = multiply(b, g)
    const plan = lower({ outputs: { n, b } }, { check: true })
    expect(kernels(plan)).toEqual(['elementwise', 'sum', 'elementwise'])
  })

  it('keeps long chains within the limits of the kernel, and right', async () => {
    const x = input('x', [5])
    let y: typeof x = x
    for (let i = 1; i <= 100; i++) y = i % 2 === 0 ? multiply(y, 1 + 1 / i) : add(y, 1 / i)
    const runner = new GraphRunner({ y })
    expect(kernels(runner.plan).length).toBeGreaterThan(1)
    const { outputs } = await runner.run({ feeds: { x: Float32Array.of(0, 1, 2, 3, 4) } })
    let expected = 2
    for (let i = 1; i <= 100; i++) expected = i % 2 === 0 ? expected * (1 + 1 / i) : expected + 1 / i
    expect(outputs.y?.data[2]).toBeCloseTo(expected, 3)
  })

  it('splits chains of many operands', async () => {
    const inputs = Array.from({ length: 40 }, (_, i) => input(`x${i}`, [3]))
    const total = inputs.reduce((sum, x) => add(sum, x))
    const runner = new GraphRunner({ total })
    const feeds = Object.fromEntries(inputs.map((_, i) => [`x${i}`, Float32Array.of(i, 1, -i)]))
    expect([...((await runner.run({ feeds })).outputs.total?.data ?? [])]).toEqual([780, 40, -780])
  })

  it('makes one pass of an Adam update, written in place', () => {
    const model = { w: parameter([4, 3], normal(1)) }
    namedVariables(model)
    const loss = mean(square(matmul(input('x', ['batch', 4]), model.w)))
    const plan = lower({ outputs: { loss }, updates: [updateOf(loss, [model.w])] }, { check: true })
    const commit = plan.kernelSteps.slice(plan.kernelCommitStart)
    const update = commit.filter((node) => node.outputs[0]?.shape.length === 2)
    expect(update).toHaveLength(1)
    expect(update[0]?.outputs).toHaveLength(3)
    expect(commit.map((node) => node.op?.name).filter((name) => name !== 'elementwise')).toEqual([])
    expect(plan.writes.size).toBe(4)
  })
})

describe('schedule', () => {
  const assignmentsOf = (pairs: readonly (readonly [Tensor, Tensor])[]) =>
    pairs.map(([target, value]) => ({ target, value }))

  it('swaps two variables through saved values', () => {
    const model = { a: state([2]), b: state([2]) }
    namedVariables(model)
    const plan = lower(
      {
        outputs: {},
        assignments: assignmentsOf([
          [model.a, model.b],
          [model.b, model.a],
        ]),
      },
      { check: true },
    )
    expect(kernels(plan)).toEqual(['reshape', 'reshape', 'reshape', 'reshape'].map(() => 'copy'))
    expect(plan.kernelCommitStart).toBe(2)
  })

  it('orders a reader of the old value before its writer', () => {
    const model = { a: state([2]), b: state([2]) }
    namedVariables(model)
    const plan = lower(
      {
        outputs: {},
        assignments: assignmentsOf([
          [model.a, add(model.a, 1)],
          [model.b, multiply(model.a, 2)],
        ]),
      },
      { check: true },
    )
    expect(plan.kernelCommitStart).toBe(0)
  })

  it('copies where two updates need each other', () => {
    const model = { a: state([2]), b: state([2, 2]) }
    namedVariables(model)
    // a needs all of b, b needs a repeated: neither can be first in place.
    const plan = lower(
      {
        outputs: {},
        assignments: assignmentsOf([
          [model.a, sum(model.b, 0)],
          [model.b, add(model.b, broadcast(model.a, 0, [2]))],
        ]),
      },
      { check: true },
    )
    expect(plan.writes.size).toBe(2)
  })

  it('hands out the old value of a variable that is written', () => {
    const model = { a: state([2]) }
    namedVariables(model)
    const plan = lower(
      { outputs: { old: model.a }, assignments: assignmentsOf([[model.a, add(model.a, 1)]]) },
      { check: true },
    )
    expect(kernels(plan)[0]).toBe('copy')
    expect(plan.kernelCommitStart).toBe(1)
  })
})

describe('plan', () => {
  it('writes a chain over an operand that ends with it', () => {
    const x = input('x', [64, 64])
    const product = matmul(x, x)
    const plan = lower({ outputs: { y: sum(relu(multiply(product, 3))) } }, { check: true })
    const storages = new Set(plan.buffers.filter(({ role }) => role === 'temporary').map(({ storage }) => storage))
    expect(storages.size).toBe(2)
  })

  it('shares memory between a tensor and its view', () => {
    const plan = lower({ outputs: { y: sum(reshape(multiply(input('x', [2, 6]), 2), [3, 4]), 0) } }, { check: true })
    expect(kernels(plan)).toEqual(['elementwise', 'sum'])
  })
})

describe('the graph spec itself', () => {
  const y = add(input('x', [2]), 1)
  const graph = makeGraph({ outputs: [{ name: 'y', value: y.value }], updates: [], assignments: [] })

  it('sees a wrong result spec', () => {
    const node: Node = { ...y.value.node, outputs: [{ dtype: 'float32', shape: [3] }] }
    const broken = makeGraph({ outputs: [{ name: 'y', value: { node, index: 0 } }], updates: [], assignments: [] })
    expect(() => checkGraph(broken, 'test')).toThrow(/result 0 is float32 \[2\], stored as float32 \[3\]: add/)
  })

  it('sees operands that come too late', () => {
    expect(() => checkGraph({ ...graph, nodes: graph.nodes.toReversed() }, 'test')).toThrow(
      /operands stand before users/,
    )
  })

  it('sees a variable that is assigned twice', () => {
    const model = { a: state([2]) }
    namedVariables(model)
    const one = { target: model.a.value, value: add(model.a, 1).value }
    const two = { target: model.a.value, value: add(model.a, 2).value }
    const twice = makeGraph({ outputs: [], updates: [], assignments: [one, two] })
    expect(() => checkGraph(twice, 'test')).toThrow(/a variable is assigned once/)
  })

  it('sees a variable read after it was written', () => {
    const model = { a: state([2]), b: state([2]) }
    namedVariables(model)
    const plan = lower({
      outputs: {},
      assignments: [
        { target: model.a, value: add(model.a, 1) },
        { target: model.b, value: subtract(model.a, 5) },
      ],
    })
    const steps = plan.steps.toReversed()
    const bothOrders = [() => checkSchedule(plan), () => checkSchedule({ ...plan, steps })].map((check) => {
      try {
        check()
        return 'fine'
      } catch (error) {
        return (error as Error).message
      }
    })
    expect(bothOrders).toContain('fine')
    expect(bothOrders.some((text) => /variables are read before they are written/.test(text))).toBe(true)
  })

  it('sees memory that was overwritten too early', () => {
    const x = input('x', [4, 4])
    const a = matmul(x, x)
    const b = matmul(a, x)
    const plan = lower({ outputs: { y: sum(matmul(a, b)) } })
    const storageOfA = plan.buffers.find(({ value }) => value.node.op?.name === 'matmul')?.storage as number
    const shared = plan.buffers.map((buffer) =>
      buffer.role === 'temporary' ? { ...buffer, storage: storageOfA } : buffer,
    )
    checkPlan(plan)
    expect(() => checkPlan({ ...plan, buffers: shared })).toThrow(/memory still holds the operand that is read/)
  })
})

describe('constants', () => {
  it('refuse data that does not fill their shape', () => {
    expect(() => constant(new Float32Array(5), [2, 3])).toThrow(
      /constant: data should be 6 elements for shape \[2, 3\] but got 5/,
    )
  })

  it('are one node when equal', () => {
    const graph = after('simplify', {
      outputs: {
        y: add(constant(Float32Array.of(1, 2), [2]), input('x', [2])),
        z: multiply(constant(Float32Array.of(1, 2), [2]), input('x', [2])),
      },
    })
    expect(graph.nodes.filter(({ leaf }) => leaf?.kind === 'constant')).toHaveLength(1)
    expect(valueKey(tensorOf(graph.outputs[0]?.value as never).value)).toBeTypeOf('string')
  })
})

describe('row updates', () => {
  it('make one step of gathers, a chain and stores, where nothing else reads the rows', () => {
    const table = parameter([50, 4], normal(1), { sparse: true })
    namedVariables({ table })
    const rows = embedding(table, input('ids', ['batch'], 'int32'))
    const loss = sum(square(rows))
    const { kernelSteps } = lower({ outputs: { loss }, updates: [updateOf(loss, [table])] })
    const names = kernelSteps.map(({ op }) => op?.name)
    expect(names.filter((name) => name === 'elementwiseRows')).toHaveLength(1)
    // One lookup of the model's own is left.
    expect(names.filter((name) => name === 'gather' || name === 'updateRows')).toEqual(['gather'])
    const update = kernelSteps.find(({ op }) => op?.name === 'elementwiseRows') as Node
    expect(update.outputs.map(({ shape }) => shape)).toEqual(Array(3).fill([50, 4]))
  })
})
