/**
 * What a run was asked for, kept in its folder: with the checkpoints it is all that evaluating and predicting need.
 *
 *     run/run.json        options
 *     run/encoding.json   vocabularies and scales, where there are any
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KairosError } from '../core/errors.js'
import { type Checkpoint, CheckpointFolder } from './checkpoint.js'
import { type TrainOptions, trainOptions } from './options.js'
import { type RankingTrainOptions, rankingTrainOptions } from './rankingOptions.js'

const VERSION = 1

export type RunOptions =
  | { readonly kind: 'sequence'; readonly options: TrainOptions }
  | { readonly kind: 'ranking'; readonly options: RankingTrainOptions }

export const encodingPath = (folder: string): string => join(folder, 'encoding.json')

export async function saveRun(folder: string, run: RunOptions): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'run.json'), `${JSON.stringify({ version: VERSION, ...run }, null, 2)}\n`)
}

/** Throws KAIROS_DATA when the folder holds no run of this version. */
export async function loadRun(op: string, folder: string): Promise<RunOptions> {
  const path = join(folder, 'run.json')
  const refuse = (expected: string, got: string, cause?: unknown) =>
    new KairosError('KAIROS_DATA', { op, argument: path, expected, got }, cause ? { cause } : undefined)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw refuse('the options of a run, as `kairos train --output` leaves them', (error as Error).message, error)
  }
  let json: { version?: unknown; kind?: unknown; options?: unknown }
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw refuse('JSON', (error as Error).message, error)
  }
  if (json?.version !== VERSION) throw refuse(`version ${VERSION}`, `${json?.version}`)
  const schema = json.kind === 'ranking' ? rankingTrainOptions : trainOptions
  const parsed = schema.safeParse(json.options)
  if (!parsed.success) throw refuse('options of this version', parsed.error.issues[0]?.message ?? 'others')
  return { kind: json.kind === 'ranking' ? 'ranking' : 'sequence', options: parsed.data } as RunOptions
}

/** The best checkpoint of a run, or the newest where none was watched. Throws KAIROS_DATA when none is sound. */
export async function bestCheckpoint(op: string, folder: string): Promise<Checkpoint> {
  const path = join(folder, 'checkpoints')
  const refuse = (got: string, cause?: unknown) =>
    new KairosError(
      'KAIROS_DATA',
      { op, argument: path, expected: 'at least one sound checkpoint', got },
      cause ? { cause } : undefined,
    )
  const checkpoints = CheckpointFolder.reading(path)
  try {
    const best = await checkpoints.best()
    if (best) return best
    const { checkpoint, skipped } = await checkpoints.latest()
    if (checkpoint) return checkpoint
    throw refuse(skipped.map(({ reason }) => reason).join('; ') || 'none')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw refuse('no such folder', error)
    throw error
  }
}
