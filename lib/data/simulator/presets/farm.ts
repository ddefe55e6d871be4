import { z } from 'zod'
import { categorical, defineSchema, groupId, label, sequence, time } from '../../features.js'
import { commonKnobs, integer, type Preset, rate, real, share } from '../preset.js'

const knobs = z
  .strictObject({
    ...commonKnobs,
    users: integer(1, 10_000_000).describe('users, each with one request').default(8000),
    candidates: integer(1, 1000).describe('candidate rooms of a request: the rows').default(10),
    authors: integer(1, 1_000_000).describe('authors; each has videos and rooms').default(400),
    videos: integer(1, 10_000_000).describe('short videos').default(3200),
    rooms: integer(1, 10_000_000).describe('live rooms').default(800),
    dimensions: integer(2, 64).describe('width of interests and item vectors').default(8),
    videoActs: integer(0, 4096).describe('short-video acts of a user before the request').default(135),
    liveActs: integer(0, 4096).describe('live acts of a user before the request').default(15),
    activitySpread: real(0, 3)
      .describe("deviation of the log of users' activity; 0: all have as many acts, else at most so many")
      .default(0),
    overlap: share().describe('share of users who are in both domains; the others have no live acts').default(1),
    omega: share().describe('weight of the valuable interest in the label; the stable one has the rest').default(0.5),
    valuableRate: share().describe('share of acts that come from the valuable interest (rho)').default(0.03),
    videoOnly: share().describe('share of users who show the valuable interest in short video only (s)').default(0),
    drift: real(0, 8).describe('turns of the stable interest over the whole window').default(1),
    noise: real(0, 10).describe('length of the noise added to an interest before an item is chosen').default(0.5),
    sharpness: real(0, 100).describe('inverse temperature of the choice among the pool').default(8),
    pool: integer(2, 256).describe('items that a choice is made from').default(32),
    permute: z.boolean().describe('control: the order of each history is random').default(false),
    clickRate: rate().describe('mean probability of a click on a candidate').default(0.25),
    scale: real(0, 20).describe('deviations of an interest in the logit').default(2),
    authorSpread: real(0, 10).describe("deviation of the authors' effect in the logit").default(0.5),
    style: share().describe("share of an item's vector that is its author's").default(0.5),
    rareActs: z
      .boolean()
      .describe('add the subsequence of likes and gifts to the schema, as rareItem, rareAuthor and rareTag')
      .default(false),
  })
  .superRefine(({ videos, rooms, authors }, context) => {
    const fewest = Math.min(videos, rooms)
    if (authors > fewest)
      context.addIssue({
        code: 'custom',
        path: ['authors'],
        message: `at most ${fewest}, so that each has a video and a room,`,
      })
  })

/** Tags of items: the nearest of so many fixed directions. */
export const TAGS = 32
/** What the column `domain` says of an item or an event. */
export const domains = { video: 1, live: 2 } as const
/** What was done with an item, the strongest act of several: an id of `videoBehaviour` and `liveBehaviour`. */
export const behaviours = { view: 1, click: 2, longView: 3, like: 4, gift: 5 } as const

type FarmKnobs = z.output<typeof knobs>

function schema({ videos, rooms, authors, groups, rareActs }: FarmKnobs) {
  const item = { size: videos + rooms + 1 }
  const author = { size: authors + 1 }
  const tag = { size: TAGS + 1 }
  const behaviour = { size: Object.keys(behaviours).length + 1 }
  const features = {
    user: groupId(),
    time: time(),
    userGroup: categorical({ size: groups + 1 }),
    item: categorical(item),
    author: categorical(author),
    tag: categorical(tag),
    videoItem: sequence(item),
    videoAuthor: sequence(author),
    videoTag: sequence(tag),
    videoBehaviour: sequence(behaviour),
    liveItem: sequence(item),
    liveAuthor: sequence(author),
    liveTag: sequence(tag),
    liveBehaviour: sequence(behaviour),
    click: label(),
  }
  const rare = { rareItem: sequence(item), rareAuthor: sequence(author), rareTag: sequence(tag) }
  return defineSchema((rareActs ? { ...features, ...rare } : features) as typeof features)
}

/**
 * Two interests of one user, in R^8. The stable one turns slowly, once over the window of all acts:
 *
 *     a_u(t) = cos(2 pi drift t / T + phase_u) e1_u + sin(2 pi drift t / T + phase_u) e2_u
 *
 * The valuable one, b_u, stands still and is independent of it. An act shows b_u with probability `valuableRate`, and
 * then carries a like (2 of 3) or a gift; all others come from a_u(t) plus noise and carry a view, click or long view.
 * An item is chosen among `pool` random ones with probability proportional to exp(sharpness <interest, q_i>).
 *
 * Rows: `candidates` random rooms for each user at the end of the window, T, with the history of the user in sequences.
 * All rows of a user follow one another at one moment, so a split by time or by group keeps users whole. The label:
 *
 *     logit = intercept + scale sqrt(d) (omega <b_u, q_i> + (1 - omega) <a_u(T), q_i>) + author effect
 *
 * sqrt(d) makes the products of unit vectors have deviation 1. The features say nothing of the user but the group and
 * the history, so what a model knows of a_u and b_u it has read there.
 *
 * Truth of rows: `pClick`, `stable` and `valuable` (the two products times sqrt(d)), `authorEffect`, `acts` (of the user
 * before); of events: `valuable` (1 where b_u chose the item), `step`; of users: `stableCos`, `stableSin`, `phase`, `valuableInterest`,
 * `videoOnly`, `videoActs`, `liveActs`; of items: `vector`.
 */
export const farm = {
  name: 'farm',
  description: 'stable and rare valuable interests in short-video and live histories',
  knobs,
  schema,
  split: 'by-group',
  system: 'farm',
} as const satisfies Preset<typeof knobs>
