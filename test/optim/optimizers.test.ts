/** Optimisers against the plainest loops in float64, over many steps. */
import { describe, expect, it } from 'vitest'
import type { Optimizer } from '../../lib/graph/update.js'
import { adam, all, compile, createParameters, field, normal, parameter, sgd, sum } from '../../lib/index.js'
import { multiply, square, subtract } from '../../lib/ops/index.js'

const COUNT = 37
const STEPS = 40
const LR = 0.03

/** Loss sum(c (w - t)^2), whose gradient is 2 c (w - t). */
async function run(
  optimizer: Optimizer,
): Promise<{ start: Float32Array; end: Float32Array; curvature: Float32Array; target: Float32Array }> {
  const model = { w: parameter([COUNT], normal(1)) }
  const schema = { curvature: field('float32', COUNT), target: field('float32', COUNT) }
  const program = compile(model, (m, b) => ({ loss: sum(multiply(b.curvature, square(subtract(m.w, b.target)))) }), {
    schema,
    updates: [{ loss: 'loss', parameters: all, optimizer }],
  })
  const parameters = createParameters(model, 5)
  const start = (await parameters.read()).w as Float32Array
  const curvature = Float32Array.from({ length: COUNT }, (_, i) => 0.01 + (i % 7))
  const target = Float32Array.from({ length: COUNT }, (_, i) => Math.sin(i))
  for (let step = 0; step < STEPS; step++) await program.step({ curvature, target }, { lr: LR }, { parameters })
  return { start, end: (await parameters.read()).w as Float32Array, curvature, target }
}

function adamReference(
  start: number,
  curvature: number,
  target: number,
  decay: number,
  [b1, b2]: readonly [number, number] = [0.9, 0.999],
): number {
  let [w, m, v] = [start, 0, 0]
  for (let t = 1; t <= STEPS; t++) {
    const g = 2 * curvature * (w - target)
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    w *= 1 - LR * decay
    w -= (LR / (1 - b1 ** t)) * (m / (Math.sqrt(v) / Math.sqrt(1 - b2 ** t) + 1e-8))
  }
  return w
}

describe('optimisers', () => {
  it.each([0, 0.1])('adam with decoupled decay %f is algorithm 1 of its paper', async (weightDecay) => {
    const { start, end, curvature, target } = await run(adam({ weightDecay }))
    end.forEach((w, i) => {
      const expected = adamReference(start[i] as number, curvature[i] as number, target[i] as number, weightDecay)
      expect(Math.abs(w - expected)).toBeLessThan(2e-5)
    })
  })

  it('takes other betas', async () => {
    const betas = [0.5, 0.9] as const
    const { start, end, curvature, target } = await run(adam({ betas }))
    end.forEach((w, i) => {
      expect(
        Math.abs(w - adamReference(start[i] as number, curvature[i] as number, target[i] as number, 0, betas)),
      ).toBeLessThan(2e-5)
    })
  })

  it('sgd is a step against the gradient', async () => {
    const { start, end, curvature, target } = await run(sgd())
    end.forEach((w, i) => {
      const [c, t] = [curvature[i] as number, target[i] as number]
      const expected = t + ((start[i] as number) - t) * (1 - 2 * LR * c) ** STEPS
      expect(Math.abs(w - expected)).toBeLessThan(2e-5)
    })
  })

  it('refuses betas outside [0, 1)', () => {
    expect(() => adam({ betas: [0.9, 1] })).toThrow(/adam: betas\[1\] should be in \[0, 1\) but got 1/)
  })
})
