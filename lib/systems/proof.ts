/**
 * What a system claims, as data: arms to train, data with known truth to train them on, and the lines that must hold.
 *
 * A system declares one `Proof` in `lib/systems/<name>/proof.ts` and names it in `lib/systems/proofs.ts`;
 * `kairos prove <system>` (lib/prove) runs it. A declaration trains nothing and reads nothing itself.
 *
 *     experiments x their points x arms x seeds   = runs
 *     each run: train on the point's data with that seed -> predictions for the test rows -> `measure` -> statistics
 *     acceptance lines read the statistics of all runs and give verdicts
 *
 * Arms of one seed see the same rows in the same order, and have the same batches, epochs and learning rate: they are
 * paired, so a difference of arms is taken seed by seed, and user by user inside a seed.
 */
import type { BatchSource } from '../core/batchSource.js'
import type { Interval, UserStatistic } from '../metrics/index.js'
import type { Executor } from '../runtime/index.js'
import type { FeatureInput } from './system.js'

/** What stands by name and is set by number, word or switch: settings of a system, knobs of the simulator. */
export type Settings = Readonly<Record<string, unknown>>

export interface ProofArm {
  /** How it is shown: `ablation` is the system less one part, `baseline` what it is compared with. */
  readonly role: 'system' | 'ablation' | 'baseline'
  /** What it is, in a few words, for the table's legend. */
  readonly summary: string
  /** Name of a ranking system; the proof's own unless told. */
  readonly system?: string
  /** Its settings, over the experiment's. */
  readonly config?: Settings
}

/** Where rows come from. */
export type ProofData =
  /**
   * Known truth: a preset of lib/data/simulator. A point's knobs are set over these. `content` names the feature whose ids
   * are items with known vectors, `known` columns of the truth that rows have as numbers, for arms that are told the truth.
   */
  | {
      readonly kind: 'simulator'
      readonly preset: string
      readonly knobs?: Settings
      /** Knobs of `--quick`, over these. */
      readonly quickKnobs?: Settings
      readonly content?: string
      readonly known?: readonly string[]
      /** 'later': the test rows are the last of the same log. 'apart': a draw of their own over the same days. */
      readonly test?: 'later' | 'apart'
      /** A further part 'requests', with so many candidates each, drawn without selection. */
      readonly requests?: { readonly count: number; readonly candidates: number }
    }
  /** A real set. `path. from the folder of shared data (KAIROS_SHARED_DATA, or ../shared/data); lines that need it read "not run: data absent" without it. */
  | { readonly kind: 'file'; readonly path: string; readonly schema: Settings }

/** One setting of the knobs that an experiment varies. */
export interface ProofPoint {
  /** Short, for tables and file names: 'rho 0.5'. */
  readonly name: string
  readonly knobs?: Settings
  /** Where it stands on the axis of plots; its place in the list unless told. */
  readonly x?: number
}

export interface ProofExperiment<Arm extends string = string> {
  /** Short, for tables and file names: 'setting 1'. */
  readonly name: string
  readonly data: ProofData
  /** Points of the grid; one without knobs unless told. */
  readonly points?: readonly ProofPoint[]
  /** Points of `--quick`, by name; all unless told. */
  readonly quickPoints?: readonly string[]
  /** The arms it trains; all unless told. */
  readonly arms?: readonly Arm[]
  /** The arms of `--quick`; those of the full run unless told. */
  readonly quickArms?: readonly Arm[]
  /** Settings of every arm, where the arm's system has them: sizes of the network, for equal budgets. */
  readonly config?: Settings
  /** Sizes where they differ from the proof's. */
  readonly sizes?: { readonly quick?: Partial<ProofSizes>; readonly full?: Partial<ProofSizes> }
}

/** How much is trained: equal for all arms. */
export interface ProofSizes {
  readonly seeds: number
  /** Rows to learn from, and later ones to be measured on. What the last epoch leaves is measured: none is chosen. */
  readonly train: number
  readonly test: number
  readonly epochs: number
  /** Rows in an order by the seed; otherwise, and unless told where there is one epoch, in order of time. */
  readonly shuffle?: boolean
  /** Greatest norm of the gradient. */
  readonly clipNorm?: number
  readonly batchSize: number
  readonly learningRate: number
}

/** What a run predicted for the test rows, and what is known of them. All columns are as long as `count`. */
export interface ProofOutcome {
  readonly count: number
  /** Probabilities by output of the system ('CVR'), or by task where it names none. */
  readonly predictions: Readonly<Record<string, Float32Array>>
  /**
   * Columns of the test rows by name: labels ('click'), and as 'truth.pClick' what no model sees. Throws
   * KAIROS_UNKNOWN_NAME.
   */
  column(name: string): ArrayLike<number>
  /** The user of each row. */
  readonly users: ArrayLike<number>
}

/**
 * Results of all finished runs, for acceptance lines and plots. A point is named '<experiment> / <point>', or as the
 * experiment where that has no points. What programs report in each step (parts of the loss, effective sample size)
 * is a statistic too, as its mean over the steps: 'training.effectiveSampleSize'.
 */
export interface ProofResults {
  /** Whether it is the full run or the quick one. */
  readonly quick: boolean
  readonly seeds: number
  /** The statistic of an arm, one value per seed. Throws KAIROS_UNKNOWN_NAME for what no run gave. */
  values(point: string, arm: string, statistic: string): readonly number[]
  /** Its mean over seeds and 95 % interval, seeds and users drawn with replacement. */
  mean(point: string, arm: string, statistic: string, of?: Transform): Promise<Interval>
  /** The first arm less the second, seeds and users paired: mean and 95 % interval. */
  difference(point: string, arm: string, other: string, statistic: string, of?: Transform): Promise<Interval>
  /** Whether this point was run with this arm. */
  has(point: string, arm?: string): boolean
}

/** Taken of a seed's statistic before differences and means: `absolute` for sizes of biases. */
export type Transform = 'value' | 'absolute'

export interface Verdict {
  /** null: reported without a bar. */
  readonly pass: boolean | null
  /** The figures that decided, as they are printed: '|B_D| 0.121 against 0.305: -0.184 [-0.221, -0.150]'. */
  readonly figure: string
}

// Trainers -------------------------------------------------------------------------------------------------------------

/** One training as a trainer sees it. */
export interface ArmRun {
  readonly arm: string
  readonly seed: number
  readonly sizes: ProofSizes
  /** The experiment's settings with the arm's over them. */
  readonly config: Settings
}

/** Rows of a point and seed, by part: 'train', 'test', and what else its data has. */
export interface ArmRows {
  readonly features: readonly FeatureInput[]
  readonly parts: readonly string[]
  count(part: string): number
  /** Batches of the rows [begin, end) in their order. */
  batches(part: string, range: { begin?: number; end?: number; batchSize: number }): Promise<BatchSource>
  /** A label, or as 'truth.pClick' what no model sees. Throws KAIROS_UNKNOWN_NAME. */
  column(part: string, name: string): ArrayLike<number>
  users(part: string): ArrayLike<number>
}

export interface TrainerTools {
  readonly rows: ArmRows
  readonly executor: Executor
  /** A trainer gives null soon after it is aborted. */
  readonly signal: AbortSignal
  /** To be told of every batch that was trained on. */
  readonly onStep: (step: { readonly examples: number; readonly loss: number }) => void
  /** A folder for files that `release` removes. */
  readonly folder: string
}

export interface ArmResult {
  readonly statistics: Readonly<Record<string, UserStatistic>>
  readonly trainSeconds: number
  readonly predictSeconds: number
  /** What the run did step by step, where that is evidence: kept as JSON, and drawn. */
  readonly audit?: Audit
}

/** A trail for `<run>.audit.json`, and its curves for the report. */
export interface Audit {
  readonly title: string
  readonly trail: unknown
  readonly charts: readonly {
    readonly title: string
    readonly xLabel: string
    readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[]
  }[]
}

/**
 * Trains arms in a way of its system's own, where they share more than rows: what `prepare` makes for a point and seed is
 * given to each of their arms, and `release` ends it.
 */
export interface ArmTrainer<Shared = unknown> {
  /** null when a signal ended it. */
  prepare(run: ArmRun, tools: TrainerTools): Promise<Shared | null>
  train(run: ArmRun, shared: Shared, tools: TrainerTools): Promise<ArmResult | null>
  release(shared: Shared): Promise<void>
}

export interface AcceptanceLine {
  /** Short and unique, for `--only` and the table. */
  readonly name: string
  /** The line as the specification has it. */
  readonly text: string
  readonly part: 'identity' | 'simulator' | 'negative control' | 'stress' | 'public data' | 'report'
  /** Points that must have been run; where one has not, the verdict is "not run" with the reason. */
  readonly needs?: readonly string[]
  /** Data that nobody has yet: the line is listed as "not run: data absent (...)". */
  readonly absent?: string
  /** Why the line cannot be put to the test with what is at hand. */
  readonly notRun?: string
  /** `context` is for identities, which run programs of their own. Missing where the line is only reported or absent. */
  check?(results: ProofResults, context: { readonly executor: Executor }): Verdict | Promise<Verdict>
}

/** A table of the report: arms down, statistics across. */
export interface ProofColumn {
  readonly statistic: string
  readonly title: string
  readonly of?: Transform
  /** Digits behind the point; default 4. */
  readonly digits?: number
}

export interface ProofPlot {
  readonly title: string
  /** One line per arm over the points of the experiment, with their intervals. */
  readonly experiment: string
  readonly xLabel: string
  readonly statistic: string
  readonly of?: Transform
  readonly arms?: readonly string[]
}

export interface Proof<Arm extends string = string> {
  readonly system: string
  /** Title of table and report. */
  readonly title: string
  /** Labels that the arms learn, as the data names them. */
  readonly tasks: readonly string[]
  readonly arms: Readonly<Record<Arm, ProofArm>>
  /** The arm that the others are shown against, as differences. */
  readonly reference: Arm
  readonly experiments: readonly ProofExperiment<NoInfer<Arm>>[]
  /** `specified`: what the specification asks for; sizes below it are shown as reduced. */
  readonly sizes: {
    readonly quick: ProofSizes
    readonly full: ProofSizes
    readonly specified: Partial<ProofSizes>
  }
  /**
   * Figures of a run by name, as `ratioStatistic`, `aucStatistic` and `plainStatistic` of lib/metrics make them: sums by
   * user, for the bootstrap. Loops over rows go `inSlices`.
   */
  measure?(outcome: ProofOutcome): Promise<Readonly<Record<string, UserStatistic>>>
  /** Trains its arms; each as a ranking system of its own, measured by `measure`, unless told. */
  readonly trainer?: ArmTrainer<never>
  readonly columns: readonly ProofColumn[]
  readonly plots?: readonly ProofPlot[]
  readonly acceptance: readonly AcceptanceLine[]
}
