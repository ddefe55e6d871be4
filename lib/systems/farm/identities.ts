/** Part A of the acceptance: what must hold of the frequency mix whatever the data, on the device. */
import { createRandom } from '../../core/random.js'
import { field } from '../../core/schema.js'
import { gradients } from '../../graph/autodiff.js'
import { compile } from '../../graph/compile.js'
import type { Tensor } from '../../graph/node.js'
import { type BandGainsOptions, bandGains, multiply, sum } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import type { Executor } from '../../runtime/index.js'
import type { Verdict } from '../proof.js'
import { cutoffFor } from './config.js'

export const LENGTHS = [1, 2, 7, 50, 64, 97, 128, 200]
const [BATCH, CHANNELS] = [3, 5]

type Form = NonNullable<BandGainsOptions<'batch'>['form']>
const FORMS: readonly Form[] = ['projection', 'transforms']

interface Mix {
  readonly length: number
  readonly cutoff: number
  readonly form: Form
}

/** Every length with no low band, the default one, a wide one and everything low. */
const grid: readonly Omit<Mix, 'form'>[] = LENGTHS.flatMap((length) => {
  const all = Math.floor(length / 2) + 1
  const cutoffs = [...new Set([0, 1, cutoffFor(length, 0.06), Math.ceil(all / 2), all])]
  return cutoffs.map((cutoff) => ({ length, cutoff }))
})

/** Numbers in [-1, 1): tolerances are relative to the greatest of them, as float32 rounds. */
const draw = (length: number, seed = 1): Float32Array => {
  const random = createRandom(seed).fork(length)
  return Float32Array.from({ length: BATCH * length * CHANNELS }, () => 2 * random.uniform() - 1)
}

/** low Low[x] + high High[x] of three sequences. */
async function mix(
  executor: Executor,
  { length, cutoff, form }: Mix,
  x: Float32Array,
  [low, high]: readonly [number, number],
): Promise<Float32Array> {
  const schema = {
    x: field('float32', 'batch', length, CHANNELS),
    low: field('float32', 'batch', 1),
    high: field('float32', 'batch', 1),
  }
  const program = compile(
    {},
    (_, { x, low, high }) => ({ y: bandGains(x as Loose, low as Loose, high as Loose, { cutoff, form }) as Tensor }),
    { schema, executor },
  )
  const gain = (value: number) => new Float32Array(BATCH).fill(value)
  const { y } = await program.step({ x, low: gain(low), high: gain(high) } as never)
  return y as unknown as Float32Array
}

const LOW = [1, 0] as const
const HIGH = [0, 1] as const

/** The greatest difference of two arrays. */
const apart = (a: ArrayLike<number>, b: ArrayLike<number> | number): number =>
  Array.from(a).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (typeof b === 'number' ? b : (b[i] as number)))),
    0,
  )

/** The greatest figure over a grid, and whether it stays within the tolerance. */
async function worstOf<T>(
  cases: readonly T[],
  tolerance: number,
  figure: (each: T) => Promise<number>,
): Promise<Verdict> {
  let worst = 0
  for (const each of cases) worst = Math.max(worst, await figure(each))
  return { pass: worst <= tolerance, figure: `${worst.toExponential(1)}, allowed ${tolerance.toExponential(0)}` }
}

const inBothForms = grid.flatMap((each) => FORMS.map((form): Mix => ({ ...each, form })))

/** Low[V] + High[V] = V. */
export const bandsAddUp = (executor: Executor): Promise<Verdict> =>
  worstOf(inBothForms, 1e-6, async (each) => {
    const x = draw(each.length)
    const [low, high] = [await mix(executor, each, x, LOW), await mix(executor, each, x, HIGH)]
    return apart(
      low.map((value, i) => value + (high[i] as number)),
      x,
    )
  })

/** Low[Low[V]] = Low[V]: a projection. */
export const lowIsProjection = (executor: Executor): Promise<Verdict> =>
  worstOf(inBothForms, 1e-5, async (each) => {
    const once = await mix(executor, each, draw(each.length), LOW)
    return apart(await mix(executor, each, once, LOW), once)
  })

/** The projection onto waves and the filter between transforms agree. */
export const formsAgree = (executor: Executor): Promise<Verdict> =>
  worstOf(grid, 1e-5, async (each) => {
    const [projection, transforms] = await Promise.all(
      FORMS.map((form) => mix(executor, { ...each, form }, draw(each.length), [0.3, 1.7])),
    )
    return apart(projection as Float32Array, transforms as Float32Array)
  })

/** Without bins Low[V] = 0, with all of them Low[V] = V. */
export const cutoffsAtTheEnds = (executor: Executor): Promise<Verdict> =>
  worstOf(
    LENGTHS.flatMap((length) => FORMS.map((form) => ({ length, form }))),
    1e-6,
    async ({ length, form }) => {
      const x = draw(length)
      const none = await mix(executor, { length, cutoff: 0, form }, x, LOW)
      const all = await mix(executor, { length, cutoff: Math.floor(length / 2) + 1, form }, x, LOW)
      return Math.max(apart(none, 0), apart(all, x))
    },
  )

/** The sum over time of High[V] is 0, as soon as the constant is low. */
export const highSumsToZero = (executor: Executor): Promise<Verdict> =>
  worstOf(
    inBothForms.filter(({ cutoff }) => cutoff > 0),
    1e-4,
    async (each) => {
      const high = await mix(executor, each, draw(each.length), HIGH)
      const sums = Array.from({ length: BATCH * CHANNELS }, (_, column) => {
        const first = Math.floor(column / CHANNELS) * each.length * CHANNELS + (column % CHANNELS)
        return Array.from({ length: each.length }, (_, t) => high[first + t * CHANNELS] as number).reduce(
          (a, b) => a + b,
        )
      })
      return apart(sums, 0)
    },
  )

/** Turning a sequence turns what becomes of it. */
export const shiftsWithTheSequence = (executor: Executor): Promise<Verdict> =>
  worstOf(inBothForms, 1e-5, async (each) => {
    const { length } = each
    const turn = Math.floor(length / 3)
    const turned = (x: Float32Array) =>
      x.map((_, i) => {
        const [row, column] = [Math.floor(i / CHANNELS), i % CHANNELS]
        const item = row - (row % length)
        return x[(item + (((row % length) + turn) % length)) * CHANNELS + column] as number
      })
    const x = draw(length)
    const gains = [0.3, 1.7] as const
    return apart(await mix(executor, each, turned(x), gains), turned(await mix(executor, each, x, gains)))
  })

/**
 * Gradients by V, alpha and beta of <g, F>. F is linear in V and in the gains, so a central difference is exact but for
 * rounding, whatever its step.
 */
export const gradientsMatchDifferences = (executor: Executor): Promise<Verdict> =>
  worstOf(inBothForms, 2e-4, async ({ length, cutoff, form }) => {
    const schema = {
      x: field('float32', 'batch', length, CHANNELS),
      g: field('float32', 'batch', length, CHANNELS),
      low: field('float32', 'batch', 1),
      high: field('float32', 'batch', 1),
    }
    const program = compile(
      {},
      (_, batch) => {
        const { x, g, low, high } = batch as unknown as Record<keyof typeof schema, Loose>
        const value = sum(multiply(bandGains(x, low, high, { cutoff, form }) as Loose, g) as Loose) as Loose
        const [dx, dlow, dhigh] = gradients(value as never, [x, low, high]) as Loose[]
        return { total: value, dx, dlow, dhigh } as unknown as Record<string, Tensor>
      },
      { schema, executor },
    )
    const [x, direction, g] = [draw(length, 1), draw(length, 2), draw(length, 3)]
    const gains = { low: Float32Array.of(0.2, 0.5, 0.9), high: Float32Array.of(0.7, 0.1, 0.4) }
    const at = async (feeds: Readonly<Record<string, Float32Array>>) =>
      (await program.step({ x, g, ...gains, ...feeds } as never)) as unknown as Readonly<Record<string, Float32Array>>
    const found = await at({})
    const along = async (name: 'x' | 'low' | 'high', way: Float32Array) => {
      const moved = async (by: number) => {
        const from = name === 'x' ? x : gains[name]
        return (await at({ [name]: from.map((value, i) => value + by * (way[i] as number)) }))
          .total as unknown as number
      }
      const difference = ((await moved(1)) - (await moved(-1))) / 2
      const gradient = found[`d${name}`] as Float32Array
      const expected = gradient.reduce((total, value, i) => total + value * (way[i] as number), 0)
      // Relative to what was added up: <g, F> has as many terms as V has numbers.
      return Math.abs(difference - expected) / Math.sqrt(BATCH * length * CHANNELS)
    }
    const ways = [Float32Array.of(1, 0, 0), Float32Array.of(0, 1, -1)]
    const errors = [
      await along('x', direction),
      ...(await Promise.all(ways.flatMap((way) => [along('low', way), along('high', way)]))),
    ]
    return Math.max(...errors)
  })
