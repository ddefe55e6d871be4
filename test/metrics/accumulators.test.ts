/** What every accumulator promises: batching and merging do not show, and what is malformed is refused whole. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { ExactSum } from '../../lib/metrics/exactSum.js'
import {
  type Accumulator,
  Auc,
  auc,
  BinaryMetrics,
  EqualMassCalibration,
  EqualWidthCalibration,
  Gauc,
  HistogramAuc,
  LogLoss,
  measure,
  Pcoc,
  RankingMetrics,
  RegressionErrors,
  WeightedAuc,
} from '../../lib/metrics/index.js'

const N = 3000
const random = createRandom(11)
const columns = {
  scores: Float32Array.from({ length: N }, (_, i) =>
    i % 3 === 0 ? Math.round(20 * random.uniform()) / 20 : random.uniform(),
  ),
  labels: Uint8Array.from({ length: N }, () => (random.uniform() < 0.3 ? 1 : 0)),
  weights: Float32Array.from({ length: N }, () => random.uniform()),
  groups: Int32Array.from({ length: N }, () => random.int(200) - 100),
  predictions: Float32Array.from({ length: N }, () => random.normal()),
  targets: Float32Array.from({ length: N }, () => random.normal()),
  ranks: Int32Array.from({ length: N }, () => random.int(50)),
}
type Columns = typeof columns

// biome-ignore lint/suspicious/noExplicitAny: one list for accumulators of every batch type
const metrics: Record<string, () => Accumulator<any, unknown>> = {
  Auc: () => new Auc(),
  WeightedAuc: () => new WeightedAuc(),
  HistogramAuc: () => new HistogramAuc(),
  Gauc: () => new Gauc(),
  LogLoss: () => new LogLoss(),
  Pcoc: () => new Pcoc(),
  EqualWidthCalibration: () => new EqualWidthCalibration(),
  EqualMassCalibration: () => new EqualMassCalibration(),
  BinaryMetrics: () => new BinaryMetrics(),
  RegressionErrors: () => new RegressionErrors(),
  RankingMetrics: () => new RankingMetrics(),
}

const cut = (begin: number, end: number): Columns =>
  Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column.subarray(begin, end)])) as never

describe.each(Object.entries(metrics))('%s', (_, make) => {
  const fed = (...ranges: (readonly [number, number])[]) => {
    const metric = make()
    for (const [begin, end] of ranges) metric.update(cut(begin, end))
    return metric
  }

  it('gives the same bits whatever the batches, and in whatever order parts are merged', async () => {
    const whole = await fed([0, N]).value()
    expect(await fed([0, 1], [1, 1], [1, 1700], [1700, N]).value()).toEqual(whole)
    const parts = () => [fed([0, 900]), fed([900, 901]), fed([901, N])] as const
    const [a, b, c] = parts()
    a.merge(b)
    a.merge(c)
    expect(await a.value()).toEqual(whole)
    const [d, e, f] = parts()
    e.merge(f)
    e.merge(d)
    expect(await e.value()).toEqual(whole)
    // What was merged stays as it was, and both go on alone.
    expect(await d.value()).toEqual(await fed([0, 900]).value())
    f.merge(make())
    d.update(cut(900, N))
    expect(await d.value()).toEqual(whole)
    expect(await e.value()).toEqual(whole)
  })

  it('can be asked in between', async () => {
    const metric = fed([0, 1200])
    await metric.value()
    metric.update(cut(1200, N))
    expect(await metric.value()).toEqual(await fed([0, N]).value())
  })
})

describe('AUC', () => {
  const { scores, labels } = columns

  it('is the share of pairs in order, by counting all pairs', async () => {
    let wins = 0
    let pairs = 0
    for (let i = 0; i < N; i++) {
      if (labels[i] !== 1) continue
      for (let j = 0; j < N; j++) {
        if (labels[j] === 1) continue
        pairs++
        wins += (scores[i] as number) > (scores[j] as number) ? 1 : scores[i] === scores[j] ? 0.5 : 0
      }
    }
    expect(await auc(scores, labels)).toBe(wins / pairs)
  })

  it('does not change under an increasing map, and turns round under a decreasing one', async () => {
    const exact = await auc(scores, labels)
    expect(
      await auc(
        scores.map((score) => 4 * score - 3),
        labels,
      ),
    ).toBe(exact)
    expect(
      await auc(
        scores.map((score) => -score),
        labels,
      ),
    ).toBeCloseTo(1 - exact, 14)
  })

  it('is one half where all are alike, 1 where all is right, NaN without both classes', async () => {
    const both = Uint8Array.of(0, 1, 0, 1)
    expect(await auc(new Float32Array(4), both)).toBe(0.5)
    expect(await auc(Float32Array.of(-0, 0, 0, -0), both)).toBe(0.5)
    expect(await auc(Float32Array.of(-Infinity, 3, -2, Infinity), both)).toBe(1)
    expect(await auc(Float32Array.of(1, 2), Uint8Array.of(1, 1))).toBeNaN()
    expect(await auc(new Float32Array(0), new Uint8Array(0))).toBeNaN()
    expect(await auc(Float32Array.of(1, 2), Uint8Array.of(0, 1), { weights: Float32Array.of(1, 0) })).toBeNaN()
  })

  it('of whole weights is that of repeated examples', async () => {
    const weights = Float32Array.from({ length: N }, (_, i) => i % 4)
    const repeated = [...scores].flatMap((score, i) =>
      Array.from({ length: i % 4 }, () => [score, labels[i] as number]),
    )
    const expected = await auc(
      Float32Array.from(repeated, ([score]) => score as number),
      Uint8Array.from(repeated, ([, label]) => label as number),
    )
    expect(await auc(scores, labels, { weights })).toBe(expected)
  })

  it('from a histogram lies within its bound', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 1000 }), fc.constantFrom(1, 1e-3, 1e4), async (seed, scale) => {
        const random = createRandom(seed)
        const labels = Uint8Array.from({ length: 500 }, (_, i) => (i < 2 ? i : random.int(2)))
        const scores = Float32Array.from(labels, (label) => scale * (0.2 * label + 0.05 * random.normal()))
        const { auc: estimate, error } = await measure(new HistogramAuc(), { scores, labels })
        expect(Math.abs(estimate - (await auc(scores, labels)))).toBeLessThanOrEqual(error + 1e-15)
        expect(error).toBeLessThan(0.01)
      }),
      { numRuns: 30 },
    )
  })

  it('lets the event loop turn while it sorts', async () => {
    const n = 1_000_000
    const random = createRandom(3)
    const scores = Float32Array.from({ length: n }, () => random.uint32())
    const labels = Uint8Array.from({ length: n }, (_, i) => i & 1)
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    expect(await auc(scores, labels)).toBeCloseTo(0.5, 2)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(10)
  })
})

describe('GAUC', () => {
  it('is AUC where there is one group, and leaves out groups of one class', async () => {
    const { scores, labels } = columns
    const one = await measure(new Gauc(), { scores, labels, groups: new Int32Array(N).fill(-7) })
    expect(one.gauc).toBeCloseTo(await auc(scores, labels), 14)
    const result = await measure(new Gauc(), {
      scores: Float32Array.of(1, 2, 3, 1, 2, 5),
      labels: Uint8Array.of(0, 1, 1, 1, 0, 0),
      groups: Int32Array.of(4, 4, 4, -2, -2, 9),
    })
    expect(result).toEqual({ gauc: (3 * 1 + 2 * 0) / 5, groups: 2, impressions: 5, skippedGroups: 1 })
    expect((await new Gauc().value()).gauc).toBeNaN()
  })
})

describe('log-loss', () => {
  it('of logits is that of their probabilities', async () => {
    const logits = columns.predictions
    const scores = logits.map((z) => 1 / (1 + Math.exp(-z)))
    const { labels } = columns
    const fromLogits = await measure(new LogLoss({ from: 'logits' }), { scores: logits, labels })
    expect(fromLogits).toBeCloseTo(await measure(new LogLoss(), { scores, labels }), 6)
    const sure = await measure(new LogLoss({ from: 'logits' }), {
      scores: Float32Array.of(-500),
      labels: Uint8Array.of(1),
    })
    expect(sure).toBe(500)
  })
})

describe('exact sums', () => {
  it('lose nothing', () => {
    const sum = new ExactSum()
    for (const value of [1e100, 1, -1e100, 1e-20, 2 ** 53, 1, -(2 ** 53)]) sum.add(value)
    expect(sum.value).toBe(2)
    const tenths = new ExactSum()
    for (let i = 0; i < 10; i++) tenths.add(0.1)
    expect(tenths.value).toBe(1)
    // Half a unit alone rounds to even; a trace more rounds up.
    const tie = new ExactSum()
    for (const value of [1, 2 ** -53]) tie.add(value)
    expect(tie.value).toBe(1)
    tie.add(2 ** -200)
    expect(tie.value).toBe(1 + 2 ** -52)
  })

  it('do not depend on order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, min: -1e200, max: 1e200 })), (values) => {
        const [forward, backward] = [new ExactSum(), new ExactSum()]
        for (const value of values) forward.add(value)
        for (const value of values.toReversed()) backward.add(value)
        expect(forward.value + 0).toBe(backward.value + 0)
      }),
    )
  })

  it('know infinities', () => {
    const sum = new ExactSum()
    sum.add(1)
    sum.add(Infinity)
    expect(sum.value).toBe(Infinity)
    sum.add(-Infinity)
    expect(sum.value).toBeNaN()
  })
})

describe('malformed batches', () => {
  it.each([
    [() => new Auc(), { scores: Float32Array.of(0.1), labels: [2] }, 'Auc: labels[0] should be 0 or 1 but got 2'],
    [
      () => new Auc(),
      { scores: Float32Array.of(0.1), labels: [] },
      'Auc: labels should be of 1 elements, one per example, but got 0',
    ],
    [
      () => new Auc(),
      { scores: Float32Array.of(Number.NaN), labels: [0] },
      'Auc: scores[0] should be a number but got NaN',
    ],
    [
      () => new Gauc(),
      { scores: Float32Array.of(1), labels: [0], groups: Int32Array.of() },
      'Gauc: groups should be of 1 elements',
    ],
    [
      () => new LogLoss(),
      { scores: Float32Array.of(1.5), labels: [0] },
      'LogLoss: scores[0] should be a probability in [0, 1] but got 1.5',
    ],
    [
      () => new WeightedAuc(),
      { scores: Float32Array.of(1), labels: [0], weights: Float32Array.of(-1) },
      'WeightedAuc: weights[0] should be finite and not negative but got -1',
    ],
    [
      () => new RegressionErrors(),
      { predictions: Float32Array.of(1), targets: Float32Array.of(Infinity) },
      'RegressionErrors: targets[0] should be finite but got Infinity',
    ],
    [
      () => new RankingMetrics(),
      { ranks: Int32Array.of(-1) },
      'RankingMetrics: ranks[0] should be a 0-based rank but got -1',
    ],
    [
      () => new RankingMetrics(),
      { ranks: Int32Array.of(1, 2), offsets: Int32Array.of(0, 2, 1) },
      'RankingMetrics: offsets[2] should be at least 2, the offset before it, but got 1',
    ],
    [
      () => new RankingMetrics(),
      { ranks: Int32Array.of(1, 1), offsets: Int32Array.of(0, 2) },
      'RankingMetrics: ranks of user 0 should be all different but got 1 twice',
    ],
  ] as const)('%# are refused', (make, batch, message) => {
    expect(() => make().update(batch as never)).toThrow(message)
  })

  it('so are settings and merges that make no sense', () => {
    expect(() => new EqualWidthCalibration(0)).toThrow('bins should be a positive integer but got 0')
    expect(() => new RankingMetrics({ cutoffs: [5, 0] })).toThrow('cutoffs[1] should be a positive integer but got 0')
    expect(() => new RankingMetrics().merge(new RankingMetrics({ cutoffs: [3] }))).toThrow(
      'other should be of the cutoffs 1, 5, 10, 20 but got 3',
    )
  })
})
