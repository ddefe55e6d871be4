/**
 * What a graph should compute, and how closely float32 can be expected to come to it.
 *
 * The float64 interpreter gives the values. It is asked a few times more with every op's results rounded to float32 and
 * moved at random by about one rounding (Parker 1997, "Monte Carlo arithmetic"): where these answers lie far apart, so
 * may the device's.
 */
import type { Random } from '../../lib/core/random.js'
import type { OpDefinition, ReferenceArray } from '../../lib/graph/defineOp.js'
import { makeGraph, resultsOf, rewrite } from '../../lib/graph/graph.js'
import { type InterpretOptions, interpret } from '../../lib/graph/interpret.js'
import { makeNode, type Tensor, tensorOf } from '../../lib/graph/node.js'

/** Relative, of one result: two roundings. */
const NOISE = 2 ** -23
/** Relative, of what an op is given: sums inside of it round more than once. */
const OPERAND_NOISE = 4 * NOISE
/**
 * Moves of one op's results alone; of each element that it is given as well; of all of these alike, as errors of a mean; and
 * none but to float32, where sums of equal terms cancel altogether that moves would hold apart.
 */
export const modes = ['results', 'elements', 'operands', 'none'] as const
const SAMPLES = modes.length
export type NoiseMode = (typeof modes)[number]
/** Relative to the greatest magnitude of an output; what kernels are allowed by themselves. */
const TOLERANCE = 2e-5
/** How much further than the samples a result may lie. */
const SLACK = 32
/** Beyond this share of the greatest magnitude an output says nothing. */
const ILL_CONDITIONED = 0.02

/** What cancels altogether in float64 leaves this much in float32, where numbers are of ordinary size. */
const FLOOR = 2e-6

export interface Expected {
  readonly exact: ReferenceArray
  readonly samples: readonly ReferenceArray[]
}

/** Values of tensors with what rounding may do to them. */
export function expect(outputs: readonly Tensor[], options: InterpretOptions, random: Random): Expected[] {
  const exact = interpret(outputs, options)
  const samples = Array.from({ length: SAMPLES }, (_, sample) => {
    return interpret(noisy(outputs, random, modes[sample % modes.length]), options)
  })
  return exact.map((array, index) => ({
    exact: array,
    samples: samples.map((values) => values[index] as ReferenceArray),
  }))
}

/** The same tensors over ops whose results are a little off. */
export function noisy(
  outputs: readonly Tensor[],
  random: Random,
  mode: NoiseMode = modes[random.int(modes.length)] as NoiseMode,
): Tensor[] {
  const graph = makeGraph({
    outputs: outputs.map(({ value }, index) => ({ name: `${index}`, value })),
    updates: [],
    assignments: [],
  })
  const draw = mode === 'none' ? () => 0 : quickNoise(random.uint32())
  const byResults = mode === 'results' || mode === 'none'
  const mark = markOf(mode)
  const wrapped = new Map<OpDefinition, OpDefinition>()
  const wrap = (op: OpDefinition): OpDefinition => {
    const reference: OpDefinition['reference'] = (inputs, attributes) => {
      const given = byResults ? inputs : inputs.map((array) => operand(array, draw, mode))
      const results = op.reference(given, attributes)
      // What ops make of infinities differs: whatever depends on one is left unjudged.
      const isClear = (array: ReferenceArray, index: number) => allFinite(array, takesInfinity[op.name] === index)
      if (!inputs.every(isClear)) return results.map((array) => marked(array, mark))
      return results.map((array) => {
        if (array.dtype === 'bool')
          return mode === 'operands' || mode === 'none' ? array : tiesAs(mode === 'results', array, given)
        if (op.elementwise) return rounded(array, draw, 0, given)
        if (isCopy(op, array, given)) return array
        const scale = greatest(array) / 4
        return rounded(byResults ? withoutResidue(array, scale) : array, draw, scale)
      })
    }
    const known = wrapped.get(op) ?? { ...op, reference }
    wrapped.set(op, known)
    return known
  }
  const moved = rewrite(graph, (node, inputs) =>
    node.op ? resultsOf(makeNode({ ...node, inputs, op: wrap(node.op) })) : null,
  )
  return moved.outputs.map(({ value }) => tensorOf(value))
}

/**
 * To float32, after a random move by about one rounding of each element and of `scale`. Zeros stay, and so does what
 * equals its operand: what is only chosen stays equal to what it came from.
 */
function rounded(
  array: ReferenceArray,
  draw: () => number,
  scale: number,
  operands: readonly ReferenceArray[] = [],
): ReferenceArray {
  if (array.dtype !== 'float32') return array
  const data = array.data.slice()
  for (let i = 0; i < data.length; i++) {
    const x = data[i] as number
    if (x === 0 || operands.some((operand) => operand.data[i] === x)) continue
    data[i] = Math.fround(x + NOISE * (Math.abs(x) + scale) * draw())
  }
  return { ...array, data }
}

/** Sums that cancel altogether leave a residue in float64, and often none in float32: a ReLU of it is open or shut. */
const withoutResidue = (array: ReferenceArray, scale: number): ReferenceArray =>
  array.dtype === 'float32' ? { ...array, data: array.data.map((x) => (Math.abs(x) <= NOISE * scale ? 0 : x)) } : array

/** Of what lies closer together any may be the greater. */
const TIE = 32 * NOISE

/** A comparison whose near ties come out alike: one way in one sample, the other way in another. */
function tiesAs(way: boolean, array: ReferenceArray, operands: readonly ReferenceArray[]): ReferenceArray {
  const [a, b] = operands.filter(({ dtype }) => dtype === 'float32')
  if (!a || !b) return array
  const at = ({ data }: ReferenceArray, i: number) => data[data.length === 1 ? 0 : i] as number
  const isTie = (x: number, y: number) => x !== 0 && y !== 0 && Math.abs(x - y) <= TIE * Math.abs(x)
  return { ...array, data: array.data.map((value, i) => (isTie(at(a, i), at(b, i)) ? Number(way) : value)) }
}

/** Elements that tell copying from computing. */
const TELLING = 8

/** Whether an op only moved elements. One that averages may give a copy too, of one element, but rounds it. */
function isCopy(op: OpDefinition, { data }: ReferenceArray, operands: readonly ReferenceArray[]): boolean {
  if (op.flops && operands.filter(({ dtype }) => dtype === 'float32').length > 1) return false
  const telling = data.filter((x) => x !== 0).subarray(0, TELLING)
  return telling.every((x) => operands.some((operand) => operand.data.includes(x)))
}

function operand(array: ReferenceArray, draw: () => number, mode: 'elements' | 'operands'): ReferenceArray {
  if (array.dtype !== 'float32') return array
  const factor = () => 1 + OPERAND_NOISE * draw()
  const all = factor()
  return { ...array, data: array.data.map((x) => Math.fround(x * (mode === 'elements' ? factor() : all))) }
}

/** Numbers from [-1, 1) by xorshift (Marsaglia 2003): most of an iteration would go into better ones. */
function quickNoise(seed: number): () => number {
  let x = seed | 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x / 2 ** 31
  }
}

function allFinite({ data }: ReferenceArray, orNothing: boolean): boolean {
  for (let i = 0; i < data.length; i++)
    if (!Number.isFinite(data[i]) && !(orNothing && data[i] === Number.NEGATIVE_INFINITY)) return false
  return true
}

const greatest = ({ data }: ReferenceArray): number =>
  data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0)

/** Which operand is a log-sum-exp, -Infinity where everything is masked: these ops say what they make of it. */
const takesInfinity: Readonly<Record<string, number>> = { attentionBackward: 4, targetAttentionBackward: 5 }

/** One mark in one sample, another in the next: the exact value, whatever it is, disagrees with one of them. */
export const markOf = (mode: NoiseMode): number => (mode === 'results' ? Number.NaN : Number.POSITIVE_INFINITY)

const marked = (array: ReferenceArray, mark: number): ReferenceArray =>
  array.dtype === 'float32' ? { ...array, data: array.data.map(() => mark) } : array

export type Verdict = { readonly is: 'right' | 'unknown' } | { readonly is: 'wrong'; readonly how: string }

/** Judges what a device gave. */
export function judge(got: ArrayLike<number>, { exact, samples }: Expected): Verdict {
  const wanted = exact.data
  if (got.length !== wanted.length) return { is: 'wrong', how: `${got.length} elements instead of ${wanted.length}` }
  let largest = 0
  let spread = 0
  for (let i = 0; i < wanted.length; i++) {
    const x = wanted[i] as number
    for (const { data } of samples) {
      const y = data[i] as number
      if (Object.is(x, y)) continue
      if (!Number.isFinite(x) || !Number.isFinite(y)) return { is: 'unknown' }
      spread = Math.max(spread, Math.abs(x - y))
    }
    if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x))
  }
  if (exact.dtype !== 'float32' ? spread > 0 : spread > ILL_CONDITIONED * largest) return { is: 'unknown' }
  const allowed =
    exact.dtype === 'float32' ? Math.max(TOLERANCE * largest, SLACK * spread, largest === 0 ? 10 * FLOOR : FLOOR) : 0
  for (let i = 0; i < wanted.length; i++) {
    const [a, b] = [got[i] as number, wanted[i] as number]
    if (a === b || Object.is(a, b) || Math.abs(a - b) <= allowed) continue
    return { is: 'wrong', how: `element ${i} is ${a}, expected ${b} within ${allowed}, of at most ${largest}` }
  }
  return { is: 'right' }
}
