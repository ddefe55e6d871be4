/** Layers, losses and whole pieces of ranking models, over values that a random graph already has. */
import { normal, uniform } from '../../lib/graph/module.js'
import * as losses from '../../lib/losses/index.js'
import * as nn from '../../lib/nn/index.js'
import * as ops from '../../lib/ops/index.js'
import { floats, ints, type Loose, typed } from '../../lib/ops/support.js'
import { type GraphGenerator, pick } from './graphGenerator.js'

interface Layer {
  forward(x: Loose, ...rest: Loose[]): unknown
}

/** Steps by name: reports count them. */
export const layers: Readonly<Record<string, (graph: GraphGenerator) => void>> = {
  linear(graph) {
    const { random } = graph
    const [inputs, outputs] = [1 + random.int(9), 1 + random.int(19)]
    const x = graph.shaped(leadOf(graph, inputs))
    const bias = graph.chance(0.5) ? { bias: graph.shaped([outputs]) } : {}
    const activation = pick(random, ['none', 'relu', 'gelu', 'sigmoid', 'tanh'] as const)
    if (graph.chance(0.7)) {
      graph.keep(ops.linear(x, graph.shaped([outputs, inputs]), { ...bias, activation } as never) as Loose)
    } else graph.keep(ops.matmul(x, graph.shaped([inputs, outputs]), bias as never) as Loose)
  },

  /** The epilogue written out: what fusing it must not change. */
  biased(graph) {
    const [inputs, outputs] = [1 + graph.random.int(5), 1 + graph.random.int(9)]
    const product = ops.linear(graph.shaped(['batch', inputs]), graph.shaped([outputs, inputs])) as Loose
    const biased = ops.add(product, ops.broadcast(graph.shaped([outputs]), 0, ['batch']) as Loose) as Loose
    graph.keep(pick(graph.random, [ops.relu, ops.gelu, ops.sigmoid, ops.tanh])(biased) as Loose)
    if (graph.chance(0.3)) graph.keep(biased)
    if (graph.chance(0.2)) graph.keep(product)
  },

  products(graph) {
    const { random } = graph
    const [m, k, n] = [1 + random.int(7), 1 + random.int(7), 1 + random.int(9)]
    const a = graph.shaped(['batch', m, k])
    const transposeB = graph.chance(0.5)
    const b = graph.shaped(['batch', ...(transposeB ? [n, k] : [k, n])])
    graph.keep(ops.batchMatmul(a, b, (transposeB ? { transposeB } : undefined) as never) as Loose)
  },

  embedding(graph) {
    const { random } = graph
    const [rows, channels] = [2 + random.int(20), 1 + random.int(9)]
    const table = graph.table(rows, channels, graph.chance(0.6))
    const padding = graph.chance(0.4) ? { paddingIndex: 0 } : {}
    for (let uses = 1 + random.int(2); uses > 0; uses--) {
      const looked = ops.embedding(table, graph.ids(rows, 1 + random.int(6)), padding) as Loose
      graph.keep(looked)
      if (graph.chance(0.4)) graph.keep(ops.mean(looked, 1) as Loose)
    }
  },

  bags(graph) {
    const { random } = graph
    const [rows, channels] = [2 + random.int(20), 1 + random.int(17)]
    const table = graph.table(rows, channels, graph.chance(0.6))
    const { ids, offsets } = graph.bags(rows)
    const mode = pick(random, ['sum', 'mean'] as const)
    const pooled = graph.keep(ops.embeddingBag(table, ids, offsets, { mode } as never) as Loose)
    if (graph.chance(0.3)) graph.keep(ops.embedding(table, ids) as Loose)
    if (graph.chance(0.3)) graph.keep(ops.multiply(pooled, graph.shaped(pooled.shape)) as Loose)
  },

  slots(graph) {
    const { random } = graph
    const rows = [1 + random.int(5), 1 + random.int(9), 2]
    const ids = rows.map((limit) => graph.ids(limit, 3))
    const table = graph.table(
      rows.reduce((a, b) => a + b),
      1 + random.int(5),
      graph.chance(0.5),
    )
    const slots = ops.tableSlots(ids as never, rows as never) as Loose
    graph.keep(ops.embedding(table, slots) as Loose)
  },

  normalized(graph) {
    const channels = 1 + graph.random.int(19)
    const x = graph.shaped(leadOf(graph, channels))
    const scale = graph.shaped([channels])
    const kinds = [
      () => ops.layerNorm(x, scale, graph.shaped([channels])),
      () => ops.rmsNorm(x, scale),
      () => ops.softmax(x),
      () => ops.logSoftmax(x),
      // Away from zero: a vector of rounding alone has no direction.
      () => ops.normalize(ops.add(ops.multiply(ops.tanh(x), 0.5) as Loose, 1) as Loose),
      () => ops.logSumExp(x),
    ]
    graph.keep(pick(graph.random, kinds)() as Loose)
  },

  attention(graph) {
    const { random } = graph
    const groups = 1 + random.int(2)
    const heads = groups * (1 + random.int(2))
    const [queries, keys, width] = [1 + random.int(7), 1 + random.int(9), 1 + random.int(9)]
    const start = ints(random, [13, 2], 0, keys + 1)
    const range = {
      ...start,
      data: start.data.map((x, at) =>
        at % 2 === 0 ? Math.min(x, start.data[at + 1] as number) : Math.max(x, start.data[at - 1] as number),
      ),
    }
    const options = {
      causal: graph.chance(0.5),
      ...(graph.chance(0.4) ? { range: graph.feed(range, ['batch']) } : {}),
      ...(graph.chance(0.3) ? { bias: graph.shaped([heads, queries, keys]) } : {}),
      ...(graph.chance(0.2) ? { dropout: { rate: 0.3, random: graph.key(), salt: random.int(9) } } : {}),
    }
    const [q, k] = [graph.shaped(['batch', queries, heads, width]), graph.shaped(['batch', keys, groups, width])]
    graph.keep(ops.attention(q, k, graph.shaped(['batch', keys, groups, 1 + random.int(9)]), options as never) as Loose)
  },

  targetAttention(graph) {
    const { random } = graph
    const [heads, width] = [1 + random.int(2), 1 + random.int(9)]
    const { offsets } = graph.bags(9)
    const q = graph.shaped(['batch', 1 + random.int(3), heads, width])
    const v = graph.shaped(['history', heads, 1 + random.int(9)])
    graph.keep(ops.targetAttention(q, graph.shaped(['history', heads, width]), v, offsets as never) as Loose)
  },

  frequencies(graph) {
    const { random } = graph
    const [time, channels] = [1 + random.int(18), 1 + random.int(9)]
    const half = Math.floor(time / 2) + 1
    const x = graph.shaped(['batch', time, channels])
    const kinds = [
      () => ops.frequencyFilter(x, graph.shaped([half, channels, 2]) as never),
      () => ops.rfft(x),
      () => ops.irfft(graph.shaped(['batch', half, channels, 2]), time as never),
      () => ops.irfft(ops.multiply(ops.rfft(x) as Loose, 0.5) as Loose, time as never),
    ]
    graph.keep(pick(random, kinds)() as Loose)
  },

  chosen(graph) {
    const { random } = graph
    const width = 2 + random.int(9)
    const x = graph.shaped(['batch', width])
    const { values, indices } = ops.topK(x, 1 + random.int(width)) as { values: Loose; indices: Loose }
    graph.keep(values)
    if (graph.chance(0.6)) graph.keep(ops.embedding(graph.shaped([width, 1 + random.int(5)]), indices) as Loose)
  },

  dropped(graph) {
    const x = graph.value()
    graph.keep(ops.dropout(x, { rate: 0.3, random: graph.key() as never, salt: graph.random.int(5) }) as Loose)
  },

  sampled(graph) {
    const { random } = graph
    const [classes, channels] = [3 + random.int(40), 1 + random.int(9)]
    const negatives = ops.sampleNegatives(['batch', 1 + random.int(5)], {
      classes,
      distribution: pick(random, ['uniform', 'logUniform'] as const),
      random: graph.key() as never,
      salt: random.int(9),
    }) as Loose
    const labels = graph.feed(ints(random, [13], 0, classes), ['batch'])
    const weight = graph.shaped([classes, channels])
    graph.losses.push(
      losses.sampledSoftmax(graph.shaped(['batch', channels]), weight, labels as never, negatives as never) as Loose,
    )
  },

  loss(graph) {
    const { random } = graph
    const classes = 2 + random.int(40)
    const channels = 1 + random.int(9)
    const labels = () => {
      const ids = ints(random, [13], 0, classes)
      return graph.feed({ ...ids, data: ids.data.map((id) => (random.int(4) === 0 ? -100 : id)) }, ['batch'])
    }
    const column = () => graph.shaped(['batch', channels])
    const clicks = () =>
      graph.feed(
        typed('float32', [13, channels], () => random.int(2)),
        ['batch'],
      )
    const reduction = { reduction: pick(random, ['mean', 'sum'] as const) }
    const weights = () => ({ weights: graph.feed(floats(random, [13, channels], 0.1, 2), ['batch']), ...reduction })
    const kinds = [
      () => losses.binaryCrossEntropy(column(), clicks(), weights() as never),
      () => losses.focalLoss(column(), clicks(), reduction as never),
      () => losses.meanSquaredError(column(), column(), weights() as never),
      () => losses.bayesianPersonalizedRanking(column(), column(), reduction as never),
      () => losses.pairwiseLogistic(column(), clicks(), reduction as never),
      () => losses.crossEntropy(graph.shaped(['batch', classes]), labels() as never, reduction as never),
      () => losses.infoNCE(column(), column(), { symmetric: graph.chance(0.5), temperature: 0.5 } as never),
      () =>
        losses.linearCrossEntropyLoss(
          column(),
          graph.shaped([classes, channels]),
          labels() as never,
          {
            ...(graph.chance(0.5) ? { bias: graph.shaped([classes]) } : {}),
            labelSmoothing: graph.chance(0.5) ? 0.1 : 0,
            ...reduction,
          } as never,
        ),
    ]
    graph.losses.push(pick(random, kinds)() as Loose)
  },

  module(graph) {
    const { random } = graph
    const heads = 1 + random.int(2)
    const channels = heads * (1 + random.int(6))
    const time = 1 + random.int(9)
    const sequence = (): Loose => graph.shaped(['batch', time, channels])
    const rows = (): Loose => graph.shaped(['batch', channels])
    const initializer = () => normal(0.4)
    const add = (module: object): Layer => {
      graph.model[graph.fresh('module')] = module
      return module as Layer
    }
    const kinds: (() => unknown)[] = [
      () => add(new nn.Linear(channels, 5, normal(0.4), uniform(-1, 1))).forward(graph.shaped(leadOf(graph, channels))),
      () =>
        add(new nn.TransformerBlock({ channels, heads, norm: pick(random, ['pre', 'post'] as const) })).forward(
          sequence(),
        ),
      () => add(new nn.FrequencyLayer({ time, channels, cutoff: 1 })).forward(sequence()),
      () => add(new nn.Mlp([channels, 7, 3], { layerNorm: graph.chance(0.5), initializer })).forward(rows()),
      () => add(new nn.MMoE({ inputs: channels, experts: 2, hidden: [5], tasks: 2, initializer })).forward(rows()),
      () =>
        add(
          new nn.PLE({ inputs: channels, tasks: 2, taskExperts: 1, sharedExperts: 1, levels: [[4], [3]], initializer }),
        ).forward(rows()),
      () => add(new nn.FeatureGate({ context: 3, channels })).forward(rows(), graph.shaped(['batch', 3])),
      () => add(new nn.SqueezeExcitation(time)).forward(sequence()),
    ]
    graph.keep(pick(random, kinds)() as Loose)
  },
}

/** Channels behind a batch, a batch of sequences, or rows of which the graph knows the number. */
const leadOf = (graph: GraphGenerator, channels: number): (string | number)[] =>
  pick(graph.random, [
    ['batch', channels],
    ['items', channels],
    ['batch', 1 + graph.random.int(4), channels],
    [3, channels],
  ])
