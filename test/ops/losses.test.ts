/** The losses are composites: closed forms, and values and gradients on the device against float64, empty batches too. */
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { gradients } from '../../lib/graph/autodiff.js'
import type { ReferenceArray } from '../../lib/graph/defineOp.js'
import { interpret } from '../../lib/graph/interpret.js'
import { input } from '../../lib/graph/leaf.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import {
  bayesianPersonalizedRanking,
  binaryCrossEntropy,
  crossEntropy,
  focalLoss,
  infoNCE,
  linearCrossEntropyLoss,
  meanSquaredError,
  pairwiseLogistic,
  sampledSoftmax,
} from '../../lib/losses/index.js'
import { logUniformLogProbability } from '../../lib/ops/index.js'
import { floats, ints, type Loose, toTyped, typed } from '../../lib/ops/support.js'
import { errorOf, SYMBOL } from './harness.js'

const [WIDTH, CLASSES, SAMPLES] = [5, 11, 4] as const
const logits = input('logits', [SYMBOL, WIDTH])
const labels = input('labels', [SYMBOL], 'int32')
const targets = input('targets', [SYMBOL, WIDTH])
const keys = input('keys', [SYMBOL, WIDTH])
const weight = input('weight', [CLASSES, WIDTH])
const bias = input('bias', [CLASSES])
const shared = input('shared', [SAMPLES], 'int32')
const own = input('own', [SYMBOL, SAMPLES], 'int32')
const extra = input('extra', [SAMPLES, WIDTH])
const hard = input('hard', [SYMBOL, SAMPLES, WIDTH])
const groups = input('groups', [SYMBOL], 'int32')
const flags = input('flags', [SYMBOL, WIDTH])
const score = input('score', [SYMBOL])
const rating = input('rating', [SYMBOL])
const temperature = input('temperature', [])

type Matrix = readonly (readonly number[])[]
interface Values {
  readonly rows: number
  readonly matrix: (name: string) => Matrix
  readonly list: (name: string) => readonly number[]
}

const total = (list: readonly number[]) => list.reduce((a, b) => a + b, 0)
const average = (list: readonly number[]) => total(list) / Math.max(list.length, 1)
const dot = (a: readonly number[], b: readonly number[]) => total(a.map((value, i) => value * (b[i] as number)))
const logSumExp = (list: readonly number[]) => {
  const most = Math.max(...list)
  return most + Math.log(total(list.map((value) => Math.exp(value - most))))
}
const softplus = (value: number) => Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value)))
const counted = (list: readonly number[]) => list.flatMap((label, row) => (label === -100 ? [] : [row]))
const of = <T>(list: readonly T[], index: number) => list[index] as T

/** -log of what the softmax over all scores gives to the wanted one. */
const chosen = (scores: readonly number[], wanted: number) => logSumExp(scores) - of(scores, wanted)

function linearRows({ matrix, list }: Values): Matrix {
  const table = matrix('weight')
  return matrix('logits').map((x) => table.map((w, c) => dot(x, w) + of(list('bias'), c)))
}

function smoothed(values: Values, smoothing: number): number {
  const all = linearRows(values)
  return average(
    counted(values.list('labels')).map((row) => {
      const scores = of(all, row)
      const mean = average(scores.map((_, c) => chosen(scores, c)))
      return (1 - smoothing) * chosen(scores, of(values.list('labels'), row)) + smoothing * mean
    }),
  )
}

const logP = (id: number) => Math.log(Math.log((id + 2) / (id + 1)) / Math.log(CLASSES + 1))

function sampled(values: Values, idsOf: (row: number) => readonly number[], q: (id: number) => number): number {
  const all = linearRows(values)
  return average(
    counted(values.list('labels')).map((row) => {
      const label = of(values.list('labels'), row)
      const ids = [label, ...idsOf(row).filter((id) => id !== label)]
      return chosen(
        ids.map((id) => of(of(all, row), id) - q(id)),
        0,
      )
    }),
  )
}

function contrastive(
  values: Values,
  {
    scale = 1,
    more = () => [],
    masks = false,
    flip = false,
  }: {
    scale?: number
    more?: (row: number) => Matrix
    masks?: boolean
    flip?: boolean
  },
): number {
  const [queries, others] = flip
    ? [values.matrix('keys'), values.matrix('logits')]
    : [values.matrix('logits'), values.matrix('keys')]
  const ids = values.list('groups')
  return average(
    queries.map((query, i) => {
      const rest = others.filter((_, j) => j !== i && !(masks && of(ids, i) === of(ids, j)))
      return chosen(
        [of(others, i), ...rest, ...more(i)].map((key) => dot(query, key) / scale),
        0,
      )
    }),
  )
}

function pairs({ list }: Values, inGroups: boolean): number[] {
  const [s, y, g] = [list('score'), list('rating'), list('groups')]
  return s.flatMap((si, i) =>
    s.flatMap((sj, j) => (of(y, i) > of(y, j) && (!inGroups || of(g, i) === of(g, j)) ? [softplus(sj - si)] : [])),
  )
}

const elements = (values: Values, a: string, b: string, loss: (a: number, b: number) => number) =>
  values.matrix(a).flatMap((row, i) => row.map((value, c) => loss(value, of(of(values.matrix(b), i), c))))
const bce = (x: number, z: number) => softplus(x) - x * z
const focal = (x: number, y: number) => {
  const p = 1 / (1 + Math.exp(y === 1 ? -x : x))
  return -(y === 1 ? 0.25 : 0.75) * (1 - p) ** 2 * Math.log(p)
}

const rowLabels = labels as Loose
const losses: Readonly<Record<string, readonly [Tensor, (values: Values) => number]>> = {
  crossEntropy: [
    crossEntropy(logits, labels),
    (v) =>
      average(
        counted(v.list('labels')).map((row) => chosen(of(v.matrix('logits'), row), of(v.list('labels'), row) % WIDTH)),
      ),
  ],
  binaryCrossEntropy: [binaryCrossEntropy(logits, targets), (v) => average(elements(v, 'logits', 'targets', bce))],
  'weighted binaryCrossEntropy': [
    binaryCrossEntropy(logits, targets, { weights: targets }),
    (v) =>
      total(elements(v, 'logits', 'targets', (x, z) => z * bce(x, z))) /
      Math.max(total(v.matrix('targets').flat()), 1e-30),
  ],
  focalLoss: [focalLoss(logits, flags), (v) => average(elements(v, 'logits', 'flags', focal))],
  'meanSquaredError, mean': [
    meanSquaredError(logits, targets),
    (v) => average(elements(v, 'logits', 'targets', (a, b) => (a - b) ** 2)),
  ],
  'meanSquaredError, masked sum': [
    meanSquaredError(logits, targets, { weights: flags, reduction: 'sum' }),
    (v) =>
      total(
        v
          .matrix('logits')
          .flatMap((row, i) =>
            row.map((x, c) => of(of(v.matrix('flags'), i), c) * (x - of(of(v.matrix('targets'), i), c)) ** 2),
          ),
      ),
  ],
  bayesianPersonalizedRanking: [
    bayesianPersonalizedRanking(logits, targets),
    (v) => average(elements(v, 'logits', 'targets', (a, b) => softplus(b - a))),
  ],
  pairwiseLogistic: [pairwiseLogistic(score, rating), (v) => average(pairs(v, false))],
  'pairwiseLogistic in groups': [
    pairwiseLogistic(score, rating, { groups, reduction: 'sum' }),
    (v) => total(pairs(v, true)),
  ],
  linearCrossEntropyLoss: [linearCrossEntropyLoss(logits, weight, labels, { bias }), (v) => smoothed(v, 0)],
  'linearCrossEntropyLoss, smoothed': [
    linearCrossEntropyLoss(logits, weight, labels, { bias, labelSmoothing: 0.125 }),
    (v) => smoothed(v, 0.125),
  ],
  'sampledSoftmax over shared negatives': [
    sampledSoftmax(logits, weight, labels, shared, {
      bias,
      logQ: (ids) => logUniformLogProbability(ids, CLASSES),
    }),
    (v) => sampled(v, () => v.list('shared'), logP),
  ],
  "sampledSoftmax over each row's own": [
    sampledSoftmax(logits, weight, labels, own, { bias, logQ: bias }),
    (v) =>
      sampled(
        v,
        (row) => of(v.matrix('own'), row),
        (id) => of(v.list('bias'), id),
      ),
  ],
  infoNCE: [infoNCE(logits, keys, { temperature: 0.5 }), (v) => contrastive(v, { scale: 0.5 })],
  'infoNCE, symmetric, learned temperature': [
    infoNCE(logits, keys, { temperature, symmetric: true }),
    (v) => {
      const scale = of(v.list('temperature'), 0)
      return (contrastive(v, { scale }) + contrastive(v, { scale, flip: true })) / 2
    },
  ],
  'infoNCE, more negatives for all': [
    infoNCE(logits, keys, { negatives: extra }),
    (v) => contrastive(v, { more: () => v.matrix('extra') }),
  ],
  'infoNCE, hard negatives and ids': [
    infoNCE(logits, keys, { negatives: hard, ids: groups }),
    (v) =>
      contrastive(v, {
        masks: true,
        more: (row) => v.matrix('hard').slice(row * SAMPLES, (row + 1) * SAMPLES),
      }),
  ],
}

function feedsOf(rows: number): Record<string, ReferenceArray> {
  const random = createRandom(2).fork(rows)
  return {
    logits: floats(random, [rows, WIDTH], -3, 3),
    keys: floats(random, [rows, WIDTH], -1, 1),
    labels:
      rows > 1 ? typed('int32', [rows], (row) => (row === 1 ? -100 : row % WIDTH)) : ints(random, [rows], 0, WIDTH),
    targets: floats(random, [rows, WIDTH], 0, 1),
    flags: ((bits) => ({ ...bits, dtype: 'float32' as const }))(ints(random, [rows, WIDTH], 0, 2)),
    weight: floats(random, [CLASSES, WIDTH]),
    bias: floats(random, [CLASSES]),
    shared: ints(random, [SAMPLES], 0, CLASSES),
    own: ints(random, [rows, SAMPLES], 0, CLASSES),
    extra: floats(random, [SAMPLES, WIDTH]),
    hard: floats(random, [rows, SAMPLES, WIDTH]),
    groups: ints(random, [rows], 0, 3),
    score: floats(random, [rows]),
    rating: typed('float32', [rows], () => random.int(3)),
    temperature: typed('float32', [], () => 0.75),
  }
}

function valuesOf(rows: number, feeds: Readonly<Record<string, ReferenceArray>>): Values {
  const list = (name: string) => [...(feeds[name] as ReferenceArray).data]
  return {
    rows,
    list,
    matrix: (name) => {
      const { shape } = feeds[name] as ReferenceArray
      const width = shape.at(-1) as number
      const flat = list(name)
      return Array.from({ length: flat.length / width }, (_, row) => flat.slice(row * width, (row + 1) * width))
    },
  }
}

describe.each(Object.entries(losses))('%s', (_, [loss, closed]) => {
  const wanted = [logits, keys, weight, bias, score, temperature]
  const found = gradients(loss, wanted).flatMap((gradient, index) =>
    gradient ? [[`gradient${index}`, gradient] as const] : [],
  )
  const outputs: Record<string, Tensor> = { loss, ...Object.fromEntries(found) }
  const runner = new GraphRunner(outputs, { poison: true, check: true })

  it.each([7, 0, 1, 9])('of %i rows', async (rows) => {
    const feeds = feedsOf(rows)
    const counts = { [SYMBOL]: rows }
    const expected = interpret(Object.values(outputs), { feeds, counts })
    expect(Math.abs((expected[0]?.data[0] as number) - closed(valuesOf(rows, feeds)))).toBeLessThan(1e-6)
    const given = Object.fromEntries(runner.inputs.map(({ name }) => [name, toTyped(feeds[name] as ReferenceArray)]))
    const run = await runner.run({ feeds: given, counts })
    Object.keys(outputs).forEach((name, index) => {
      const reference = expected[index]?.data ?? new Float64Array()
      // Where all terms cancel, what is left is rounding.
      const magnitude = Math.max(0.1, ...reference.map(Math.abs))
      const error = errorOf(run.outputs[name]?.data ?? [], reference) * Math.max(1e-6, ...reference.map(Math.abs))
      expect(error / magnitude, name).toBeLessThan(1e-5)
    })
    if (rows === 0) expect(run.outputs.loss?.data[0]).toBe(0)
  })
})

describe('losses', () => {
  it.each([
    ['linearCrossEntropyLoss', linearCrossEntropyLoss(logits, weight, labels), 'labels'],
    ['sampledSoftmax', sampledSoftmax(logits, weight, labels, shared), 'labels'],
    ['sampledSoftmax', sampledSoftmax(logits, weight, labels, shared), 'shared'],
  ] as const)('%s fails on an id outside its table', async (_, loss, bad) => {
    const runner = new GraphRunner({ loss })
    const feeds = feedsOf(3)
    const ids = feeds[bad] as ReferenceArray
    const wrong = { ...feeds, [bad]: { ...ids, data: ids.data.map((id, index) => (index === 2 ? CLASSES : id)) } }
    const given = Object.fromEntries(
      runner.inputs.map(({ name }) => [name, toTyped((wrong as typeof feeds)[name] as ReferenceArray)]),
    )
    await expect(runner.run({ feeds: given })).rejects.toThrow(/in \[0, 11\).* but got 11/)
  })

  it('without reduction are one per element', () => {
    expect(crossEntropy(logits, rowLabels, { reduction: 'none' }).shape).toEqual([SYMBOL])
    expect(binaryCrossEntropy(logits, targets, { reduction: 'none' }).shape).toEqual([SYMBOL, WIDTH])
    expect(infoNCE(logits, keys, { reduction: 'none' }).shape).toEqual([SYMBOL])
    expect(sampledSoftmax(logits, weight, labels, shared, { reduction: 'none' }).shape).toEqual([SYMBOL])
  })

  it('refuse what does not fit', () => {
    const wrong = 'median' as never
    expect(() => meanSquaredError(logits, targets, { reduction: wrong })).toThrow(
      /^meanSquaredError: reduction should be 'mean', 'sum' or 'none' but got median/,
    )
    expect(() => focalLoss(logits, flags, { alpha: 2 })).toThrow(/^focalLoss: alpha should be in \[0, 1\] but got 2/)
    expect(() => focalLoss(logits, flags, { gamma: -1 })).toThrow(/^focalLoss: gamma should be at least 0 but got -1/)
    expect(() => infoNCE(logits, keys, { temperature: 0 })).toThrow(/^infoNCE: temperature should be above 0 but got 0/)
    expect(() => infoNCE(logits, extra as Loose)).toThrow(/^infoNCE: keys should be of shape \[n, 5\] but got \[4, 5\]/)
    expect(() => infoNCE(logits, keys, { negatives: input('bad', [3, 6]) as Loose })).toThrow(
      /^infoNCE: negatives should be of shape \[M, 5\] or \[n, M, 5\] but got \[3, 6\]/,
    )
    expect(() => sampledSoftmax(logits, weight, labels, input('bad', [3, 4], 'int32') as Loose)).toThrow(
      /^sampledSoftmax: negatives should be of rank 1 or with the leading axes \[n\] but got \[3, 4\]/,
    )
    expect(() => sampledSoftmax(logits, weight, input('bad', [3], 'int32') as Loose, shared)).toThrow(
      /^sampledSoftmax: labels should be of shape \[n\] but got \[3\]/,
    )
  })
})
