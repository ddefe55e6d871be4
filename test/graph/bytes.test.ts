/** What `explain` counts as moved: of a large table only the rows that a step touches. */
import { describe, expect, it } from 'vitest'
import { leastBytes, nodeBytes } from '../../lib/graph/bytes.js'
import { workByKernel } from '../../lib/graph/explain.js'
import { input } from '../../lib/graph/leaf.js'
import { namedVariables, normal, parameter } from '../../lib/graph/module.js'
import { lower } from '../../lib/graph/passes.js'
import { add, embedding, matmul, multiply, sum } from '../../lib/ops/index.js'
import { adam } from '../../lib/optim/index.js'

const F = 4

describe('bytes', () => {
  it('of a product are its operands and its result', () => {
    const plan = lower({ outputs: { y: matmul(input('a', [2, 3]), input('b', [3, 5])) } })
    expect(nodeBytes(plan.kernelSteps[0] as never, {})).toBe(F * (6 + 15 + 10))
    expect(leastBytes(plan, {})).toBe(F * (6 + 15 + 10))
  })

  it('count an operand that is read twice once, and a fused chain by its ends', () => {
    const x = input('x', ['batch', 8])
    const plan = lower({ outputs: { y: add(multiply(x, x), 1) } })
    expect(plan.kernelSteps).toHaveLength(1)
    expect(nodeBytes(plan.kernelSteps[0] as never, { batch: 10 })).toBe(2 * F * 80)
  })

  it('leave temporaries out of the least that must be moved', () => {
    const [a, b, c] = [input('a', [8, 8]), input('b', [8, 8]), input('c', [8, 8])]
    const plan = lower({ outputs: { y: matmul(matmul(a, b), c) } })
    expect(leastBytes(plan, {})).toBe(4 * F * 64)
    expect(plan.kernelSteps.reduce((total, node) => total + nodeBytes(node, {}), 0)).toBe(6 * F * 64)
  })

  it('of a lookup are its rows, however large the table is, and so are those of its update', () => {
    const moved = (rows: number) => {
      const table = parameter([rows, 16], normal(0.01), { sparse: true })
      namedVariables({ table })
      const loss = sum(embedding(table, input('ids', ['batch'], 'int32')))
      const groups = [{ name: 'loss', parameters: [table], optimizer: adam() }]
      const plan = lower({ outputs: { loss }, updates: [{ name: 'loss', loss, groups }] } as never)
      const counts = { batch: 4 }
      const work = [...workByKernel(plan, counts).values()]
      return [leastBytes(plan, counts), work.reduce((total, { bytes }) => total + bytes, 0)]
    }
    expect(moved(1_000_000)).toEqual(moved(1000))
    expect(moved(1000)[0]).toBeLessThan(F * 16 * 1000)
  })
})
