import { z } from 'zod'
import { categorical, defineSchema, groupId, label, time } from '../../features.js'
import { commonKnobs, integer, type Preset, policyKnobs, rate, real, share } from '../preset.js'

const knobs = z.strictObject({
  ...commonKnobs,
  events: integer(1, 1_000_000_000).describe('exposures, in time order').default(2_000_000),
  users: integer(1, 10_000_000).describe('users').default(20_000),
  authors: integer(1, 10_000_000).describe('authors, each with a live room').default(5000),
  days: real(0.001, 10_000).describe('days that the log covers').default(7),
  clickRate: rate().describe('mean probability of a click (ctr)').default(0.2),
  effectiveViewRate: rate().describe('of an effective view (evtr)').default(0.25),
  longViewRate: rate().describe('of a long view (lvtr)').default(0.08),
  likeRate: rate().describe('of a like (ltr)').default(0.03),
  followRate: rate().describe('of a follow (wtr)').default(0.01),
  giftRate: rate().describe('of a gift').default(0.003),
  scale: real(0, 20).describe('deviation of the logits').default(1.5),
  correlation: share().describe('1: correlations of the scores from -0.4 to 0.7; 0: none').default(1),
  common: share().describe('share of a taste that all users have in common').default(0.4),
  content: share().describe('share of the 30 s content in the variance of a score').default(0.25),
  jump: share()
    .refine((value) => value === 0 || value >= 0.02, '0, or a number from 0.02 to 1')
    .describe('probability that a room changes its topic at the end of 30 s: 0, or at least 0.02')
    .default(0.3),
  topics: integer(2, 10_000).describe('topics of rooms').default(64),
  drift: real(0, 3).describe("radians that a user's interests turn in a day").default(0.1),
  contextEffect: real(0, 10)
    .describe('added to the logit of a gift in one latent context, and taken in the other')
    .default(1),
  utilitySpread: real(0, 5).describe("deviation of the log of a user's weights of the objectives").default(1),
  giftDelay: real(0, 100_000).describe('mean minutes from exposure to gift').default(25),
  perRequest: policyKnobs.perRequest.default(10),
  selection: policyKnobs.selection.default(0.5),
  positionBias: policyKnobs.positionBias.default(0),
  popularity: policyKnobs.popularity.default(0.8),
})

/** Objectives in their order everywhere: labels of rows, columns of the correlations and of users' utilities. */
export const objectives = ['click', 'effectiveView', 'longView', 'like', 'follow', 'gift'] as const
export type Objective = (typeof objectives)[number]

/** Correlations of the scores where `correlation` is 1. */
export const correlations: readonly (readonly number[])[] = [
  [1, 0.7, 0.3, 0.2, 0.1, -0.2],
  [0.7, 1, 0.5, 0.3, 0.1, -0.1],
  [0.3, 0.5, 1, 0.4, 0.2, 0.1],
  [0.2, 0.3, 0.4, 1, 0.5, 0.3],
  [0.1, 0.1, 0.2, 0.5, 1, -0.4],
  [-0.2, -0.1, 0.1, 0.3, -0.4, 1],
]

/** Scenes of an exposure, which say the latent context: half of them raise gifts. */
export const SCENES = 16

function schema({ users, authors, topics, groups }: z.output<typeof knobs>) {
  return defineSchema({
    user: groupId(),
    time: time(),
    userId: categorical({ size: users + 1, column: 'user' }),
    userGroup: categorical({ size: groups + 1 }),
    author: categorical({ size: authors + 1 }),
    topic: categorical({ size: topics + 1 }),
    scene: categorical({ size: SCENES + 1 }),
    click: label(),
    effectiveView: label(),
    longView: label(),
    like: label(),
    follow: label(),
    gift: label(),
  })
}

/**
 * Six objectives of one exposure of a live room, drawn independently given their probabilities:
 *
 *     p_k(u, a, t) = sigmoid(c_k + scale f_k(u, a, t))       mean: the rate of k
 *     g_k = sqrt(1 - content) <U_u(day), E_k A_a> + sqrt(content) <U_u(day), D_k T_topic(a, t)>
 *
 * E_k and D_k are diagonal, random and the objective's own. U_u, in R^8, is made of what all users have in common, what
 * their group has and what is their own, and turns by `drift` radians a day; a room's topic may change every 30 s. f mixes the six g_k, standardised, so that the correlations over exposures are `correlations`. The
 * scene has 16 values, of which 8 raise the logit of a gift by `contextEffect` and 8 lower it; no other objective sees it.
 *
 * The true utility of an exposure is sum_k theta_uk p_k / rate_k, theta_u the user's own weights, which sum to 1.
 *
 * A logging policy fills the `perRequest` places of a request from random rooms (Zipf by `popularity`): each place takes
 * the best of two, with probability rising with `selection` and the difference of their click scores.
 *
 * Truth of rows: `p` and the score of each objective (`pClick`, `clickScore`, ...), `utility`, `context` (0 or 1),
 * `examined`; of users: `factor`, `factorTurned`, `utilityWeights`. Rows also hold `position`, `client` and `giftDelay`
 * (seconds, -1 where there was no gift).
 */
export const pantheon = {
  name: 'pantheon',
  description: 'six objectives of live rooms whose content changes every 30 s, and utilities of users',
  knobs,
  schema,
  split: 'by-time',
  system: 'pantheon',
} as const satisfies Preset<typeof knobs>
