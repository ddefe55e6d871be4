/**
 * Ranking of live rooms by what a user did there and in short video: preferences of both domains by frequency, aligned
 * before they are fused.
 *
 *     acts V (inputs.ts) -> preference F of each domain (encoder.ts) -> align (here) -> fuse (fuse.ts) -> PLE (here)
 *
 * FARM: Frequency-Aware Model for Cross-Domain Live-Streaming Recommendation, arXiv 2502.09375, 2025. README.md tells
 * which parts are the paper's and which are reconstructed.
 */
import { fanInUniform } from '../../graph/module.js'
import type { Tensor } from '../../graph/node.js'
import { binaryCrossEntropy, infoNCE } from '../../losses/index.js'
import { AttentionPooling, Mlp, PLE } from '../../nn/index.js'
import {
  add,
  greaterEqual,
  logicalAnd,
  mean,
  merge,
  multiply,
  normalize,
  sigmoid,
  slice,
  unsqueeze,
} from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'
import type { FeatureBatch, FeatureInput, Objectives, RankingModel } from '../system.js'
import { checkRequests, type FarmConfig } from './config.js'
import { createEncoder, type Encoded, type Encoder, lengthsOf } from './encoder.js'
import { beside, Fuse, type PerDomain, repeated } from './fuse.js'
import { type Acts, type DomainName, FarmInputs } from './inputs.js'

/** A vector of each row. */
type Rows = Tensor<readonly ['batch', number], 'float32'>
type Scalar = Tensor<readonly [], 'float32'>

/** Section 4: z = L2norm(g(AttnPool(F))), one user's two domains against those of the other users in the batch. */
class Align {
  readonly poolings: Readonly<Record<'video' | 'live', AttentionPooling<number>>>
  readonly heads: Readonly<Record<'video' | 'live', Mlp<[number, number, number]>>>

  constructor(private readonly config: FarmConfig) {
    const { dimensions: d } = config
    const head = () => new Mlp([d, d, d], { initializer: fanInUniform, biasInitializer: fanInUniform })
    this.poolings = { video: new AttentionPooling(d), live: new AttentionPooling(d) }
    this.heads = { video: head(), live: head() }
  }

  /** z, [batch, d]. */
  project(domain: 'video' | 'live', { rows, packing }: Acts): Rows {
    const pooled = this.poolings[domain].ragged(rows, packing.offsets as Loose)
    return normalize(this.heads[domain].forward(pooled as never) as Loose) as Rows
  }

  /** InfoNCE both ways; rows of one user are no negatives of each other, users with few acts take no part. */
  loss(video: Acts, live: Acts, user: Loose | undefined): Scalar {
    const { temperature, leastActs } = this.config
    const enough = (acts: Acts) => greaterEqual(lengthsOf(acts), leastActs) as Loose
    return infoNCE(this.project('video', video), this.project('live', live) as never, {
      temperature,
      symmetric: true,
      present: logicalAnd(enough(video), enough(live)) as never,
      ...(user ? { ids: user as never } : {}),
    })
  }
}

/** What is known of users before a candidate is: of each domain the preference F and what it reads in the other. */
export interface Preferences {
  /** x_u, [users, width]; none without such features. */
  readonly user: Loose | null
  readonly encoded: PerDomain<Encoded>
  readonly readings: ReturnType<Fuse['readings']>
}

export class FarmModel implements RankingModel {
  readonly inputs: FarmInputs
  readonly encoders: Readonly<Partial<Record<DomainName, Encoder>>>
  readonly align: Align | null
  readonly fuse: Fuse
  readonly predictor: PLE<number, number>

  constructor(
    features: readonly FeatureInput[],
    private readonly tasks: readonly string[],
    private readonly config: FarmConfig,
  ) {
    checkRequests(config)
    const { dimensions, domains, align, gateSees, products } = config
    const { levels, expertSizes, towerSizes, taskExperts, sharedExperts } = config
    this.inputs = new FarmInputs(features, config)
    const names = Object.keys(this.inputs.domains) as DomainName[]
    const user = this.inputs.context?.width ?? 0
    const context = user + (gateSees === 'candidate' ? dimensions : 0)
    this.encoders = Object.fromEntries(
      names
        .filter((name) => name !== 'rare')
        .map((name) => [name, createEncoder(this.inputs.domains[name]?.time as number, context, config)]),
    )
    this.align = align !== 'none' && domains === 'both' ? new Align(config) : null
    this.fuse = new Fuse(names, config)
    this.predictor = new PLE({
      inputs: user + dimensions + (products ? 2 : 1) * this.fuse.width,
      tasks: tasks.length,
      taskExperts,
      sharedExperts,
      levels: Array.from({ length: levels }, () => expertSizes),
      towers: [...towerSizes, 1],
      dropout: config.dropout,
      initializer: fanInUniform,
      biasInitializer: fanInUniform,
    })
  }

  /** x_i of the batch's candidates, [batch, d]. */
  candidate(batch: FeatureBatch): Rows {
    return this.inputs.candidate(batch) as Rows
  }

  /**
   * The part that all candidates of a user share, where `gateSees` is 'user'. Otherwise alpha and beta are of the
   * candidate too, which is then to be given, and nothing is shared.
   */
  preferences(batch: FeatureBatch, candidate?: Rows): Preferences {
    const user = this.inputs.context ? (this.inputs.context.forward(batch) as Loose) : null
    const seen = this.config.gateSees === 'candidate' ? [user, candidate as Loose] : [user]
    const context = seen.filter((each) => each !== null)
    const encoded = Object.fromEntries(
      (Object.keys(this.inputs.domains) as DomainName[]).map((name) => {
        const acts = this.inputs.acts(name, batch)
        return [name, this.encoders[name]?.forward(acts, context) ?? { acts }]
      }),
    )
    return { user, encoded, readings: this.fuse.readings(actsOf(encoded)) }
  }

  /** Section 6: PLE([x_u ; x_i ; h_l ; h_v ; h_cross]) of candidates, `perUser` rows for each user -> [rows, tasks]. */
  scores({ user, encoded, readings }: Preferences, candidate: Rows, perUser = 1): Rows {
    const fused = this.fuse.forward(candidate, actsOf(encoded), readings, perUser)
    const known = user ? [repeated(user, perUser)] : []
    const products = this.config.products ? fused.map((said) => multiply(said, candidate as Loose) as Loose) : []
    return this.predictor.logits(beside([...known, candidate as Loose, ...fused, ...products]) as never) as Rows
  }

  /** [rows, tasks]: `perRequest` rows of candidates for each user in the batch. */
  logits(batch: FeatureBatch): Rows {
    const candidate = this.candidate(batch)
    return this.scores(this.preferences(batch, candidate), candidate, this.config.perRequest)
  }

  /** Sum over tasks of the mean logistic loss, on rows that its label mask leaves, + lambda L_align; both are given too. */
  losses(batch: FeatureBatch): { readonly loss: Scalar } & Readonly<Record<string, Scalar>> {
    const { alignWeight, align: when, user, labelMasks, perRequest } = this.config
    const candidate = this.candidate(batch)
    const preferences = this.preferences(batch, candidate)
    const logits = this.scores(preferences, candidate, perRequest) as Loose
    const each = this.tasks.map((task, index) => {
      const mask = labelMasks[task]
      const column = merge(slice(logits, 1, index, 1) as Loose, 0, 2) as Loose
      return binaryCrossEntropy(column, batch[task] as Loose, mask ? { weights: batch[mask] as never } : {}) as Loose
    })
    const labels = each.reduce((sum, loss) => add(sum, loss) as Loose) as unknown as Scalar
    const byTask = Object.fromEntries(this.tasks.map((task, index) => [task, each[index] as unknown as Scalar]))
    if (!this.align) return { ...byTask, loss: labels }
    const { live, video } = when === 'after' ? preferences.readings : actsOf(preferences.encoded)
    const align = this.align.loss(video as Acts, live as Acts, user === undefined ? undefined : (batch[user] as Loose))
    return { ...byTask, loss: add(labels, multiply(align, alignWeight)) as Scalar, labels, align }
  }

  /** Those of the tasks, and lambda L_align. */
  objectives(batch: FeatureBatch): Objectives {
    const { loss: _, labels, align, ...byTask } = this.losses(batch)
    const { alignWeight } = this.config
    return { losses: { ...byTask, ...(align ? { align: multiply(align, alignWeight) as Scalar } : {}) } }
  }

  objectiveNames = (): string[] => [...this.tasks, ...(this.align ? ['align'] : [])]
  apart = (name: string): boolean => name.startsWith('predictor.towers.')

  /** The tasks' probabilities, then mean alpha and beta of each domain that has gates: [rows, outputs]. */
  probabilities(batch: FeatureBatch): Rows {
    const { perRequest } = this.config
    const candidate = this.candidate(batch)
    const preferences = this.preferences(batch, candidate)
    const probabilities = sigmoid(this.scores(preferences, candidate, perRequest) as Loose)
    const gates = Object.values(preferences.encoded).flatMap(({ gates }) => (gates ? [gates.alpha, gates.beta] : []))
    return beside([
      probabilities as Loose,
      ...gates.map((gate) => repeated(unsqueeze(mean(gate, 1) as Loose, 1) as Loose, perRequest)),
    ]) as Rows
  }
}

const actsOf = (encoded: PerDomain<Encoded>): PerDomain<Acts> =>
  Object.fromEntries(Object.entries(encoded).map(([name, { acts }]) => [name, acts]))
