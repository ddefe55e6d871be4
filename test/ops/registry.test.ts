/**
 * Walks the registry without a device: shape rules against references, gradients against finite differences, refusals
 * against their text. A new op is tested here without a line of test.
 */
import { describe, expect, it } from 'vitest'
import { evaluateDim } from '../../lib/core/dim.js'
import { createRandom } from '../../lib/core/random.js'
import { computedSymbol } from '../../lib/graph/computed.js'
import { applyOp, type OpCase, type OpDefinition, type ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import { type KernelName, kernelTable } from '../../lib/graph/kernelTable.js'
import { input } from '../../lib/graph/leaf.js'
import { specOf, type Tensor } from '../../lib/graph/node.js'
import { casesOf, cotangentFeeds, describeCase, gradientOf, graphOf, ops, SYMBOL, shrink } from './harness.js'

const DRAWS = 2
/** Central differences in float64 are this good for functions of ordinary size. */
const STEP = 1e-5
const GRADIENT_TOLERANCE = 1e-6
/** Elements whose derivative is measured, per operand. */
const PROBES = 24

describe.each(ops.map((op) => [op.name, op] as const))('%s', (_, op) => {
  const cases = casesOf(op, DRAWS)

  it('promises the shapes that its reference gives', () => {
    for (const example of cases) {
      const { outputs, feeds } = graphOf(op, example)
      const results = interpret(outputs, { feeds })
      results.forEach((result, index) => {
        expect(result.dtype).toBe(outputs[index]?.dtype)
        expect([...result.shape]).toEqual(promisedShape(outputs[index] as Tensor, results))
      })
    }
  })

  it('infers symbolic sizes that hold for every count', () => {
    const live = cases.filter((example) => example.live !== undefined)
    for (const example of live) {
      const symbolic = graphOf(op, example, true)
      for (const count of [0, 1, (example.live as number) - 1, example.live as number]) {
        const smaller = shrink(example, count)
        const { feeds } = graphOf(op, smaller)
        const expected = op.reference(smaller.inputs, smaller.attributes)
        expect(interpret(symbolic.outputs, { feeds, counts: { [SYMBOL]: count } })).toEqual(expected)
      }
    }
  })

  if (typeof op.vjp === 'string') {
    const reason = op.vjp
    it('says why it has no gradient', () => expect(reason).toMatch(/ /))
  } else {
    it('has the gradient that finite differences measure', () => {
      for (const example of cases) checkGradient(op, example)
    })
  }

  it('refuses what does not fit, in words', () => {
    const { invalid } = op.cases(createRandom(1))
    expect(invalid.length).toBeGreaterThan(0)
    for (const { inputs, attributes, message } of invalid) {
      const leaves = inputs.map(({ dtype, shape }, index) => input(`operand${index}`, shape, dtype))
      expect(() => applyOp(op, leaves, attributes)).toThrow(message)
    }
  })
})

/** The shape as promised, with the sizes that the op computes. */
function promisedShape({ shape, value }: Tensor, results: readonly ReferenceArray[]): number[] {
  const computed = computedSymbol(value.node)
  const counts = computed ? { [computed.symbol]: results[computed.count.index]?.data[0] as number } : {}
  return shape.map((dim) => evaluateDim(dim, counts))
}

function checkGradient(op: OpDefinition, example: OpCase): void {
  const graph = graphOf(op, example)
  const { wanted, gradients } = gradientOf(graph, example)
  const random = createRandom(3)
  const results = interpret(graph.outputs, { feeds: graph.feeds })
  const cotangents = cotangentFeeds(results, random)
  const present = gradients.filter((gradient): gradient is Tensor => gradient !== null)
  const values = interpret(present, { feeds: { ...graph.feeds, ...cotangents } })
  // What the cotangents weigh, as one number.
  const objective = (inputs: readonly ReferenceArray[]) =>
    op
      .reference(inputs, example.attributes)
      .reduce((total, { data }, index) => total + dot(data, cotangents[`cotangent${index}`]?.data ?? []), 0)

  wanted.forEach((operand, position) => {
    const gradient = gradients[position] ?? null
    const analytic = gradient ? values[present.indexOf(gradient)] : undefined
    const { shape, data } = example.inputs[operand] as ReferenceArray
    if (gradient) expect(specOf(gradient.value).shape, `${op.name}: shape of gradient ${operand}`).toEqual(shape)
    const magnitude = analytic?.data.reduce((greatest, value) => Math.max(greatest, Math.abs(value)), 1) ?? 1
    for (const element of probes(data.length, random)) {
      const measured =
        (objective(moved(example, operand, element, STEP)) - objective(moved(example, operand, element, -STEP))) /
        (2 * STEP)
      const error = Math.abs(measured - (analytic?.data[element] ?? 0)) / magnitude
      expect(error, `${op.name} ${describeCase(example)}, operand ${operand}[${element}]`).toBeLessThan(
        GRADIENT_TOLERANCE,
      )
    }
  })
}

/** 0 times an infinity is nothing: a maximum over nothing has no derivative to weigh. */
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(b).reduce(
    (total, weight, index) => total + (Number.isFinite(a[index]) ? weight * (a[index] as number) : 0),
    0,
  )

function moved({ inputs }: OpCase, operand: number, element: number, by: number): ReferenceArray[] {
  return inputs.map((array, index) => {
    if (index !== operand) return array
    const data = array.data.slice()
    data[element] = (data[element] as number) + by
    return { ...array, data }
  })
}

function probes(length: number, random: ReturnType<typeof createRandom>): number[] {
  const all = Array.from({ length }, (_, index) => index)
  return length <= PROBES ? all : random.shuffle(all).slice(0, PROBES)
}

describe('the registry', () => {
  it('reaches every kernel of the table', () => {
    const reached = new Set(ops.filter((op) => !op.expand).map((op) => op.kernel ?? op.name))
    expect([...reached].sort()).toEqual(Object.keys(kernelTable).sort())
  })

  it('gives kernels the attributes that the table declares', () => {
    for (const op of ops) {
      if (op.elementwise || op.expand) continue
      const { attributes } = kernelTable[(op.kernel ?? op.name) as KernelName]
      for (const example of casesOf(op, 1)) {
        for (const [key, type] of Object.entries(attributes)) {
          const value = example.attributes[key.replace('?', '')]
          if (key.endsWith('?') && value === undefined) continue
          const jsType = {
            bool: 'boolean',
            int: 'number',
            float: 'number',
            string: 'string',
            ints: 'object',
            floats: 'object',
          }[type]
          expect(typeof value, `${op.name}.${key}`).toBe(jsType)
        }
      }
    }
  })

  it('turns a size of every op into a symbol, save where there is none', () => {
    const without = ops.filter((op) => casesOf(op, 1).every(({ live }) => live === undefined)).map(({ name }) => name)
    // Offsets end at the number of ids, so no size can change without its data.
    expect(without).toEqual(['tableBags'])
  })
})
