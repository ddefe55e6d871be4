/** Layers of attention against their definitions, composed of plain ops. */
import { describe, expect, it } from 'vitest'
import {
  add,
  batchMatmul,
  broadcast,
  constant,
  createParameters,
  gelu,
  historyRange,
  layerNorm,
  linear,
  merge,
  multiply,
  relu,
  SelfAttention,
  select,
  slice,
  softmax,
  split,
  TargetAttention,
  TransformerBlock,
  transpose,
} from '../../lib/index.js'
import type { Loose } from '../../lib/ops/support.js'

const wave = (...shape: number[]) =>
  constant(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(0.7 * i) + 0.1 * (i % 5)),
    shape,
  ) as Loose

const [batch, time, channels, heads] = [3, 6, 8, 2]
const x = wave(batch, time, channels)
const history = constant(Int32Array.of(1, 2, 3, 4, 5, 6, 0, 0, 7, 0, 8, 9, 0, 0, 0, 0, 0, 3), [batch, time])
const range = historyRange(history)
const starts = [0, 2, 5]

/** Who may be seen, [batch, heads, time, time]. */
const visible = constant(
  Uint8Array.from({ length: batch * heads * time * time }, (_, index) => {
    const [j, i, b] = [index % time, Math.floor(index / time) % time, Math.floor(index / (heads * time * time))]
    return j <= i && j >= (starts[b] as number) ? 1 : 0
  }),
  [batch, heads, time, time],
) as Loose

/** The formula, with every matrix written out. */
function attend({ query, key, value, output }: SelfAttention<number>, rows: Loose, bias?: Loose): Loose {
  const headsOf = ({ weight, bias: b }: SelfAttention<number>['query']) =>
    transpose(
      split(linear(rows, weight as Loose, { bias: b as Loose }) as Loose, -1, [heads, 4]) as Loose,
      [0, 2, 1, 3],
    )
  const scores = multiply(
    batchMatmul(headsOf(query) as Loose, headsOf(key) as Loose, { transposeB: true }) as Loose,
    0.5,
  )
  const biased = bias ? add(scores as Loose, broadcast(bias, 0, [batch]) as Loose) : scores
  const weights = softmax(select(visible, biased as Loose, -1e9) as Loose)
  const mixed = transpose(batchMatmul(weights as Loose, headsOf(value) as Loose) as Loose, [0, 2, 1, 3])
  return linear(merge(mixed as Loose, 2, 2) as Loose, output.weight as Loose, { bias: output.bias as Loose }) as Loose
}

/** Rows that hold something: others see nothing, where the formula would divide nothing by nothing. */
function expectRows(got: ArrayLike<number>, wanted: ArrayLike<number>): void {
  for (let b = 0; b < batch; b++) {
    for (let i = (starts[b] as number) * channels; i < time * channels; i++) {
      expect(got[b * time * channels + i]).toBeCloseTo(wanted[b * time * channels + i] as number, 5)
    }
  }
}

describe('historyRange', () => {
  it('starts after the leading padding alone', async () => {
    expect([...(await range.data())]).toEqual([0, 6, 2, 6, 5, 6])
    expect([...(await historyRange(constant(Int32Array.of(0, 0), [1, 2])).data())]).toEqual([2, 2])
    expect([...(await historyRange(constant(Int32Array.of(9, 0), [1, 2]), 9).data())]).toEqual([1, 2])
  })
})

describe('SelfAttention', () => {
  const model = { attention: new SelfAttention<number>({ channels, heads }) }
  const parameters = createParameters(model, 1)

  it('is the formula, with a bias and without', async () => {
    const bias = wave(heads, time, time)
    for (const given of [{}, { bias }]) {
      const y = await model.attention.forward(x, { range, causal: true, ...given }).data({ parameters })
      expectRows(y, await attend(model.attention, x, 'bias' in given ? bias : undefined).data({ parameters }))
    }
  })

  it('answers the last position alone', async () => {
    const last = slice(x, 1, time - 1, 1) as Loose
    const one = await model.attention.forward(x, { range, causal: true, queries: last }).data({ parameters })
    const all = await model.attention.forward(x, { range, causal: true }).data({ parameters })
    for (let b = 0; b < batch; b++) {
      const row = all.slice((b * time + time - 1) * channels, (b + 1) * time * channels)
      row.forEach((value, i) => expect(one[b * channels + i]).toBeCloseTo(value, 6))
    }
  })
})

describe('TransformerBlock', () => {
  const cases = [
    { norm: 'pre', activation: 'gelu' },
    { norm: 'post', activation: 'relu' },
  ] as const

  it.each(cases)('is the formula: $norm-norm with $activation', async (options) => {
    const model = { block: new TransformerBlock<number>({ channels, heads, hidden: 10, ...options }) }
    const { attention, attentionNorm, feedForward, feedForwardNorm } = model.block
    const parameters = createParameters(model, 2)
    const norm = ({ weight, bias }: typeof attentionNorm, rows: Loose) =>
      layerNorm(rows, weight as Loose, bias as Loose, { epsilon: 1e-5 }) as Loose
    const feed = (rows: Loose) => {
      const { inner, outer } = feedForward
      const hidden = linear(rows, inner.weight as Loose, { bias: inner.bias as Loose }) as Loose
      const active = options.activation === 'gelu' ? gelu(hidden) : relu(hidden)
      return linear(active as Loose, outer.weight as Loose, { bias: outer.bias as Loose }) as Loose
    }
    const pre = () => {
      const mixed = add(x, attend(attention, norm(attentionNorm, x))) as Loose
      return add(mixed, feed(norm(feedForwardNorm, mixed))) as Loose
    }
    const post = () => {
      const mixed = norm(attentionNorm, add(x, attend(attention, x)) as Loose)
      return norm(feedForwardNorm, add(mixed, feed(mixed)) as Loose)
    }
    const y = await model.block.forward(x, { range, causal: true }).data({ parameters })
    expectRows(y, await (options.norm === 'pre' ? pre() : post()).data({ parameters }))

    const queries = slice(x, 1, time - 1, 1) as Loose
    const last = await model.block.forward(x, { range, causal: true, queries }).data({ parameters })
    last.forEach((value, i) => {
      const b = Math.floor(i / channels)
      expect(value).toBeCloseTo(y[(b * time + time - 1) * channels + (i % channels)] as number, 5)
    })
  })
})

describe('TargetAttention', () => {
  const lengths = [4, 0, 6]
  const model = { layer: new TargetAttention<number, number, number>({ target: 5, history: 7, channels: 8, heads: 2 }) }
  const parameters = createParameters(model, 3)
  const target = wave(batch, 5)
  const padded = wave(batch, time, 7)

  it('is the formula over a padded history and over a ragged one', async () => {
    const rows = await padded.data()
    const kept = lengths.flatMap((length, b) => [...rows.slice(b * time * 7, (b * time + length) * 7)])
    const ragged = constant(Float32Array.from(kept), [10, 7])
    const [one, two] = await Promise.all([
      model.layer.padded(target, padded, constant(Int32Array.from(lengths), [batch])).data({ parameters }),
      model.layer.ragged(target, ragged, constant(Int32Array.of(0, 4, 4, 10), [4])).data({ parameters }),
    ])
    const values = await parameters.read()
    const weights = ['query', 'key', 'value'].map((name) => values[`layer.${name}.weight`] as Float32Array)
    const project = (weight: Float32Array | undefined, row: ArrayLike<number>, o: number) =>
      Array.from(row).reduce((sum, value, i) => sum + value * (weight?.[o * row.length + i] as number), 0)
    const targets = await target.data()
    for (let b = 0; b < batch; b++) {
      const own = targets.slice(b * 5, b * 5 + 5)
      const items = Array.from({ length: lengths[b] as number }, (_, t) =>
        rows.slice((b * time + t) * 7, (b * time + t + 1) * 7),
      )
      for (let o = 0; o < 8; o++) {
        const head = [0, 1, 2, 3].map((c) => Math.floor(o / 4) * 4 + c)
        const scores = items.map((item) =>
          Math.exp(head.reduce((sum, c) => sum + project(weights[0], own, c) * project(weights[1], item, c), 0) / 2),
        )
        const total = scores.reduce((a, c) => a + c, 0)
        const expected = items.reduce(
          (sum, item, t) => sum + ((scores[t] as number) / total) * project(weights[2], item, o),
          0,
        )
        expect(one[b * 8 + o]).toBeCloseTo(expected, 5)
        expect(two[b * 8 + o]).toBeCloseTo(expected, 5)
      }
    }
  })

  it('refuses heads that do not divide the channels', () => {
    expect(() => new TargetAttention({ target: 5, heads: 2 })).toThrow(
      /TargetAttention: heads should be a divisor of 5 channels but got 2/,
    )
  })
})
