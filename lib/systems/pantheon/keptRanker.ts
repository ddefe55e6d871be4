/**
 * The ranker, trained once; what it held of every row is kept, and every ensemble learns from that. The stop-gradient makes
 * this the same as joint training, to the bit: states of a row are those that the ranker had before it learnt from it.
 *
 *     rows in order of time   | warm-up | validation | stream | test, requests: the ranker as it ended
 *     states are kept of                 ------------------------------------
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BatchSource } from '../../core/batchSource.js'
import { all, compile } from '../../graph/compile.js'
import type { Tensor } from '../../graph/node.js'
import { createState, initializeParameters } from '../../graph/stores.js'
import { transpose } from '../../ops/index.js'
import { adam } from '../../optim/index.js'
import type { ArmRun, TrainerTools } from '../proof.js'
import type { FeatureBatch } from '../system.js'
import type { PantheonConfig } from './config.js'
import { Ranker } from './model.js'
import { StateCache, withStates } from './stateCache.js'
import { inFlight } from './steps.js'

/** A stretch of rows whose states were kept. */
export interface KeptPart {
  /** The part of the data, and where in it the rows begin and end. */
  readonly of: string
  readonly begin: number
  readonly end: number
  readonly states: StateCache
  /** Logits of Pxtr by row, K each. */
  readonly logits: Float32Array
}

/** Shares of the rows to learn from. */
const WARM_UP = 0.2
const VALIDATION = 0.1

/** Rows that are scored at a time. */
export const SCORED = 2048

/** The ranker alone, its parameters named as in `PantheonModel`. */
class RankerAlone {
  constructor(readonly ranker: Ranker) {}
}

export class KeptRanker {
  private constructor(
    readonly tasks: readonly string[],
    readonly depth: number,
    private readonly parts: Readonly<Record<string, KeptPart>>,
    readonly trainSeconds: number,
    private readonly files: readonly string[],
  ) {}

  /** null when a signal ended it. */
  static async train(
    tasks: readonly string[],
    config: PantheonConfig,
    { seed, sizes }: ArmRun,
    { rows, executor, signal, onStep, folder }: TrainerTools,
  ): Promise<KeptRanker | null> {
    const { batchSize, learningRate, clipNorm } = sizes
    const model = new RankerAlone(new Ranker(rows.features, tasks, config))
    const depth = config.towerSizes.at(-1) as number
    const source = await rows.batches('train', { batchSize })
    const build = (m: RankerAlone, batch: object) => {
      const { hidden, logits } = m.ranker.forward(batch as FeatureBatch)
      const { loss } = m.ranker.losses(logits, batch as FeatureBatch)
      return { loss, states: transpose(hidden, [1, 0, 2]) as Tensor, logits: logits as Tensor }
    }
    const clipped = clipNorm ? { clipNorm } : {}
    const updates = [{ loss: 'loss', parameters: all, optimizer: adam(), ...clipped }] as const
    const training = compile(model, build, { schema: source.schema, seed, executor, updates })
    const frozen = compile(model, build, { schema: source.schema, executor })
    const parameters = await initializeParameters(model, seed, executor)
    const handles = { parameters, state: createState(model) }

    const count = rows.count('train')
    const aligned = (share: number) => Math.round((share * count) / batchSize) * batchSize
    const [warm, validated] = [aligned(WARM_UP), aligned(WARM_UP + VALIDATION)]
    const files: string[] = []
    const parts: Record<string, KeptPart> = {}
    const keeping = async (name: string, of: string, begin: number, end: number) => {
      const path = join(folder, `${name}.f32`)
      files.push(path)
      const states = await StateCache.create(path, tasks.length * depth)
      parts[name] = { of, begin, end, states, logits: new Float32Array((end - begin) * tasks.length) }
    }
    await keeping('validation', 'train', warm, validated)
    await keeping('stream', 'train', validated, count)

    const started = performance.now()
    let done = 0
    const kept = new KeptRanker(tasks, depth, parts, 0, files)
    const whole = await inFlight(training, source, { lr: learningRate }, handles, signal, async (out, examples) => {
      const at = done
      done += examples
      onStep({ examples: 0, loss: out.loss as number })
      const part = at < warm ? null : at < validated ? parts.validation : parts.stream
      if (part) await keep(part, out, at - part.begin)
    })
    const seconds = (performance.now() - started) / 1000
    if (!whole) {
      parameters[Symbol.dispose]()
      await kept.close()
      return null
    }
    for (const name of ['test', 'requests']) {
      if (!rows.parts.includes(name)) continue
      await keeping(name, name, 0, rows.count(name))
      const part = parts[name] as KeptPart
      const later = await rows.batches(name, { batchSize: SCORED })
      let at = 0
      await inFlight(frozen, later, {}, handles, signal, async (out, examples) => {
        await keep(part, out, at)
        at += examples
      })
    }
    parameters[Symbol.dispose]()
    return new KeptRanker(tasks, depth, parts, seconds, files)
  }

  has = (name: string): boolean => name in this.parts

  part(name: string): KeptPart {
    return this.parts[name] as KeptPart
  }

  /** Batches of rows [begin, end) of a part with the field `state`: hidden states, or logits of Pxtr. */
  async batches(
    name: string,
    rows: TrainerTools['rows'],
    {
      begin = 0,
      end,
      batchSize,
      reads,
    }: { begin?: number; end?: number; batchSize: number; reads: PantheonConfig['reads'] },
  ): Promise<BatchSource> {
    const part = this.part(name)
    const { of, begin: first, states, logits } = part
    const last = first + (end ?? part.end - first)
    const source = await rows.batches(of, { begin: first + begin, end: last, batchSize })
    const K = this.tasks.length
    return reads === 'hidden'
      ? withStates(source, [K, this.depth], begin, (at, count) => states.read(at, count))
      : withStates(source, [K], begin, (at, count) => logits.subarray(at * K, (at + count) * K))
  }

  async close(): Promise<void> {
    for (const { states } of Object.values(this.parts)) await states.close()
    for (const path of this.files) await rm(path, { force: true })
  }
}

async function keep(part: KeptPart, out: Readonly<Record<string, unknown>>, at: number): Promise<void> {
  const { begin, end, states, logits } = part
  logits.set(out.logits as Float32Array, (at * logits.length) / (end - begin))
  await states.append(out.states as Float32Array)
}
