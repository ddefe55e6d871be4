/** Encodings as JSON files, beside the model whose ids they give. */
import { createHash } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { z } from 'zod'
import { KairosError } from '../core/errors.js'
import type { Encoding } from './columns.js'

const FORMAT = 'kairos encoding'
const VERSION = 1

const fileSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  sha256: z.string(),
  vocabularies: z.record(z.string(), z.strictObject({ size: z.int().nonnegative(), values: z.array(z.string()) })),
  scales: z.record(z.string(), z.strictObject({ mean: z.number(), deviation: z.number().positive() })),
})

/** Digest of what the ids and scales are, in order. */
export function encodingDigest({ vocabularies, scales }: Encoding): string {
  const sorted = <T>(table: Readonly<Record<string, T>>) => Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1))
  const plain = [sorted(vocabularies), sorted(scales).map(([name, { mean, deviation }]) => [name, mean, deviation])]
  return createHash('sha256').update(JSON.stringify(plain)).digest('hex')
}

/** Writes an encoding under a temporary name, syncs and renames: the file is whole, or as it was before. */
export async function saveEncoding(encoding: Encoding, path: string): Promise<void> {
  const vocabularies = Object.fromEntries(
    Object.entries(encoding.vocabularies).map(([name, values]) => [name, { size: values.length, values }]),
  )
  const content = {
    format: FORMAT,
    version: VERSION,
    sha256: encodingDigest(encoding),
    vocabularies,
    scales: encoding.scales,
  }
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const file = await open(temporary, 'w')
    try {
      await file.writeFile(`${JSON.stringify(content)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Throws KAIROS_DATA on a file that is none, is damaged, or has changed since it was saved. */
export async function loadEncoding(path: string): Promise<Encoding> {
  let content: unknown
  try {
    content = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    throw refuse(path, 'a readable encoding', code === 'ENOENT' ? 'no such file' : (error as Error).message, error)
  }
  const parsed = fileSchema.safeParse(content)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refuse(path, `${FORMAT}, version ${VERSION}`, `${issue?.path.join('.') || 'the file'}: ${issue?.message}`)
  }
  const { vocabularies, scales, sha256 } = parsed.data
  for (const [name, { size, values }] of Object.entries(vocabularies)) {
    if (values.length !== size) throw refuse(path, `${size} values in vocabulary '${name}'`, `${values.length}`)
    if (new Set(values).size !== size) throw refuse(path, `different values in vocabulary '${name}'`, 'one twice')
  }
  const encoding = {
    vocabularies: Object.fromEntries(Object.entries(vocabularies).map(([name, { values }]) => [name, values])),
    scales,
  }
  const digest = encodingDigest(encoding)
  if (digest !== sha256) throw refuse(path, `content of sha256 ${sha256.slice(0, 12)}...`, `${digest.slice(0, 12)}...`)
  return encoding
}

const refuse = (path: string, expected: string, got: string, cause?: unknown): KairosError =>
  new KairosError('KAIROS_DATA', { op: 'loadEncoding', argument: path, expected, got }, { cause })
