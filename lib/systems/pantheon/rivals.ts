/** Ensembles on kept states, by what makes one gradient of N losses: the fused loss, or a rival of the Pareto set. */
import { all, compile } from '../../graph/compile.js'
import { createState, initializeParameters } from '../../graph/stores.js'
import type { Combination } from '../../graph/update.js'
import { UncertaintyWeights } from '../../losses/index.js'
import { sigmoid } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import { adam, solvers } from '../../optim/index.js'
import type { OptimizerState, ParameterSet, State } from '../../runtime/index.js'
import type { ArmRun, TrainerTools } from '../proof.js'
import type { FeatureBatch } from '../system.js'
import type { PantheonConfig } from './config.js'
import type { RankerState } from './encoder.js'
import type { KeptRanker } from './keptRanker.js'
import { SCORED } from './keptRanker.js'
import { EnsembleSort, weightOf } from './model.js'
import { inFlight, type Program } from './steps.js'

/** The ensemble alone, its parameters named as in `PantheonModel`. */
class EnsembleAlone {
  readonly uncertainty?: UncertaintyWeights<string>

  constructor(
    readonly ensemble: EnsembleSort,
    method: string,
  ) {
    if (method === 'uncertainty') this.uncertainty = new UncertaintyWeights(ensemble.objectives)
  }
}

/** Gradients of objectives are combined at the logit of the score, through which alone they reach the parameters. */
const SCORE_LOGIT = 'logit'

/** An ensemble under training on what a ranker held. */
export class KeptEnsemble {
  private constructor(
    private readonly config: PantheonConfig,
    private readonly ranker: KeptRanker,
    private readonly run: ArmRun,
    private readonly tools: TrainerTools,
    readonly objectives: readonly string[],
    private readonly training: Program,
    private readonly scoring: Program,
    private readonly handles: { parameters: ParameterSet; optimizer: OptimizerState; state: State },
  ) {}

  static async create(method: string, config: PantheonConfig, ranker: KeptRanker, run: ArmRun, tools: TrainerTools) {
    const { rows, executor } = tools
    const { seed, sizes } = run
    const sort = new EnsembleSort(rows.features, ranker.tasks, config)
    const model = new EnsembleAlone(sort, method)
    const { schema } = await ranker.batches('stream', rows, { batchSize: sizes.batchSize, reads: config.reads })
    const scoreOf = (m: EnsembleAlone, batch: FeatureBatch) => m.ensemble.forward(batch.state as RankerState, batch)
    const clipped = sizes.clipNorm ? { clipNorm: sizes.clipNorm } : {}
    const rest = { parameters: all, optimizer: adam(), ...clipped }
    const solver = solvers[method as keyof typeof solvers] as (() => Combination) | undefined
    const training = compile(
      model,
      (m, batch) => {
        const score = scoreOf(m, batch as FeatureBatch)
        const losses = m.ensemble.losses(score, batch as FeatureBatch)
        if (solver) return { ...losses, [SCORE_LOGIT]: score }
        return { loss: m.uncertainty?.combine(losses) ?? m.ensemble.loss(score, batch as FeatureBatch) }
      },
      {
        schema,
        seed,
        executor,
        updates: solver
          ? [{ losses: sort.objectives, combine: solver(), representation: SCORE_LOGIT, ...rest }]
          : [{ loss: 'loss', ...rest }],
      } as never,
    ) as unknown as Program
    const scoring = compile(model, (m, batch) => ({ score: sigmoid(scoreOf(m, batch as FeatureBatch) as Loose) }), {
      schema,
      executor,
    }) as unknown as Program
    const parameters = await initializeParameters(model, seed, executor)
    const handles = { parameters, optimizer: training.createOptimizerState(), state: createState(model) }
    return new KeptEnsemble(config, ranker, run, tools, sort.objectives, training, scoring, handles)
  }

  /** Learns from rows [begin, end) of the stream; false when a signal ended it. */
  async learn(begin: number, end: number, weights?: readonly number[]): Promise<boolean> {
    const { rows, signal, onStep } = this.tools
    const { batchSize, learningRate } = this.run.sizes
    const source = await this.ranker.batches('stream', rows, { begin, end, batchSize, reads: this.config.reads })
    const fed = weights ? this.objectives.map((name, i) => [weightOf(name), weights[i] as number] as const) : []
    const scalars = { lr: learningRate, ...Object.fromEntries(fed) }
    return inFlight(this.training, source, scalars, this.handles, signal, ({ loss }, examples) =>
      onStep({ examples, loss: typeof loss === 'number' ? loss : Number.NaN }),
    )
  }

  /** Scores of rows [begin, end) of a part. */
  async score(part: string, begin = 0, end?: number): Promise<Float32Array> {
    const { rows, signal } = this.tools
    const { begin: first, end: last } = this.ranker.part(part)
    const until = end ?? last - first
    const scores = new Float32Array(until - begin)
    const source = await this.ranker.batches(part, rows, {
      begin,
      end: until,
      batchSize: SCORED,
      reads: this.config.reads,
    })
    let at = 0
    await inFlight(this.scoring, source, {}, this.handles, signal, ({ score }, examples) => {
      scores.set(score as Float32Array, at)
      at += examples
    })
    return scores
  }

  /** A copy of the parameters to go back to, cheap until they move on. */
  copy = (): Promise<ParameterSet> => this.handles.parameters.clone(this.tools.executor)

  /** Goes on with other parameters, which it then owns. */
  take(parameters: ParameterSet): void {
    this.handles.parameters[Symbol.dispose]()
    this.handles.parameters = parameters
  }

  dispose(): void {
    this.handles.parameters[Symbol.dispose]()
    this.handles.optimizer[Symbol.dispose]()
  }
}
