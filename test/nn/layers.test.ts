/** Layers against the formulas of their papers, in float64. */
import { describe, expect, it } from 'vitest'
import { interpret } from '../../lib/graph/interpret.js'
import { namedVariables, parameterCount } from '../../lib/graph/module.js'
import {
  constant,
  createParameters,
  FeedForward,
  FrequencyLayer,
  historyRange,
  LayerNorm,
  Linear,
  linear,
  merge,
  RMSNorm,
  SelfAttention,
  slice,
} from '../../lib/index.js'
import { FrequencyModel, frequency } from '../../lib/systems/frequency/index.js'

const sequence = (...shape: [number, number, number]) =>
  constant(
    Float32Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) => Math.sin(0.7 * i) + 0.1 * (i % 5)),
    shape,
  )

const dataOf = (tensor: { value: { node: { leaf: unknown } } }) =>
  (tensor.value.node.leaf as { data: Float32Array }).data

describe('layers', () => {
  it('Linear is x W^T + b', async () => {
    const model = { linear: new Linear(3, 2) }
    const parameters = createParameters(model, 1)
    await parameters.write({ 'linear.bias': Float32Array.of(1, -1) })
    const weight = (await parameters.read())['linear.weight'] as Float32Array
    const y = await model.linear.forward(constant(Float32Array.of(1, 2, 3), [1, 3])).data({ parameters })
    const row = (i: number) => [1, 2, 3].reduce((sum, x, j) => sum + x * (weight[3 * i + j] as number), 0)
    expect(y[0]).toBeCloseTo(row(0) + 1, 6)
    expect(y[1]).toBeCloseTo(row(1) - 1, 6)
  })

  it('RMSNorm divides by the root of the mean square', async () => {
    const model = { norm: new RMSNorm(3, 0) }
    const parameters = createParameters(model, 1)
    await parameters.write({ 'norm.weight': Float32Array.of(1, 2, -1) })
    const y = await model.norm.forward(constant(Float32Array.of(1, 2, 2), [1, 3])).data({ parameters })
    for (const [i, expected] of [1, 4, -2].entries()) expect(y[i]).toBeCloseTo(expected / Math.sqrt(3), 6)
  })

  it('FrequencyLayer is low + beta^2 high', async () => {
    const [time, channels, cutoff] = [10, 3, 3]
    const model = { layer: new FrequencyLayer({ time, channels, cutoff }) }
    const parameters = createParameters(model, 2)
    const beta = (await parameters.read())['layer.beta'] as Float32Array
    const x = sequence(2, time, channels)
    const y = await model.layer.forward(x).data({ parameters })
    const input = dataOf(x)
    for (let b = 0; b < 2; b++) {
      for (let d = 0; d < channels; d++) {
        const at = (t: number) => input[(b * time + t) * channels + d] as number
        for (let t = 0; t < time; t++) {
          // The low band by its definition: DFT bins below the cutoff, and their mirror images.
          let low = 0
          for (let k = 0; k < cutoff; k++) {
            let [re, im] = [0, 0]
            for (let s = 0; s < time; s++) {
              re += at(s) * Math.cos((2 * Math.PI * k * s) / time)
              im -= at(s) * Math.sin((2 * Math.PI * k * s) / time)
            }
            const angle = (2 * Math.PI * k * t) / time
            low += ((k === 0 ? 1 : 2) / time) * (re * Math.cos(angle) - im * Math.sin(angle))
          }
          const expected = low + (beta[d] as number) ** 2 * (at(t) - low)
          expect(y[(b * time + t) * channels + d]).toBeCloseTo(expected, 4)
        }
      }
    }
  })

  it('FrequencyLayer gives its last position without a transform', async () => {
    for (const [time, cutoff] of [
      [10, 3],
      [7, 4],
      [8, 5],
    ] as const) {
      const channels: number = 3
      const model = { layer: new FrequencyLayer({ time: time as number, channels, cutoff }) }
      const parameters = createParameters(model, 2)
      const x = sequence(2, time, channels)
      const whole = await model.layer.forward(x).data({ parameters })
      const last = await model.layer.last(x).data({ parameters })
      for (let b = 0; b < 2; b++) {
        for (let d = 0; d < channels; d++) {
          expect(last[b * channels + d]).toBeCloseTo(whole[(b * time + time - 1) * channels + d] as number, 5)
        }
      }
    }
  })

  it('causal attention does not see later items or padding', async () => {
    const model = { attention: new SelfAttention({ channels: 4, heads: 2 }) }
    const parameters = createParameters(model, 3)
    const ids = constant(Int32Array.of(0, 5, 6, 7, 8), [1, 5])
    const forward = async (x: Float32Array) =>
      model.attention.forward(constant(x, [1, 5, 4]), { causal: true, range: historyRange(ids) }).data({ parameters })
    const x = dataOf(sequence(1, 5, 4)).slice()
    const before = await forward(x)
    const touched = x.slice()
    for (let d = 0; d < 4; d++) {
      touched[d] = 9 // the padded first position
      touched[16 + d] = -9 // the last position
    }
    const after = await forward(touched)
    expect([...after.slice(4, 16)]).toEqual([...before.slice(4, 16)])
    expect([...after.slice(16)]).not.toEqual([...before.slice(16)])
  })

  it('refuses heads that do not divide the channels, and a cutoff beyond the bins', () => {
    expect(() => new SelfAttention({ channels: 6, heads: 4 })).toThrow(
      /SelfAttention: heads should be a divisor of 6 channels but got 4/,
    )
    expect(() => new FrequencyLayer({ time: 10, channels: 2, cutoff: 7 })).toThrow(
      /cutoff should be a whole number in \[1, 6\] for 10 positions but got 7/,
    )
  })

  it('name their parameters by path', () => {
    const names = namedVariables({ a: new FeedForward(2, 3), b: [new LayerNorm(2)] }).map(({ name }) => name)
    expect(names).toEqual([
      'a.inner.weight',
      'a.inner.bias',
      'a.outer.weight',
      'a.outer.bias',
      'b.0.weight',
      'b.0.bias',
    ])
  })
})

describe('the frequency system', () => {
  it('has as many parameters as the published model', () => {
    // 3,646 items of 64 channels, 50 positions, two blocks of attention, filter and feed-forward.
    expect(parameterCount(frequency.build(3646, frequency.config.parse({})))).toBe(337_088)
  })

  it.each([0, 0.7])('scores what the last position of the full form scores, alpha %d', async (alpha) => {
    const config = frequency.config.parse({ dimensions: 8, layers: 2, heads: 2, maxLength: 6, cutoff: 2, alpha })
    const model = new FrequencyModel(20, config)
    const parameters = createParameters(model, 4)
    const history = constant(Int32Array.of(0, 0, 3, 7, 7, 1, 20, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 9), [3, 6])
    const full = merge(slice(model.hidden(history), 1, 5, 1), 1, 2)
    const expected = await linear(full, model.items.weight as never).data({ parameters })
    const scores = await model.scores(history).data({ parameters })
    scores.forEach((score, i) => expect(score).toBeCloseTo(expected[i] as number, 5))
  })

  it('scores on the device as the float64 interpreter does', async () => {
    const config = frequency.config.parse({ dimensions: 8, layers: 2, heads: 2, maxLength: 6, cutoff: 2 })
    const model = frequency.build(20, config) as InstanceType<
      typeof import('../../lib/systems/frequency/model.js').FrequencyModel
    >
    const parameters = createParameters(model, 4)
    const values = await parameters.read()
    const variables = new Map(
      namedVariables(model).map(({ name, variable: { dtype, shape }, variable }) => [
        variable,
        { dtype, shape, data: Float64Array.from(values[name] as Float32Array) },
      ]),
    )
    const history = constant(Int32Array.of(0, 0, 3, 7, 7, 1, 20, 2, 3, 4, 5, 6), [2, 6])
    const scores = model.scores(history as never)
    const device = await scores.data({ parameters })
    const [reference] = interpret([scores], { variables })
    device.forEach((score, i) => expect(score).toBeCloseTo(reference?.data[i] as number, 5))
  })
})
