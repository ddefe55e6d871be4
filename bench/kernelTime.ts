/** Times of chosen kernels of a graph whose results are temporaries: their memory is warm, as within a training step. */
import { arrayOf } from '../lib/core/dtype.js'
import { createRandom } from '../lib/core/random.js'
import { interpret } from '../lib/graph/interpret.js'
import { specOf, type Tensor } from '../lib/graph/node.js'
import { GraphRunner } from '../lib/graph/runner.js'
import { type Executor, input } from '../lib/index.js'
import { concat, pad, reshape, slice } from '../lib/ops/index.js'

type Feeds = Readonly<Record<string, Float32Array | Int32Array>>
type Loose = Tensor<readonly number[], 'float32'>

/** The most that the kernel of `concat` takes. */
const PIECES = 64

const countOf = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)
const flat = (x: Loose) => reshape(x, [countOf(x.shape)])

/** Normal floats of deviation 0.2, so that products of a layer's size stay near 1, and zero integers for every input that `given` lacks. */
export function drawFeeds(runner: GraphRunner, given: Feeds = {}): Feeds {
  const random = createRandom(1).fork('bench')
  // Drawn once and repeated: a hundred million draws would take longer than all runs.
  const drawn = Float32Array.from({ length: 65537 }, () => 0.2 * random.normal())
  const draw = ({ name, node }: GraphRunner['inputs'][number]) => {
    const { dtype, shape } = specOf({ node, index: 0 })
    const array = arrayOf(dtype, countOf(shape as readonly number[]))
    if (dtype === 'float32')
      for (let at = 0; at < array.length; at += drawn.length) array.set(drawn.subarray(0, array.length - at), at)
    return [name, given[name] ?? array]
  }
  return Object.fromEntries(runner.inputs.map(draw))
}

/**
 * A large tensor made within the program, of up to 64 equal pieces along an axis: it needs no large feed, whose memory is new
 * in each run.
 */
export function large(name: string, shape: readonly number[], axis = 0): Loose {
  const size = shape[axis] as number
  let pieces = Math.min(PIECES, size)
  while (size % pieces !== 0) pieces--
  const piece = input(name, shape.with(axis, size / pieces)) as Loose
  return (pieces === 1 ? piece : concat(Array(pieces).fill(piece), axis as never)) as Loose
}

/** The plain copy of a tensor into a temporary; its kernel is `pad`. */
export const copyOf = (x: Loose): Tensor =>
  pad(flat(x) as never, 0 as never, 0 as never, (countOf(x.shape) + 1) as never)

/**
 * Times of chosen steps of one program by turns, in milliseconds: sorted, one list per name of a kernel or list of
 * names. Only the first element of each output is given back, so that outputs lie in the arena, and their pages are
 * there from the first run on.
 */
export async function kernelTimes(
  outputs: readonly Tensor[],
  executor: Executor,
  kernels: readonly (readonly string[])[],
  { feeds, rounds = 15 }: { readonly feeds?: Feeds; readonly rounds?: number } = {},
): Promise<number[][]> {
  const glimpses = outputs.map((y, i) => [`${i}`, slice(flat(y as Loose), 0, 0, 1)])
  const runner = new GraphRunner(Object.fromEntries(glimpses), { executor, profile: true })
  const names = runner.plan.kernelSteps.map(({ op }) => op?.kernel ?? op?.name ?? '')
  for (const name of kernels.flat()) if (!names.includes(name)) throw new Error(`No ${name} among ${names.join(', ')}`)
  const given = drawFeeds(runner, feeds)
  const times = kernels.map((): number[] => [])
  for (let round = -2; round < rounds; round++) {
    const { profile = [] } = await runner.run({ feeds: given })
    kernels.forEach((chosen, i) => {
      const sum = names.reduce((total, name, step) => total + (chosen.includes(name) ? (profile[step] ?? 0) : 0), 0)
      if (round >= 0) times[i]?.push(sum / 1e6)
    })
  }
  return times.map((list) => list.sort((a, b) => a - b))
}

/** Refuses to time what is not within rounding of the float64 references. */
export async function verifyOutputs(
  name: string,
  outputs: readonly Tensor[],
  executor: Executor,
  { feeds: given, tolerance = 2e-5 }: { readonly feeds?: Feeds; readonly tolerance?: number } = {},
): Promise<void> {
  const named = Object.fromEntries(outputs.map((y, i) => [`${i}`, y]))
  const runner = new GraphRunner(named, { executor })
  const feeds = drawFeeds(runner, given)
  const { outputs: results } = await runner.run({ feeds })
  const shaped = runner.inputs.map(({ name: input, node }) => {
    const { dtype, shape } = specOf({ node, index: 0 })
    return [input, { dtype, shape: shape as readonly number[], data: feeds[input] as Float32Array }]
  })
  interpret(outputs, { feeds: Object.fromEntries(shaped) }).forEach(({ data }, i) => {
    const ours = results[i]?.data as Float32Array
    const largest = data.reduce((most: number, x) => Math.max(most, Math.abs(x)), 0)
    ours.forEach((y, at) => {
      if (Math.abs(y - (data[at] as number)) <= tolerance * largest) return
      throw new Error(`${name}: result ${i} has ${y} at ${at}, expected ${data[at]}`)
    })
  })
}
