/** The manifest of a checkpoint: what it holds, where training stood, and the hash of every file, its own included. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { KairosError } from '../core/errors.js'

/** Anything that JSON holds. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

export const MANIFEST = 'manifest.json'
export const FILES = ['parameters.safetensors', 'optimizer.safetensors', 'state.safetensors', 'program.kairos'] as const
export type FileName = (typeof FILES)[number]

const whole = z.int().min(0)
const facts = z.strictObject({ bytes: whole, sha256: z.string().regex(/^[0-9a-f]{64}$/) })
const entries = z.array(
  z.strictObject({ name: z.string(), dtype: z.enum(['float32', 'int32', 'bool']), shape: z.array(whole) }),
)

const manifestSchema = z.strictObject({
  format: z.literal('kairos-checkpoint'),
  version: z.literal(1),
  created: z.string(),
  /** What the model was built from; a checkpoint fits only where this is the same. */
  config: z.json(),
  /** Fields of a batch. */
  schema: z.json(),
  step: whole,
  /** The next batch: `batch` of `epoch`, both counted from 0 and 1. */
  cursor: z.strictObject({ epoch: whole, batch: whole }),
  /** Steps that the program has counted: dropout draws by (seed, draws). */
  random: z.strictObject({ seed: whole, draws: whole }),
  metrics: z.record(z.string(), z.number().nullable()),
  /** Better by the watched metric than all before it. */
  best: z.boolean(),
  /** The loop's own: early stop, schedule, sums of an epoch under way. */
  progress: z.json(),
  stores: z.strictObject({ parameters: entries, optimizer: entries, state: entries }),
  files: z.strictObject({
    'parameters.safetensors': facts,
    'optimizer.safetensors': facts,
    'state.safetensors': facts,
    'program.kairos': facts,
  } satisfies Record<FileName, unknown>),
})

export type Manifest = z.output<typeof manifestSchema>

const hashOf = (body: unknown): string => createHash('sha256').update(JSON.stringify(body)).digest('hex')

export function encodeManifest(manifest: Manifest): Uint8Array {
  // As it will be read: what JSON cannot hold (NaN, undefined) is gone before the hash is taken.
  const body = JSON.parse(JSON.stringify(manifest))
  return new TextEncoder().encode(`${JSON.stringify({ sha256: hashOf(body), ...body }, null, 2)}\n`)
}

/** Throws KAIROS_DATA with the reason for a manifest that is damaged or of another kind. */
export function parseManifest(text: string, path: string): Manifest {
  const refuse = (got: string) => new KairosError('KAIROS_DATA', { op: 'checkpoint', argument: path, got })
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw refuse(`no JSON (${(error as Error).message}): cut off or damaged`)
  }
  if (parsed?.format !== 'kairos-checkpoint') throw refuse('no manifest of a Kairos checkpoint')
  if (parsed.version !== 1) throw refuse(`format version ${JSON.stringify(parsed.version)}; this version reads 1`)
  const { sha256, ...body } = parsed
  if (sha256 !== hashOf(body)) throw refuse('contents that are not those of its sha256: damaged')
  const result = manifestSchema.safeParse(body)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw refuse(`${issue?.path.join('.') || 'contents'}: ${issue?.message}`)
}

/** Throws KAIROS_ARGUMENT for what JSON would give back as something else, as Infinity, which becomes null. */
export function requireJson(value: unknown, argument: string): Json {
  const plain = typeof value === 'object' && value !== null
  if (plain && (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype)) {
    for (const [key, inside] of Object.entries(value)) requireJson(inside, `${argument}.${key}`)
  } else if (!(value === null || ['string', 'boolean'].includes(typeof value) || Number.isFinite(value))) {
    throw new KairosError('KAIROS_ARGUMENT', { op: 'checkpoint', argument, expected: 'JSON', got: String(value) })
  }
  return value as Json
}

/** Where two JSON values first differ, as `path: a here, b there`; null when they do not. */
export function firstDifference(a: Json | undefined, b: Json | undefined, path = ''): string | null {
  if (isContainer(a) && isContainer(b) && Array.isArray(a) === Array.isArray(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)])
    for (const key of keys) {
      const difference = firstDifference(a[key], b[key], path === '' ? key : `${path}.${key}`)
      if (difference !== null) return difference
    }
    return null
  }
  if (a === b) return null
  return `${path || 'value'} is ${a === undefined ? 'nothing' : JSON.stringify(a)} there, ${b === undefined ? 'nothing' : JSON.stringify(b)} here`
}

const isContainer = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null
