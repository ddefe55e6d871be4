/** Part A of the acceptance: what must hold whatever the data. */
import { createRandom } from '../../core/random.js'
import { field } from '../../core/schema.js'
import { gradients } from '../../graph/autodiff.js'
import { all, compile } from '../../graph/compile.js'
import { constant } from '../../graph/leaf.js'
import type { Tensor } from '../../graph/node.js'
import { createParameters, createState } from '../../graph/stores.js'
import { binaryCrossEntropy, softLabelCrossEntropy } from '../../losses/index.js'
import { add, merge, multiply, sigmoid, slice } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { adam, sgd } from '../../optim/index.js'
import type { Executor } from '../../runtime/index.js'
import type { Verdict } from '../proof.js'
import type { FeatureBatch, FeatureInput } from '../system.js'
import { type PantheonConfig, pantheonConfig } from './config.js'
import type { RankerState } from './encoder.js'
import { EnsembleSort, PantheonModel, Ranker, weightOf } from './model.js'

const TASKS = ['click', 'like', 'gift']
const FEATURES: readonly FeatureInput[] = [
  { kind: 'id', name: 'userId', table: 'userId', rows: 40 },
  { kind: 'id', name: 'author', table: 'author', rows: 30 },
  { kind: 'number', name: 'price' },
]
const SMALL = { dimensions: 4, experts: 2, expertSizes: [16, 8], towerSizes: [8], ensembleSizes: [16, 8] }
const configOf = (more: Partial<PantheonConfig> = {}) => pantheonConfig.parse({ ...SMALL, ...more })
const schema = {
  userId: field('int32', 'batch'),
  author: field('int32', 'batch'),
  price: field('float32', 'batch'),
  click: field('float32', 'batch'),
  like: field('float32', 'batch'),
  gift: field('float32', 'batch'),
}

const verdict = (pass: boolean, figure: string): Verdict => ({ pass, figure })
type Random = ReturnType<typeof createRandom>
const float32 = (count: number, draw: () => number) => Float32Array.from({ length: count }, draw)
const chance = (random: Random, p: number) => Number(random.uniform() < p)
/** Rows of a batch of the steps below. */
const ROWS = 64
const batchOf = (random: Random) => ({
  userId: Int32Array.from({ length: ROWS }, () => random.int(40)),
  author: Int32Array.from({ length: ROWS }, () => random.int(30)),
  price: float32(ROWS, () => random.normal()),
  click: float32(ROWS, () => chance(random, 0.3)),
  like: float32(ROWS, () => chance(random, 0.1)),
  gift: float32(ROWS, () => chance(random, 0.02)),
})

class RankerAlone {
  constructor(readonly ranker: Ranker) {}
}

class EnsembleAlone {
  constructor(readonly ensemble: EnsembleSort) {}
}

/** A.i: the ranker's parameters after 1,000 steps with the ensemble and without it; and without the stop-gradient. */
export async function rankerIsAlone(executor: Executor): Promise<Verdict> {
  const STEPS = 1000
  const random = createRandom(1)
  const batches = Array.from({ length: 50 }, () => batchOf(random))
  const updates = [{ loss: 'loss', parameters: all, optimizer: adam() }] as const
  const options = { schema, executor, seed: 1, updates }
  const alone = new RankerAlone(new Ranker(FEATURES, TASKS, configOf()))
  const build = (m: RankerAlone, batch: object) => ({
    loss: m.ranker.losses(m.ranker.forward(batch as FeatureBatch).logits, batch as FeatureBatch).loss,
  })
  const models = {
    alone: { model: alone, program: compile(alone, build, options) },
    joint: jointOf(new PantheonModel(FEATURES, TASKS, configOf()), options),
    unstopped: jointOf(new PantheonModel(FEATURES, TASKS, configOf({ stopGradient: false })), options),
  }
  const bits: Record<string, Buffer> = {}
  for (const [name, { model, program }] of Object.entries(models)) {
    const handles = { parameters: createParameters(model, 1), state: createState(model) }
    for (let step = 0; step < STEPS; step++) {
      await program.step((batches[step % batches.length] ?? {}) as never, { lr: 1e-3 }, handles)
    }
    const names = handles.parameters.entries.map((entry) => entry.name).filter((one) => one.startsWith('ranker.'))
    const arrays = Object.values(await handles.parameters.read(names.sort(), executor))
    bits[name] = Buffer.concat(
      arrays.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
    )
  }
  const { alone: own, joint, unstopped } = bits as Record<keyof typeof models, Buffer>
  const [equal, broken] = [own.equals(joint), !own.equals(unstopped)]
  const figure =
    `${own.length / 4} parameters after ${STEPS} steps ${equal ? 'bit-equal' : 'DIFFERENT'} with the ensemble; ` +
    `without stop-gradient ${broken ? 'different' : 'EQUAL'}`
  return verdict(equal && broken, figure)
}

const jointOf = (model: PantheonModel, options: object) => ({
  model,
  program: compile(model, (m, batch) => ({ loss: m.losses(batch as never).loss }), options as never),
})

const LEVELS = [-30, -12, -4, -1, 0, 0.3, 1, 4, 12, 30]
const WEIGHTS = [1, 0.05, 50, 7]

/** A.ii: the fused loss against the sum of N cross entropies on the device, and in float64; logits to +-30. */
export async function fusedLossIsSum(executor: Executor): Promise<Verdict> {
  const N = WEIGHTS.length
  const cases = LEVELS.flatMap((logit) =>
    Array.from({ length: 2 ** N }, (_, bits) => ({ logit, labels: WEIGHTS.map((__, i) => (bits >> i) & 1) })),
  )
  const program = compile(
    {},
    (_, batch) => {
      const { logits, labels } = batch as unknown as { logits: Loose; labels: Loose }
      const weights = constant(Float32Array.from(WEIGHTS), [N]) as Loose
      const fused = softLabelCrossEntropy(logits, labels, weights) as Loose
      const apart = WEIGHTS.map((weight, i) => {
        const label = merge(slice(labels, 1, i, 1) as Loose, 0, 2) as Loose
        return multiply(binaryCrossEntropy(logits, label) as Loose, weight) as Loose
      }).reduce((sum, next) => add(sum, next) as Loose)
      const [ofFused] = gradients(fused as never, [logits])
      return { fused: fused as Tensor, apart: apart as Tensor, gradient: ofFused as Tensor }
    },
    { schema: { logits: field('float32', 'batch'), labels: field('float32', 'batch', N) }, executor },
  )
  const logits = Float32Array.from(cases, ({ logit }) => logit)
  const labels = Float32Array.from(cases.flatMap(({ labels }) => labels))
  const got = (await program.step({ logits, labels })) as unknown as Record<string, number | Float32Array>
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))
  let [sum, worst] = [0, 0]
  cases.forEach(({ logit, labels: row }, at) => {
    const positive = row.reduce<number>((total, y, i) => total + y * (WEIGHTS[i] as number), 0)
    const whole = WEIGHTS.reduce((total, w) => total + w, 0)
    sum += (positive * softplus(-logit) + (whole - positive) * softplus(logit)) / cases.length
    const wanted = ((whole - positive) / (1 + Math.exp(-logit)) - positive / (1 + Math.exp(logit))) / cases.length
    const found = (got.gradient as Float32Array)[at] as number
    // Relative to what is subtracted.
    worst = Math.max(worst, Math.abs(found - wanted) / (whole / cases.length))
  })
  const { fused, apart } = got as Record<string, number>
  const errors = [apart, sum].map((other) => Math.abs((fused as number) / (other as number) - 1))
  return verdict(
    Math.max(...errors) < 1e-6 && worst < 1e-5,
    `relative error ${(errors[0] as number).toExponential(1)} to the sum, ${(errors[1] as number).toExponential(1)} to float64; gradient ${worst.toExponential(1)}`,
  )
}

/** A.iii: weights times 7 with the rate divided by 7 give the same trajectory under SGD. */
export async function scaleDoesNotMatter(executor: Executor): Promise<Verdict> {
  const STEPS = 100
  const random = createRandom(2)
  const batches = Array.from({ length: 20 }, () => batchOf(random))
  const ends: Float32Array[] = []
  for (const scale of [1, 7]) {
    const model = new PantheonModel(FEATURES, TASKS, configOf())
    const program = compile(
      model,
      (m, batch) => ({ loss: m.losses(batch as never).ensemble as Tensor<readonly [], 'float32'> }),
      {
        schema,
        executor,
        seed: 1,
        updates: [{ loss: 'loss', parameters: (name) => name.startsWith('ensemble.'), optimizer: sgd() }],
      },
    )
    const handles = { parameters: createParameters(model, 1), state: createState(model) }
    const weights = TASKS.map((name, i) => [weightOf(name), scale * ([1, 3, 20][i] as number)])
    for (let step = 0; step < STEPS; step++) {
      const scalars = { lr: 0.01 / scale, ...Object.fromEntries(weights) }
      await program.step(batches[step % batches.length] as never, scalars, handles)
    }
    const names = handles.parameters.entries.map(({ name }) => name).filter((name) => name.startsWith('ensemble.'))
    const arrays = Object.values(await handles.parameters.read(names.sort(), executor)) as Float32Array[]
    ends.push(Float32Array.from(arrays.flatMap((array) => [...array])))
  }
  const [one, seven] = ends as [Float32Array, Float32Array]
  let [difference, size] = [0, 0]
  one.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (seven[i] as number)))
    size = Math.max(size, Math.abs(value))
  })
  return verdict(
    difference / size < 1e-5,
    `greatest difference after ${STEPS} steps ${(difference / size).toExponential(1)} of the greatest parameter`,
  )
}

/** A.iv: with known p_i(x) the score becomes their weighted mean: Pearson's correlation on new rows. */
export async function scoreIsWeightedMean(executor: Executor): Promise<Verdict> {
  const [WIDTH, BATCH, STEPS, NEW] = [6, 1024, 800, 20_000]
  const random = createRandom(3)
  const weights = [1, 2, 8]
  const laws = weights.map((_, i) => ({
    shift: [-0.5, -1, -2][i] as number,
    slopes: float32(WIDTH, () => 0.7 * random.normal()),
  }))
  const pOf = (x: ArrayLike<number>, at: number, { shift, slopes }: (typeof laws)[number]) => {
    let logit = shift
    for (let i = 0; i < WIDTH; i++) logit += (slopes[i] as number) * (x[at + i] as number)
    return 1 / (1 + Math.exp(-logit))
  }
  const config = configOf({ ensembleSizes: [64, 32], towerSizes: [WIDTH], objectiveWeights: weights })
  const model = new EnsembleAlone(
    new EnsembleSort([], ['one', 'two', 'three'], { ...config, objectives: ['one', 'two', 'three'] }),
  )
  const fields = Object.fromEntries(['one', 'two', 'three'].map((name) => [name, field('float32', 'batch')]))
  const states = { state: field('float32', 'batch', 3, WIDTH), ...fields }
  const scoreOf = (m: EnsembleAlone, batch: object) =>
    m.ensemble.forward((batch as FeatureBatch).state as RankerState, batch as FeatureBatch)
  const training = compile(model, (m, batch) => ({ loss: m.ensemble.loss(scoreOf(m, batch), batch as FeatureBatch) }), {
    schema: states,
    executor,
    seed: 1,
    updates: [{ loss: 'loss', parameters: all, optimizer: adam() }],
  })
  const scoring = compile(model, (m, batch) => ({ score: sigmoid(scoreOf(m, batch) as Loose) as Tensor }), {
    schema: states,
    executor,
  })
  const handles = { parameters: createParameters(model, 1), state: createState(model) }
  /** The first tower holds x, the others nothing. */
  const rowsOf = (count: number) => {
    const state = new Float32Array(count * 3 * WIDTH)
    for (let row = 0; row < count; row++) {
      for (let i = 0; i < WIDTH; i++) state[row * 3 * WIDTH + i] = random.normal()
    }
    const labels = laws.map((law) =>
      float32(count, () => 0).map((_, row) => chance(random, pOf(state, row * 3 * WIDTH, law))),
    )
    return { state, one: labels[0], two: labels[1], three: labels[2] }
  }
  for (let step = 0; step < STEPS; step++) {
    await training.step(rowsOf(BATCH) as never, { lr: 3e-3 * Math.min(1, 2 * (1 - step / STEPS)) }, handles)
  }
  const held = rowsOf(NEW)
  const { score } = (await scoring.step(held as never, {}, handles)) as unknown as { score: Float32Array }
  const whole = weights.reduce((a, b) => a + b, 0)
  const wanted = float32(NEW, () => 0).map((_, row) =>
    laws.reduce((sum, law, i) => sum + ((weights[i] as number) * pOf(held.state, row * 3 * WIDTH, law)) / whole, 0),
  )
  const found = pearson(score, wanted)
  return verdict(found > 0.99, `correlation ${found.toFixed(4)} over ${NEW.toLocaleString('en-US')} new rows`)
}

function pearson(a: Float32Array, b: Float32Array): number {
  const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [ma, mb] = [mean(a), mean(b)]
  let [aa, bb, ab] = [0, 0, 0]
  a.forEach((value, i) => {
    const [x, y] = [value - ma, (b[i] as number) - mb]
    aa += x * x
    bb += y * y
    ab += x * y
  })
  return ab / Math.sqrt(aa * bb)
}
