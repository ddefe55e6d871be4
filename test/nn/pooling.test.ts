/** Layers that read one sequence into a vector or into another sequence, against their formulas. */
import { describe, expect, it } from 'vitest'
import { AttentionPooling, CrossAttention, constant, createParameters, TargetAttention } from '../../lib/index.js'
import { packedRows, placesOf } from '../../lib/nn/index.js'
import type { Loose } from '../../lib/ops/support.js'

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(0.9 * i) + 0.1 * (i % 3))
const rowsOf = (x: ArrayLike<number>, width: number): number[][] =>
  Array.from({ length: x.length / width }, (_, row) => Array.from(x).slice(row * width, (row + 1) * width))
const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)

/** softmax(scores)-weighed sum of rows; zeros where there is none. */
function mixed(scores: readonly number[], rows: readonly (readonly number[])[], width: number): number[] {
  const weights = scores.map(Math.exp)
  const total = weights.reduce((a, b) => a + b, 0)
  return Array.from({ length: width }, (_, c) =>
    weights.reduce((sum, weight, t) => sum + (weight / total) * (rows[t]?.[c] as number), 0),
  )
}

function expectClose(got: ArrayLike<number>, wanted: readonly number[]): void {
  expect(got).toHaveLength(wanted.length)
  wanted.forEach((value, i) => expect(got[i]).toBeCloseTo(value, 5))
}

const product = (weight: ArrayLike<number>, row: readonly number[]): number[] =>
  rowsOf(weight, row.length).map((each) => dot(each, row))

describe('AttentionPooling', () => {
  it('weighs items by a learned query, and gives 0 for no items', async () => {
    const model = { layer: new AttentionPooling(3) }
    const parameters = createParameters(model, 1)
    const items = numbers(18)
    const offsets = constant(Int32Array.of(0, 4, 4, 6), [4])
    const got = await model.layer.ragged(constant(items, [6, 3]) as Loose, offsets as Loose).data({ parameters })
    const query = Array.from((await parameters.read())['layer.query'] as Float32Array)
    const rows = rowsOf(items, 3)
    const pooled = ([0, 4, 4, 6] as const).slice(1).flatMap((end, b) => {
      const own = rows.slice([0, 4, 4][b], end)
      return mixed(
        own.map((row) => dot(query, row) / Math.sqrt(3)),
        own,
        3,
      )
    })
    expectClose(got, pooled)
  })
})

describe('CrossAttention', () => {
  const [width, heads] = [4, 2]
  const sequences = (lengths: readonly number[], time: number, symbol: string) => {
    const range = constant(Int32Array.from(lengths.flatMap((length) => [0, length])), [lengths.length, 2])
    const values = numbers(lengths.length * time * width)
    const places = placesOf(range as Loose, { time, symbol })
    const rows = packedRows(constant(values, [lengths.length, time, width]) as Loose, places)
    const ofUser = (user: number) => rowsOf(values, width).slice(user * time, user * time + (lengths[user] as number))
    return { packed: { ...places, rows } as never, ofUser }
  }

  it('reads another sequence of the same user, head by head', async () => {
    const model = { layer: new CrossAttention({ channels: width, heads }) }
    const parameters = createParameters(model, 2)
    const own = sequences([2, 3, 1], 3, 'own')
    const other = sequences([4, 0, 2], 4, 'other')
    const got = await model.layer.forward(own.packed, other.packed).data({ parameters })
    const values = await parameters.read()
    const weight = (part: string) => values[`layer.${part}.weight`] as Float32Array
    const expected = [0, 1, 2].flatMap((user) =>
      own.ofUser(user).flatMap((row) => {
        const asked = product(weight('query'), row)
        const keys = other.ofUser(user).map((item) => product(weight('key'), item))
        const said = other.ofUser(user).map((item) => product(weight('value'), item))
        return [0, 2].flatMap((first) => {
          const head = (x: readonly number[]) => x.slice(first, first + 2)
          return mixed(
            keys.map((key) => dot(head(asked), head(key)) / Math.sqrt(2)),
            said.map(head),
            2,
          )
        })
      }),
    )
    expectClose(got, expected)
  })

  it('refuses heads that do not divide the channels', () => {
    expect(() => new CrossAttention({ channels: 4, heads: 3 })).toThrow(
      /CrossAttention: heads should be a divisor of 4 channels but got 3/,
    )
  })
})

describe('TargetAttention', () => {
  const model = { layer: new TargetAttention({ target: 4, heads: 2 }) }
  const parameters = createParameters(model, 3)
  const items = constant(numbers(24), [6, 4]) as Loose
  const targets = constant(numbers(24).reverse(), [6, 4]) as Loose
  const offsets = (...at: number[]) => constant(Int32Array.from(at), [at.length]) as Loose

  it('answers several targets of a user as if each came alone', async () => {
    const together = await model.layer.ragged(targets, items, offsets(0, 2, 2, 6), { perUser: 2 }).data({ parameters })
    const twice = constant(
      Float32Array.from([0, 1, 0, 1, 2, 3, 4, 5, 2, 3, 4, 5].flatMap((row) => rowsOf(numbers(24), 4)[row] as number[])),
      [12, 4],
    ) as Loose
    const alone = await model.layer.ragged(targets, twice, offsets(0, 2, 4, 4, 4, 8, 12)).data({ parameters })
    expectClose(together, [...alone])
  })

  it('joins histories as if they stood in one', async () => {
    const parts = [
      { items, offsets: offsets(0, 2, 2, 6) },
      { items: targets, offsets: offsets(0, 0, 1, 3) },
    ]
    const asked = constant(numbers(12), [3, 4]) as Loose
    const joined = await model.layer.joined(asked, parts as never).data({ parameters })
    const [a, b] = [rowsOf(numbers(24), 4), rowsOf(numbers(24).reverse(), 4)] as [number[][], number[][]]
    const one = [...a.slice(0, 2), ...b.slice(0, 1), ...a.slice(2), ...b.slice(1, 3)]
    const whole = constant(Float32Array.from(one.flat()), [9, 4]) as Loose
    expectClose(joined, [...(await model.layer.ragged(asked, whole, offsets(0, 2, 3, 9)).data({ parameters }))])
  })
})
