/** Multi-task layers against models that run expert by expert, in float64. */
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { interpret } from '../../lib/graph/interpret.js'
import { namedVariables } from '../../lib/graph/module.js'
import type { Tensor } from '../../lib/graph/node.js'
import {
  CGC,
  constant,
  createParameters,
  FeatureGate,
  fanInUniform,
  gradients,
  LayerNorm,
  Mlp,
  MMoE,
  multiply,
  type ParameterSet,
  PLE,
  SqueezeExcitation,
  StackedLinear,
  stackedNames,
  sum,
} from '../../lib/index.js'
import type { Loose } from '../../lib/ops/support.js'

const BATCH = 5
const IN = 6
const start = { initializer: fanInUniform, biasInitializer: fanInUniform }
const random = createRandom(1)
const x = Float32Array.from({ length: BATCH * IN }, () => random.normal())
const rows = Array.from({ length: BATCH }, (_, b) => [...x.subarray(b * IN, (b + 1) * IN)])
const input = constant(x, [BATCH, IN])

type Values = Readonly<Record<string, ArrayLike<number>>>

/** The state dict of an expert-by-expert model: stacked parameters cut apart under the names that PyTorch has. */
function stateDict(model: object, values: Values): Record<string, Float64Array> {
  const stacked = stackedNames(model)
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, data]) => {
      const parts = stacked.get(name) ?? [name]
      const size = data.length / parts.length
      return parts.map((part, i) => [part, Float64Array.from(data).slice(i * size, (i + 1) * size)])
    }),
  )
}

/** A model that runs module by module. */
const modules = (dict: Readonly<Record<string, Float64Array>>) => {
  const get = (name: string) => dict[name] as Float64Array
  const linear = (name: string, v: readonly number[]) =>
    [...get(`${name}.bias`)].map(
      (bias, o) =>
        bias + v.reduce((total, value, i) => total + value * (get(`${name}.weight`)[o * v.length + i] as number), 0),
    )
  const relu = (v: readonly number[]) => v.map((value) => Math.max(value, 0))
  const softmax = (v: readonly number[]) => {
    const total = v.reduce((s, value) => s + Math.exp(value), 0)
    return v.map((value) => Math.exp(value) / total)
  }
  const expert = (name: string, v: readonly number[]) => relu(linear(`${name}.2`, relu(linear(`${name}.0`, v))))
  const tower = (name: string, v: readonly number[]) => linear(`${name}.2`, relu(linear(`${name}.0`, v)))
  const mix = (weights: readonly number[], experts: readonly (readonly number[])[]) =>
    (experts[0] as readonly number[]).map((_, d) =>
      weights.reduce((s, weight, e) => s + weight * ((experts[e] as readonly number[])[d] as number), 0),
    )
  return { linear, softmax, expert, tower, mix }
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i)

async function compare(
  model: { readonly net: object },
  output: Tensor,
  reference: (dict: Record<string, Float64Array>) => readonly number[],
) {
  const parameters = createParameters(model, 3)
  // Biases of zero would put units that see nothing on the edge of relu, where there is no difference to compare with.
  const drawn = await parameters.read()
  const biases = Object.entries(drawn).filter(([name]) => name.endsWith('bias'))
  await parameters.write(
    Object.fromEntries(
      biases.map(([name, { length }]) => [name, Float32Array.from({ length }, () => random.normal())]),
    ),
  )
  const values = await parameters.read()
  const expected = reference(stateDict(model, values))
  const variables = new Map(
    namedVariables(model).map(({ name, variable }) => [
      variable,
      { dtype: variable.dtype, shape: variable.shape, data: Float64Array.from(values[name] as Float32Array) },
    ]),
  )
  const [exact] = interpret([output], { variables })
  const device = (await output.data({ parameters })) as Float32Array
  expect(device).toHaveLength(expected.length)
  expected.forEach((value, i) => {
    expect(exact?.data[i]).toBeCloseTo(value, 12)
    expect(device[i]).toBeCloseTo(value, 5)
  })
  await compareGradients(model, output, parameters, values, reference)
}

/** Gradients of a weighted sum of the outputs against central differences of the reference. */
async function compareGradients(
  model: object,
  output: Tensor,
  parameters: ParameterSet,
  values: Values,
  reference: (dict: Record<string, Float64Array>) => readonly number[],
) {
  const count = output.shape.reduce<number>((product, dim) => product * (dim as number), 1)
  const weights = Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1))
  const loss = sum(multiply(output as Loose, constant(weights, output.shape as number[]) as Loose)) as Tensor
  const lossOf = (changed: Values) =>
    reference(stateDict(model, changed)).reduce((total, value, i) => total + value * (weights[i] as number), 0)
  const named = namedVariables(model)
  const found = gradients(
    loss,
    named.map(({ tensor }) => tensor),
  )
  for (const [v, { name }] of named.entries()) {
    const gradient = (await found[v]?.data({ parameters })) as Float32Array
    const data = Float64Array.from(values[name] as Float32Array)
    for (let i = 0; i < data.length; i += Math.ceil(data.length / 7)) {
      const at = (step: number) => lossOf({ ...values, [name]: data.with(i, (data[i] as number) + step) })
      expect(gradient[i], `${name}[${i}]`).toBeCloseTo((at(1e-6) - at(-1e-6)) / 2e-6, 4)
    }
  }
}

describe('MMoE', () => {
  const options = { inputs: IN, experts: 4, hidden: [8, 7], tasks: 3, ...start } as const

  it('mixes experts by a gate per task', async () => {
    const model = { net: new MMoE(options) }
    await compare(model, model.net.forward(input) as Tensor, (dict) => {
      const { linear, softmax, expert, mix } = modules(dict)
      return range(3).flatMap((t) =>
        rows.flatMap((v) =>
          mix(
            softmax(linear(`net.gates.${t}`, v)),
            range(4).map((e) => expert(`net.experts.${e}`, v)),
          ),
        ),
      )
    })
  })

  it('ends in towers, whose logits stand side by side', async () => {
    const model = { net: new MMoE({ ...options, towers: [5, 1] }) }
    await compare(model, model.net.logits(input) as Tensor, (dict) => {
      const { linear, softmax, expert, mix, tower } = modules(dict)
      return rows.flatMap((v) => {
        const experts = range(4).map((e) => expert(`net.experts.${e}`, v))
        return range(3).flatMap((t) => tower(`net.towers.${t}`, mix(softmax(linear(`net.gates.${t}`, v)), experts)))
      })
    })
    expect(() => new MMoE(options).logits(input)).toThrow(
      'MMoE: towers should be ending in width 1, for logits but got 7',
    )
  })

  it('names its parts as the modules of an expert-by-expert model', () => {
    const names = stackedNames({ net: new MMoE({ ...options, experts: 2, tasks: 1, towers: [1] }) })
    expect([...names]).toEqual([
      ['net.experts.0.weight', ['net.experts.0.0.weight', 'net.experts.1.0.weight']],
      ['net.experts.0.bias', ['net.experts.0.0.bias', 'net.experts.1.0.bias']],
      ['net.experts.2.weight', ['net.experts.0.2.weight', 'net.experts.1.2.weight']],
      ['net.experts.2.bias', ['net.experts.0.2.bias', 'net.experts.1.2.bias']],
      ['net.gates.weight', ['net.gates.0.weight']],
      ['net.gates.bias', ['net.gates.0.bias']],
      ['net.towers.0.weight', ['net.towers.0.0.weight']],
      ['net.towers.0.bias', ['net.towers.0.0.bias']],
    ])
  })
})

describe('PLE', () => {
  const [tasks, own, shared] = [2, 3, 2]

  /** Equations 1 to 6 of the paper: a level's outputs, the shared one last where there is a shared gate. */
  function level(dict: Record<string, Float64Array>, path: string, inputs: readonly (readonly number[])[]) {
    const { linear, softmax, expert, mix } = modules(dict)
    const common = inputs.at(-1) as readonly number[]
    const ofTask = range(tasks).map((t) =>
      range(own).map((i) => expert(`${path}.experts.${t * own + i}`, inputs[t] as readonly number[])),
    )
    const ofAll = range(shared).map((i) => expert(`${path}.shared.${i}`, common))
    const outputs = range(tasks).map((t) =>
      mix(softmax(linear(`${path}.gates.${t}`, inputs[t] as readonly number[])), [
        ...(ofTask[t] as number[][]),
        ...ofAll,
      ]),
    )
    if (!dict[`${path}.sharedGate.0.weight`]) return outputs
    return [...outputs, mix(softmax(linear(`${path}.sharedGate.0`, common)), [...ofTask.flat(), ...ofAll])]
  }

  it('of one level is customised gate control', async () => {
    const model = {
      net: new CGC({ inputs: IN, tasks, taskExperts: own, sharedExperts: shared, hidden: [5, 4], ...start }),
    }
    await compare(model, model.net.forward(input as Loose), (dict) => {
      const perRow = rows.map((v) =>
        level(
          dict,
          'net',
          range(tasks + 1).map(() => v),
        ),
      )
      return range(tasks).flatMap((t) => perRow.flatMap((outputs) => outputs[t] as number[]))
    })
  })

  it('of two levels and towers follows the paper', async () => {
    const model = {
      net: new PLE({
        inputs: IN,
        tasks,
        taskExperts: own,
        sharedExperts: shared,
        levels: [
          [5, 4],
          [6, 3],
        ],
        towers: [4, 1],
        ...start,
      }),
    }
    await compare(model, model.net.logits(input) as Tensor, (dict) => {
      const { tower } = modules(dict)
      return rows.flatMap((v) => {
        const first = level(
          dict,
          'net.levels.0',
          range(tasks + 1).map(() => v),
        )
        const second = level(dict, 'net.levels.1', first)
        return range(tasks).flatMap((t) => tower(`net.towers.${t}`, second[t] as number[]))
      })
    })
  })

  it('refuses levels and experts that are not there', () => {
    expect(() => new PLE({ inputs: 3, tasks: 2, taskExperts: 1, sharedExperts: 1, levels: [] })).toThrow(
      'PLE: levels should be one or more levels of one or more widths but got []',
    )
    expect(() => new CGC({ inputs: 3, tasks: 2, taskExperts: 0, sharedExperts: 1, hidden: [2] })).toThrow(
      'CGC: taskExperts should be a positive integer but got 0',
    )
    expect(() => new StackedLinear(3, 4, 2).forward(constant(new Float32Array(8), [2, 1, 4]) as Loose)).toThrow(
      'StackedLinear: x should be [batch, in] or [groups, batch, in] with groups dividing 3 but got [2, 1, 4]',
    )
  })
})

describe('gates over features', () => {
  const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))
  const relu = (v: readonly number[]) => v.map((value) => Math.max(value, 0))

  it('FeatureGate rescales by twice a sigmoid of the context', async () => {
    const model = { net: new FeatureGate({ context: IN, channels: 4, hidden: 3 }) }
    const hidden = constant(
      Float32Array.from({ length: BATCH * 4 }, (_, i) => Math.sin(i)),
      [BATCH, 4],
    )
    await compare(model, model.net.forward(hidden, input) as Tensor, (dict) => {
      const { linear } = modules(dict)
      return rows.flatMap((context, b) =>
        linear('net.outer', relu(linear('net.inner', context))).map(
          (z, i) => 2 * sigmoid(z) * Math.fround(Math.sin(4 * b + i)),
        ),
      )
    })
  })

  it('SqueezeExcitation weighs fields by their means', async () => {
    const model = { net: new SqueezeExcitation(3, { reduction: 2 }) }
    const fields = constant(x, [BATCH, 3, IN / 3])
    await compare(model, model.net.forward(fields) as Tensor, (dict) => {
      const { linear } = modules(dict)
      return rows.flatMap((row) => {
        const means = range(3).map((f) => ((row[2 * f] as number) + (row[2 * f + 1] as number)) / 2)
        const weights = relu(linear('net.excite', relu(linear('net.squeeze', means))))
        return row.map((value, i) => value * (weights[Math.floor(i / 2)] as number))
      })
    })
  })
})

describe('Mlp', () => {
  it('is its layers one after another', async () => {
    const model = { net: new Mlp([IN, 7, 4], start) }
    await compare(model, model.net.forward(input) as Tensor, (dict) =>
      rows.flatMap((v) => modules(dict).tower('net', v)),
    )
  })

  it('numbers its layers as torch.nn.Sequential does', () => {
    const names = (options: object) => Object.keys(new Mlp([6, 5, 4, 3], options)).filter((key) => /^\d+$/.test(key))
    expect(names({})).toEqual(['0', '2', '4'])
    expect(names({ dropout: 0.1 })).toEqual(['0', '3', '6'])
    expect(names({ layerNorm: true, dropout: 0.1 })).toEqual(['0', '1', '4', '5', '8'])
    expect(names({ activation: 'none' })).toEqual(['0', '1', '2'])
    expect(new Mlp([6, 5, 4], { layerNorm: true })[1]).toBeInstanceOf(LayerNorm)
    const variables = namedVariables({ net: new Mlp([6, 5, 4]) }).map(({ name }) => name)
    expect(variables).toEqual(['net.0.weight', 'net.0.bias', 'net.2.weight', 'net.2.bias'])
  })

  it('takes activations by name and refuses sizes that are none', async () => {
    const model = { net: new Mlp([IN, 4], { ...start, lastActivation: 'silu' }) }
    await compare(model, model.net.forward(input) as Tensor, (dict) =>
      rows.flatMap((v) =>
        modules(dict)
          .linear('net.0', v)
          .map((z) => z / (1 + Math.exp(-z))),
      ),
    )
    expect(() => new Mlp([3] as never)).toThrow('Mlp: sizes should be two or more positive integers but got [3]')
    expect(() => new Mlp([3, 0])).toThrow('Mlp: sizes should be two or more positive integers but got [3, 0]')
  })
})
